const BACKOFF_FIRST_MS = 500;
const BACKOFF_LIMIT_MS = 5000;
/** A host that ends sooner than this after its start counts as a failed start. */
const STEADY_MS = 5000;
/** So many failed starts of a host in a row end the pool. */
const FAILURES_LIMIT = 8;
/** Hosts that did serve are started again at once, a few of them in a row; from then on one in this time. */
const INTERVAL_MS = 1000;
const AT_ONCE = 5;

/** When the next host of a pool is started after one has ended by itself, or did not start. Passive: no clock. */
export class HostStarts {
  #failures = 0;
  /** When all starts so far would be over, had each taken INTERVAL_MS. */
  #paidUntilMs = Number.NEGATIVE_INFINITY;

  /** In a row. */
  get failures(): number {
    return this.#failures;
  }

  get failed(): boolean {
    return this.#failures >= FAILURES_LIMIT;
  }

  /** A host that had started has ended. `served`: it died of a request, or after one: no failed start. */
  ended(livedMs: number, served: boolean): void {
    if (served || livedMs > STEADY_MS) this.#failures = 0;
  }

  /** The next one is about to be started. Returns how long to wait before that. */
  next(nowMs: number): number {
    // The first time at once: a host that was killed once is likely to live on.
    const failures = this.#failures++;
    const backoffMs = failures === 0 ? 0 : Math.min(BACKOFF_LIMIT_MS, BACKOFF_FIRST_MS * 2 ** (failures - 1));
    const waitMs = Math.max(backoffMs, this.#paidUntilMs - (AT_ONCE - 1) * INTERVAL_MS - nowMs);
    this.#paidUntilMs = Math.max(this.#paidUntilMs, nowMs + waitMs) + INTERVAL_MS;
    return waitMs;
  }

  /** All is well: another generation has taken over in peace. */
  reset(): void {
    this.#failures = 0;
  }
}
