/** How many times the quiet time a burst may last before it is told although it goes on. */
const PATIENCE = 10;

/**
 * Turns many changes into few calls. A burst is due when nothing was added for `quietMs`, or at the latest
 * `10 * quietMs` after its first change, so that a tree that is written to all the time is told of too.
 *
 * It has no clock: the caller says what time it is.
 */
export class Burst {
  readonly #quietMs: number;
  readonly #paths = new Set<string>();
  #first = 0;
  #last = 0;

  constructor(quietMs: number) {
    this.#quietMs = quietMs;
  }

  add(paths: readonly string[], now: number): void {
    if (paths.length === 0) return;
    if (this.#paths.size === 0) this.#first = now;
    this.#last = now;
    for (const path of paths) this.#paths.add(path);
  }

  /** When it is to be told; null while there is nothing to tell. */
  get dueAt(): number | null {
    if (this.#paths.size === 0) return null;
    return Math.min(this.#last + this.#quietMs, this.#first + PATIENCE * this.#quietMs);
  }

  /** Each path once, sorted; the burst is over. */
  take(): string[] {
    const paths = [...this.#paths].sort();
    this.#paths.clear();
    return paths;
  }
}
