import { Outcome, Phase } from "../../ffi/layout.ts";
import type { PoolMemory } from "../../ffi/pool-memory.ts";
import type { Job, Loss } from "./job.ts";

/** A job and when it came. */
export interface Waiting {
  readonly job: Job;
  readonly queuedAtMs: number;
}

/** A job that has a slot. */
export interface Running extends Waiting {
  /** When a worker was first seen to have it; 0 while it waits in the ring. */
  runningSinceMs: number;
  stage: "running" | "asked-to-end" | "killed";
  killedFor: "deadline" | "memory" | null;
  /** How far the slow log is with it. */
  slow: "not" | "asked" | "told";
}

/** Requests that wait in the ring beyond those that run, so that a worker never waits for its next one. */
const SPARE = 16;

export interface SlotsHooks {
  /** A worker has finished a request. */
  served(worker: number, running: Running): void;
  /** The worker that ran it is gone. The slot has been released. */
  lost(running: Running, why: Loss): void;
  /** There is room again. */
  freed(): void;
}

/** The slots of one generation: which job has which, and what comes back. */
export class Slots {
  readonly memory: PoolMemory;
  readonly #hooks: SlotsHooks;
  readonly #free: number[] = [];
  readonly #running: (Running | undefined)[];
  /** Slots that a stuck thread may still write to, with the job they had. Neither in flight nor free. */
  readonly #abandoned = new Map<number, Running>();
  #inFlight = 0;
  /** So many workers take requests. */
  #workers = 0;
  #whenEmpty: (() => void)[] = [];
  #wakesDue = 0;
  /** Two at most: each woken worker wakes the next, and two do not both wait for one busy processor. */
  readonly #wakeWorkers = (): void => {
    const wakes = Math.min(this.#wakesDue, 2);
    this.#wakesDue = 0;
    for (let i = 0; i < wakes; i++) this.memory.wakeWorker();
  };

  constructor(memory: PoolMemory, hooks: SlotsHooks) {
    this.memory = memory;
    this.#hooks = hooks;
    this.#running = Array.from({ length: memory.slotCount });
    for (let slot = memory.slotCount - 1; slot >= 0; slot--) this.#free.push(slot);
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  /** How many of them no worker has yet. */
  get waiting(): number {
    let count = 0;
    for (const [slot] of this.running()) if (this.memory.phase(slot) === Phase.queued) count++;
    return count;
  }

  /** Without workers nothing is taken in: it waits in the front, which can give it to another generation. */
  get hasRoom(): boolean {
    return this.#workers > 0 && this.#inFlight < this.#workers + SPARE && this.#free.length > 0;
  }

  set workers(count: number) {
    const grown = count > this.#workers;
    this.#workers = count;
    if (grown) this.#hooks.freed();
  }

  /** Every slot in use with its job. */
  *running(): Generator<[slot: number, running: Running]> {
    for (const [slot, running] of this.#running.entries()) if (running !== undefined) yield [slot, running];
  }

  at(slot: number): Running | undefined {
    return this.#running[slot];
  }

  /** What stuck threads are at. */
  get abandoned(): ReadonlyMap<number, Running> {
    return this.#abandoned;
  }

  /** Gives a job a slot. False when there is none. */
  submit({ job, queuedAtMs }: Waiting): boolean {
    const slot = this.#free.pop();
    if (slot === undefined) return false;
    job.start(this, slot);
    if (!this.memory.submit(slot)) {
      job.returned(false);
      this.#free.push(slot);
      return false;
    }
    this.#running[slot] = {
      job,
      queuedAtMs,
      runningSinceMs: 0,
      stage: "running",
      killedFor: null,
      slow: "not",
    };
    this.#inFlight++;
    // Once for all requests that came in with the same look at the sockets.
    if (this.#wakesDue++ === 0) setImmediate(this.#wakeWorkers);
    return true;
  }

  /** Takes what the workers have completed. */
  drain(): void {
    this.memory.beginDrain();
    for (let slot = this.memory.nextCompleted(); slot >= 0; slot = this.memory.nextCompleted()) {
      const running = this.#running[slot];
      if (running === undefined) {
        if (this.memory.news(slot).phase === Phase.ended) this.#takeBack(slot);
        continue;
      }
      const news = this.memory.news(slot);
      const ended = news.phase === Phase.ended;
      if (news.outcome & Outcome.timedOut && running.stage === "running") running.stage = "asked-to-end";
      // A job that reads to the end while it hears of it has released the slot itself: it is another job's by now.
      if (running.job.news(news) && ended && this.#running[slot] === running) this.release(slot);
    }
  }

  /** Nobody needs the slot any more. */
  release(slot: number): void {
    const running = this.#running[slot];
    if (running === undefined) return;
    this.#hooks.served(this.memory.owner(slot), running);
    this.#giveUp(slot);
    this.#hooks.freed();
  }

  /** The worker that ran this slot is gone. */
  lose(slot: number, why: Loss): void {
    const running = this.#running[slot];
    if (running === undefined) return this.#takeBack(slot);
    this.#giveUp(slot);
    this.#hooks.lost(running, why);
    this.#hooks.freed();
  }

  /**
   * The thread that runs this slot does not come back, and cannot be killed. Its job is told; the slot stays out of
   * use until the thread has ended it or is gone, since until then it may write there.
   */
  abandon(slot: number, why: Loss): void {
    const running = this.#running[slot];
    if (running === undefined) return;
    // Nobody reads what it still writes: it is not to wait for room.
    this.memory.clientGone(slot);
    this.#abandoned.set(slot, running);
    this.#forget(slot);
    this.#hooks.lost(running, why);
  }

  /** Takes a job back that no worker has yet. False when a worker was quicker. */
  withdraw(slot: number): Running | undefined {
    const running = this.#running[slot];
    if (running === undefined || !this.memory.withdraw(slot)) return undefined;
    this.#giveUp(slot);
    running.job.returned(false);
    return running;
  }

  /** Takes back every job that no worker has yet, the oldest first. */
  withdrawAll(): Waiting[] {
    const waiting: Waiting[] = [];
    for (const [slot] of this.running()) {
      const running = this.withdraw(slot);
      if (running !== undefined && !running.job.settled) waiting.push(running);
    }
    return waiting.toSorted((a, b) => a.queuedAtMs - b.queuedAtMs);
  }

  /** Resolves once no slot is in use. */
  async empty(): Promise<void> {
    if (this.#inFlight === 0) return;
    await new Promise<void>((resolve) => this.#whenEmpty.push(resolve));
  }

  /** The host is gone, and its stuck threads with it. */
  takeBackAbandoned(): void {
    for (const slot of this.#abandoned.keys()) this.#takeBack(slot);
  }

  /** An abandoned slot that nobody writes to any more. */
  #takeBack(slot: number): void {
    const running = this.#abandoned.get(slot);
    if (running === undefined) return;
    this.#abandoned.delete(slot);
    this.memory.release(slot);
    this.#free.push(slot);
    running.job.over?.();
    this.#hooks.freed();
  }

  #giveUp(slot: number): void {
    this.memory.release(slot);
    this.#free.push(slot);
    this.#forget(slot);
  }

  #forget(slot: number): void {
    this.#running[slot] = undefined;
    if (--this.#inFlight === 0) for (const resolve of this.#whenEmpty.splice(0)) resolve();
  }
}
