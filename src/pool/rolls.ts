/** Why the generation that serves is to be replaced by one of the same setup. */
export type RollReason = "lost" | "renew";

interface Wish {
  why: string;
  /** When it was last asked for. */
  atMs: number;
}

/** Rolls begin at most so often: a script may call opcache_reset() with every request. */
const INTERVAL_MS = 5000;
/** The same while too few workers are left. Only a request that has run out of all its time leads there again. */
const URGENT_INTERVAL_MS = 500;
const BACKOFF_FIRST_MS = 1000;
const BACKOFF_LIMIT_MS = 30_000;
const URGENT_BACKOFF_LIMIT_MS = 5000;

/**
 * When the current generation is to be replaced while it serves: because threads of it do not come back, or because
 * its host asks for it. No wish is dropped: it stands until a generation serves that was started after it. Wishes of
 * the same kind are one. A roll that failed (the application is broken just now) is tried again, ever more slowly.
 * Passive: no clock, no processes.
 */
export class Rolls {
  readonly #wishes = new Map<RollReason, Wish>();
  #begunAtMs = Number.NEGATIVE_INFINITY;
  #failedAtMs = Number.NEGATIVE_INFINITY;
  /** In a row. */
  #failures = 0;
  /** Of those that were urgent: without a canary they fail for other reasons. */
  #urgentFailures = 0;

  ask(reason: RollReason, why: string, nowMs: number): void {
    this.#wishes.set(reason, { why, atMs: nowMs });
  }

  /** Its lost threads have come back. */
  withdraw(reason: RollReason): void {
    this.#wishes.delete(reason);
  }

  wants(reason: RollReason): boolean {
    return this.#wishes.has(reason);
  }

  /** What the next roll is for; lost workers come first. */
  get next(): { reason: RollReason; why: string } | null {
    for (const reason of ["lost", "renew"] as const) {
      const wish = this.#wishes.get(reason);
      if (wish !== undefined) return { reason, why: wish.why };
    }
    return null;
  }

  /** When the next roll may begin; Infinity when none is wanted. `urgent`: too few workers are left. */
  dueMs(urgent: boolean): number {
    if (this.#wishes.size === 0) return Number.POSITIVE_INFINITY;
    const [failures, first, limit, interval] = urgent
      ? [this.#urgentFailures, URGENT_INTERVAL_MS, URGENT_BACKOFF_LIMIT_MS, URGENT_INTERVAL_MS]
      : [this.#failures, BACKOFF_FIRST_MS, BACKOFF_LIMIT_MS, INTERVAL_MS];
    const spaced = this.#begunAtMs + interval;
    if (failures === 0) return spaced;
    return Math.max(spaced, this.#failedAtMs + Math.min(limit, first * 2 ** (failures - 1)));
  }

  begun(nowMs: number): void {
    this.#begunAtMs = nowMs;
  }

  failed(nowMs: number, urgent: boolean): void {
    if (urgent) this.#urgentFailures++;
    else this.#failures++;
    this.#failedAtMs = nowMs;
  }

  /** Another generation serves from now on: no thread of it is lost, and what it has loaded is as old as its start. */
  replaced(startedAtMs: number): void {
    this.#failures = 0;
    this.#urgentFailures = 0;
    this.#wishes.delete("lost");
    const renew = this.#wishes.get("renew");
    if (renew !== undefined && renew.atMs < startedAtMs) this.#wishes.delete("renew");
  }
}
