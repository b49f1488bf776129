import { Phase } from "../../ffi/layout.ts";
import type { PoolConfig } from "../config/config.ts";
import type { Counters } from "./counters.ts";
import type { Job, Loss, Refusal } from "./job.ts";
import { Queue } from "./queue.ts";
import type { Running, Slots, Waiting } from "./slots.ts";

export type DispatchRules = Pick<PoolConfig, "queue" | "retry">;

const CLEAR_EVERY_MS = 10;

/** The requests of a pool: they get a slot of the current generation, wait for one, or are refused. */
export class Dispatcher {
  #rules: DispatchRules;
  readonly #counters: Counters;
  readonly #queue = new Queue<Waiting>();
  /** The generation that takes requests; null while there is none, when all wait. */
  #slots: Slots | null = null;
  #closed: Refusal | null = null;
  #clearedAtMs = 0;
  #onRest: (() => void) | undefined;

  constructor(rules: DispatchRules, counters: Counters) {
    this.#rules = rules;
    this.#counters = counters;
  }

  set rules(rules: DispatchRules) {
    this.#rules = rules;
  }

  /** Requests that no worker has yet. */
  get waiting(): number {
    return this.#queue.length + (this.#slots?.waiting ?? 0);
  }

  /** How long the first of them has waited. */
  longestWaitMs(nowMs: number): number {
    let since = this.#queue.peek()?.queuedAtMs ?? nowMs;
    for (const [slot, { queuedAtMs }] of this.#slots?.running() ?? []) {
      if (queuedAtMs < since && this.#slots?.memory.phase(slot) === Phase.queued) since = queuedAtMs;
    }
    return nowMs - since;
  }

  /** Hands a job to a worker, or lets it wait, or refuses it. */
  dispatch(job: Job): void {
    if (this.#closed !== null) return this.#refuse(job, this.#closed);
    const waiting = { job, queuedAtMs: performance.now() };
    if (this.#queue.length === 0 && this.#slots?.hasRoom === true && this.#slots.submit(waiting)) return;
    if (this.#queue.length >= this.#rules.queue.max) {
      // Before one is turned away: some of those that wait may have nobody behind them any more.
      this.#clearOut(waiting.queuedAtMs);
      if (this.#queue.length >= this.#rules.queue.max) return this.#refuse(job, "queue-full");
    }
    this.#queue.push(waiting);
    if (this.#queue.length > this.#counters.mostWaiting) this.#counters.mostWaiting = this.#queue.length;
  }

  /**
   * From here on this generation takes the requests; with null they wait. What the one before has not begun with
   * comes first.
   */
  use(slots: Slots | null): void {
    const before = this.#slots;
    this.#slots = slots;
    if (before !== null && before !== slots) this.#putBack(before.withdrawAll());
    this.fill();
  }

  /** Slots have become free: the next jobs have them. */
  fill(): void {
    for (;;) {
      if (this.#slots?.hasRoom !== true) break;
      const next = this.#queue.shift();
      if (next === undefined) break;
      if (next.job.settled || this.#slots.submit(next)) continue;
      this.#queue.putBack([next]);
      break;
    }
    if (this.#onRest !== undefined && this.#queue.length === 0) this.#onRest();
  }

  /** The worker of a job is gone: another has it, if that can do no harm. */
  lost(running: Running, why: Loss): void {
    const { job } = running;
    if (why.kind === "died" && this.#rules.retry && job.repeatable && this.#closed === null) {
      this.#counters.retried++;
      job.returned(true);
      this.#putBack([{ job, queuedAtMs: performance.now() - waitedMs(running) }]);
      // The room in its generation is ours only if that is the current one; it is not while it drains.
      this.fill();
      return;
    }
    if (why.kind === "killed-by-deadline") this.#counters.timedOut++;
    else if (!job.settled) this.#counters.lost++;
    job.lost(why);
  }

  /** Refuses what has waited too long, and lets every waiting job look at its client. */
  sweep(nowMs: number): void {
    for (let next = this.#queue.peek(); next !== undefined; next = this.#queue.peek()) {
      const overdue = this.#isOverdue(next, nowMs);
      if (!overdue && !next.job.settled) break;
      this.#queue.shift();
      if (!next.job.settled) this.#refuse(next.job, "queue-timeout");
    }
    for (const { job } of this.#queue) job.tick(nowMs);
    const slots = this.#slots;
    if (slots !== null) {
      for (const [slot, running] of slots.running()) {
        if (slots.memory.phase(slot) !== Phase.queued) continue;
        if (!running.job.settled && !this.#isOverdue(running, nowMs)) continue;
        if (slots.withdraw(slot) !== undefined && !running.job.settled)
          this.#refuse(running.job, "queue-timeout");
      }
    }
    this.fill();
  }

  /** From here on new jobs are refused. Those that have been taken go on. */
  close(why: Refusal): void {
    this.#closed ??= why;
  }

  /** Takes jobs again. */
  open(): void {
    this.#closed = null;
  }

  /** Refuses all that no worker has yet. */
  refuseWaiting(why: Refusal): void {
    this.#queue.putBack(this.#slots?.withdrawAll() ?? []);
    for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift()) {
      if (!next.job.settled) this.#refuse(next.job, why);
    }
  }

  /** Resolves once nothing waits any more. What runs is its generation's to wait for. */
  async rest(): Promise<void> {
    if (this.#queue.length === 0) return;
    await new Promise<void>((resolve) => {
      this.#onRest = resolve;
    });
  }

  /** Those that have waited before take their place by age: the first in the queue has waited longest, always. */
  #putBack(waiting: readonly Waiting[]): void {
    if (waiting.length === 0) return;
    const all = [...waiting, ...this.#queue].toSorted((a, b) => a.queuedAtMs - b.queuedAtMs);
    this.#queue.keep(() => false);
    this.#queue.putBack(all);
  }

  /** Under overload this is asked thousands of times a second, and each time it copies the queue. */
  #clearOut(nowMs: number): void {
    if (nowMs - this.#clearedAtMs < CLEAR_EVERY_MS) return;
    this.#clearedAtMs = nowMs;
    this.#queue.keep((other) => !other.job.settled);
  }

  #refuse(job: Job, why: Refusal): void {
    this.#counters.refused[why]++;
    job.refused(why);
  }

  #isOverdue({ queuedAtMs }: Waiting, nowMs: number): boolean {
    const { timeoutMs } = this.#rules.queue;
    return timeoutMs > 0 && nowMs - queuedAtMs > timeoutMs;
  }
}

/** How long a job waited for its worker: how long it ran is not the queue's time. */
function waitedMs({ queuedAtMs, runningSinceMs }: Running): number {
  return (runningSinceMs === 0 ? performance.now() : runningSinceMs) - queuedAtMs;
}
