import { Outcome, Phase } from "../../ffi/layout.ts";
import type { PoolMemory } from "../../ffi/pool-memory.ts";
import type { PoolConfig } from "../config/config.ts";
import type { Job, Loss, Refusal } from "./job.ts";
import { Queue } from "./queue.ts";

/** A job that has a slot. */
export interface Running {
  readonly job: Job;
  readonly queuedAtMs: number;
  /** When a worker was first seen to have it; 0 while it waits in the ring. */
  runningSinceMs: number;
  stage: "running" | "asked-to-end" | "killed";
}

/** The requests of a pool: which slot each has, which wait for one, and what comes back. */
export class Dispatcher {
  readonly #memory: PoolMemory;
  readonly #queueLimits: PoolConfig["queue"];
  readonly #onServed: (worker: number) => void;
  readonly #free: number[] = [];
  readonly #running: (Running | undefined)[];
  readonly #queue = new Queue<{ job: Job; queuedAtMs: number }>();
  #closed: Refusal | undefined;
  #inFlight = 0;
  #onIdle: (() => void) | undefined;
  #wakesDue = 0;
  /** Two at most: each woken worker wakes the next, and two do not both wait for one busy processor. */
  readonly #wakeWorkers = (): void => {
    const wakes = Math.min(this.#wakesDue, 2);
    this.#wakesDue = 0;
    for (let i = 0; i < wakes; i++) this.#memory.wakeWorker();
  };

  /** `onServed` hears of each request that a worker has finished. */
  constructor(memory: PoolMemory, queueLimits: PoolConfig["queue"], onServed: (worker: number) => void) {
    this.#memory = memory;
    this.#queueLimits = queueLimits;
    this.#onServed = onServed;
    this.#running = Array.from({ length: memory.slotCount });
    for (let slot = memory.slotCount - 1; slot >= 0; slot--) this.#free.push(slot);
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  /** Every slot in use with its job. */
  *running(): Generator<[slot: number, running: Running]> {
    for (const [slot, running] of this.#running.entries()) if (running !== undefined) yield [slot, running];
  }

  at(slot: number): Running | undefined {
    return this.#running[slot];
  }

  /** Hands a job to a worker, or lets it wait, or refuses it. */
  dispatch(job: Job): void {
    if (this.#closed !== undefined) return job.refused(this.#closed);
    const slot = this.#free.pop();
    if (slot !== undefined) {
      this.#submit(slot, job, performance.now());
    } else if (this.#queue.length < this.#queueLimits.max) {
      this.#queue.push({ job, queuedAtMs: performance.now() });
    } else {
      job.refused("queue-full");
    }
  }

  /** Takes what the workers have completed. */
  drain(): void {
    this.#memory.beginDrain();
    for (let slot = this.#memory.nextCompleted(); slot >= 0; slot = this.#memory.nextCompleted()) {
      const running = this.#running[slot];
      if (running === undefined) continue;
      const news = this.#memory.news(slot);
      const ended = news.phase === Phase.ended;
      if (news.outcome & Outcome.timedOut && running.stage === "running") running.stage = "asked-to-end";
      if (running.job.news(news) && ended) this.release(slot);
    }
  }

  /** Nobody needs the slot any more: the next job has it. */
  release(slot: number): void {
    this.#onServed(this.#memory.owner(slot));
    this.#memory.release(slot);
    this.#running[slot] = undefined;
    this.#inFlight--;
    for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift()) {
      if (next.job.settled) continue;
      this.#submit(slot, next.job, next.queuedAtMs);
      return;
    }
    this.#free.push(slot);
    if (this.#inFlight === 0) this.#onIdle?.();
  }

  /** The worker that ran this slot is gone. */
  lose(slot: number, why: Loss): void {
    const running = this.#running[slot];
    if (running === undefined) return;
    running.job.lost(why);
    this.release(slot);
  }

  /** Refuses what has waited too long, and lets every job look at its client. */
  sweep(nowMs: number): void {
    // A worker stopped between completing something and waking us would hold up everybody's answers.
    if (this.#inFlight > 0) this.drain();
    for (let next = this.#queue.peek(); next !== undefined; next = this.#queue.peek()) {
      const overdue = this.#isOverdue(next.queuedAtMs, nowMs);
      if (!overdue && !next.job.settled) break;
      this.#queue.shift();
      if (!next.job.settled) next.job.refused("queue-timeout");
    }
    for (const { job } of this.#queue) job.tick(nowMs);
    for (const [slot, { job, queuedAtMs }] of this.running()) {
      job.tick(nowMs);
      // In the ring no worker has it yet, and none is to run it now.
      if (this.#memory.phase(slot) !== Phase.queued || job.settled || !this.#isOverdue(queuedAtMs, nowMs))
        continue;
      this.#memory.clientGone(slot);
      job.refused("queue-timeout");
    }
  }

  /** From here on new jobs are refused. Those that have been taken go on. */
  close(why: Refusal): void {
    this.#closed ??= why;
  }

  /** Refuses all that no worker has yet. */
  refuseWaiting(why: Refusal): void {
    for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift()) {
      if (!next.job.settled) next.job.refused(why);
    }
    for (const [slot, { job }] of this.running()) {
      if (this.#memory.phase(slot) !== Phase.queued) continue;
      if (!job.settled) job.refused(why);
      this.release(slot);
    }
  }

  /** Waits until nothing runs or waits any more, or the time is over. Returns whether it came to rest. */
  async rest(timeoutMs: number): Promise<boolean> {
    if (this.#inFlight === 0 && this.#queue.length === 0) return true;
    const { promise, resolve } = Promise.withResolvers<boolean>();
    this.#onIdle = () => resolve(true);
    const timer = setTimeout(() => resolve(false), timeoutMs);
    const rested = await promise;
    clearTimeout(timer);
    return rested;
  }

  #submit(slot: number, job: Job, queuedAtMs: number): void {
    this.#running[slot] = { job, queuedAtMs, runningSinceMs: 0, stage: "running" };
    this.#inFlight++;
    job.start(slot);
    this.#memory.submit(slot);
    // Once for all requests that came in with the same look at the sockets.
    if (this.#wakesDue++ === 0) setImmediate(this.#wakeWorkers);
  }

  #isOverdue(queuedAtMs: number, nowMs: number): boolean {
    const { timeoutMs } = this.#queueLimits;
    return timeoutMs > 0 && nowMs - queuedAtMs > timeoutMs;
  }
}
