/** Values up to this many steps are counted exactly; above, to one part in SUB. */
const SUB_BITS = 6;
const SUB = 1 << SUB_BITS;
const MOST_US = 2 ** 31 - 1;

/** How long things took, in buckets that grow with the value: any number of values in 7 KiB, to 1.6 %. */
export class Histogram {
  count = 0;
  maxMs = 0;
  readonly #buckets = new Uint32Array((32 - SUB_BITS) * SUB);

  add(ms: number): void {
    const us = Math.min(MOST_US, Math.max(0, Math.round(ms * 1000)));
    this.count++;
    if (ms > this.maxMs) this.maxMs = ms;
    const shift = us < 2 * SUB ? 0 : 31 - SUB_BITS - Math.clz32(us);
    const bucket = shift * SUB + (us >>> shift);
    this.#buckets[bucket] = (this.#buckets[bucket] ?? 0) + 1;
  }

  /** The value that this share of all values does not exceed, in milliseconds; NaN when there are none. */
  quantile(share: number): number {
    if (this.count === 0) return Number.NaN;
    let left = Math.max(1, Math.ceil(this.count * share));
    for (const [bucket, count] of this.#buckets.entries()) {
      left -= count;
      if (left > 0) continue;
      const shift = bucket < 2 * SUB ? 0 : Math.floor(bucket / SUB) - 1;
      const us = (bucket - shift * SUB + 1) * 2 ** shift - 1;
      return Math.min(this.maxMs, us / 1000);
    }
    return this.maxMs;
  }

  get p50(): number {
    return this.quantile(0.5);
  }

  get p99(): number {
    return this.quantile(0.99);
  }

  describe(): string {
    if (this.count === 0) return "none";
    return `p50 ${milliseconds(this.p50)}, p99 ${milliseconds(this.p99)}, max ${milliseconds(this.maxMs)}`;
  }
}

export function milliseconds(ms: number): string {
  return `${ms < 10 ? ms.toFixed(2) : ms.toFixed(0)} ms`;
}
