export interface ElasticLimits {
  readonly min: number;
  readonly max: number;
  /** How long workers beyond `min` must have been unneeded before they end. */
  readonly idleTimeoutMs: number;
}

/** What a pool has to do at one moment. */
export interface Load {
  /** Workers started or starting. */
  readonly running: number;
  readonly busy: number;
  /** Requests without a worker. */
  readonly waiting: number;
  /** How long the first of them has waited; 0 when none does. */
  readonly longestWaitMs: number;
  /**
   * The processors have no time left for one more worker. The pool then grows slowly, but it does grow: its
   * requests may wait for a database while others use the processors.
   *
   * @default {false}
   */
  readonly cpuSaturated?: boolean;
}

/** Waits shorter than this are the normal life of a queue: more workers would not be felt. */
const FELT_WAIT_MS = 5;
/** The queue must have stood so long before a worker is added: a single burst is over sooner. */
const LASTING_MS = 100;
const LASTING_SATURATED_MS = 1000;
/** No two looks count for more than this, so that a front that was held up does not take one look for a long queue. */
const LONGEST_STEP_MS = 50;
/** A request that has waited so long makes the pool grow by several workers at once. */
const LONG_WAIT_MS = 500;
const LONG_WAIT_STEP = 8;
/** After so long without a standing queue growth begins with one worker again. */
const CALM_MS = 1000;
/** While it shrinks, a pool ends so many workers per `idleTimeoutMs`. */
const SHRINKS_PER_TIMEOUT = 4;
/** Times that `idleTimeoutMs` is waited at most, after workers were ended too early again and again. */
const MOST_PATIENCE = 8;

/**
 * How many workers a pool should have. Grows while requests queue up, by one worker, then two, four, eight. Shrinks
 * by one worker at a time to what the busiest moment of the last `idleTimeoutMs` needed and a small reserve.
 *
 * A worker that was ended and is wanted again soon was ended too early: the time without need is doubled then, so
 * a load that comes and goes is met by workers that stay. Passive: no clock, no processes.
 */
export class Elastic {
  readonly #limits: ElasticLimits;
  #count: number;
  #lookedAtMs = 0;
  /** How long the queue has stood without a break, as far as it was looked at. */
  #queuedMs = 0;
  #queuedAtMs: number | undefined;
  #step = 1;
  #patience = 1;
  /** Since when the present count, or less, has been enough: the first look, or the last growth. */
  #enoughSinceMs: number | undefined;
  /** The last time a worker was ended, as long as it is open whether that was too early. */
  #shrunkAtMs: number | undefined;
  /** The busiest moments: each was busier than all that came after it. */
  readonly #peaks: { readonly atMs: number; readonly busy: number }[] = [];

  /** `start`: with how many workers the pool begins; after a reload, as many as it had. */
  constructor(limits: ElasticLimits, start = limits.min) {
    this.#limits = limits;
    this.#count = Math.min(limits.max, Math.max(limits.min, start));
  }

  /** Workers the pool should have now. Meant to be asked about every 50 ms. */
  wanted(load: Load, nowMs: number): number {
    this.#enoughSinceMs ??= nowMs;
    this.#judgeShrinking(nowMs);
    this.#notePeak(load.busy, nowMs);
    const added = this.#growth(load, nowMs);
    if (added > 0) this.#grow(added, nowMs);
    else if (this.#mayShrink(nowMs)) this.#shrink(nowMs);
    this.#lookedAtMs = nowMs;
    return this.#count;
  }

  #growth(load: Load, nowMs: number): number {
    const queued = load.waiting > 0 && load.longestWaitMs >= FELT_WAIT_MS && load.busy >= load.running;
    if (!queued) {
      this.#queuedMs = 0;
      if (nowMs - (this.#queuedAtMs ?? nowMs) > CALM_MS) this.#step = 1;
      return 0;
    }
    // The first look at a queue tells nothing of how long it has stood.
    if (this.#queuedAtMs === this.#lookedAtMs)
      this.#queuedMs += Math.min(LONGEST_STEP_MS, nowMs - this.#lookedAtMs);
    this.#queuedAtMs = nowMs;
    // Those wanted before are not here yet: they may be all it needs.
    if (load.running < this.#count) return 0;
    const saturated = load.cpuSaturated ?? false;
    if (this.#queuedMs < (saturated ? LASTING_SATURATED_MS : LASTING_MS)) return 0;
    const step = load.longestWaitMs >= LONG_WAIT_MS ? Math.max(this.#step, LONG_WAIT_STEP) : this.#step;
    return Math.min(saturated ? 1 : step, load.waiting, this.#limits.max - this.#count);
  }

  #grow(added: number, nowMs: number): void {
    if (this.#shrunkAtMs !== undefined) this.#patience = Math.min(MOST_PATIENCE, this.#patience * 2);
    // Judged once: the steps that follow are the same growth.
    this.#shrunkAtMs = undefined;
    this.#count += added;
    this.#step *= 2;
    this.#queuedMs = 0;
    this.#enoughSinceMs = nowMs;
  }

  #mayShrink(nowMs: number): boolean {
    const { min, idleTimeoutMs } = this.#limits;
    if (this.#count <= min || nowMs - (this.#enoughSinceMs ?? nowMs) < this.#windowMs) return false;
    if (this.#shrunkAtMs !== undefined && nowMs - this.#shrunkAtMs < idleTimeoutMs / SHRINKS_PER_TIMEOUT)
      return false;
    const busiest = this.#peaks[0]?.busy ?? 0;
    return this.#count > busiest + reserve(busiest);
  }

  #shrink(nowMs: number): void {
    this.#count--;
    this.#shrunkAtMs = nowMs;
  }

  /** Workers that were ended and not missed for long were not ended too early. */
  #judgeShrinking(nowMs: number): void {
    if (this.#shrunkAtMs === undefined) return;
    if (nowMs - this.#shrunkAtMs <= MOST_PATIENCE * this.#limits.idleTimeoutMs) return;
    this.#patience = Math.max(1, this.#patience / 2);
    this.#shrunkAtMs = undefined;
  }

  #notePeak(busy: number, nowMs: number): void {
    while ((this.#peaks.at(-1)?.busy ?? Number.POSITIVE_INFINITY) <= busy) this.#peaks.pop();
    this.#peaks.push({ atMs: nowMs, busy });
    while ((this.#peaks[0]?.atMs ?? nowMs) < nowMs - this.#windowMs) this.#peaks.shift();
  }

  /** How far back a busy moment counts. */
  get #windowMs(): number {
    return this.#patience * this.#limits.idleTimeoutMs;
  }
}

/** Workers beyond the busiest moment that stay: the next moment may be a little busier. */
function reserve(busiest: number): number {
  return Math.max(1, Math.ceil(busiest / 8));
}
