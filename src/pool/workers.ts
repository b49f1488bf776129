import { constants } from "node:os";
import type { RestartReason } from "./counters.ts";
import type { Exit } from "./messages.ts";

export type WorkerEvent =
  | { kind: "spawned"; worker: number; pid: number; generation: number }
  | { kind: "spawn-failed"; worker: number; errno: number }
  | { kind: "exited"; worker: number; pid: number; exit: Exit };

export interface Worker {
  readonly number: number;
  /**
   * "retiring": it has been asked to end after its request. "lost": a thread that does not come back from its
   * request. Should it come back after all, it ends.
   */
  state: "absent" | "starting" | "running" | "retiring" | "lost";
  pid: number;
  startedAtMs: number;
  /** Not to be started again before this time. */
  notBeforeMs: number;
  /** Why it was asked to end. */
  retiredFor: RestartReason | null;
}

/** A worker that ends sooner than this without having taken a request counts as a failed start. */
const FAILED_START_MS = 1000;
const BACKOFF_FIRST_MS = 100;
const BACKOFF_LIMIT_MS = 5000;
/** When a smaller share of the workers is left, those that are lost are not replaced in peace. */
const FEWEST_SHARE = 0.25;
/** A pool is given up when every worker has failed to start so many times in a row, on average: after about 20 s. */
const FAILED_ROUNDS_LIMIT = 10;

/**
 * What is known of a generation's workers. Passive: no clock, no processes; it is fed events and asked what to do.
 */
export class Workers {
  readonly all: readonly Worker[];
  /** So many there should be. */
  #wanted: number;
  #failedStarts = 0;

  constructor(most: number, wanted = most) {
    this.all = Array.from({ length: most }, (_, number) => ({
      number,
      state: "absent",
      pid: 0,
      startedAtMs: 0,
      notBeforeMs: 0,
      retiredFor: null,
    }));
    this.#wanted = wanted;
  }

  get wanted(): number {
    return this.#wanted;
  }

  set wanted(count: number) {
    this.#wanted = Math.max(0, Math.min(count, this.all.length));
  }

  /** Those that take requests. */
  get running(): number {
    return this.#count((worker) => worker.state === "running");
  }

  /** Those that have a process or a thread, or are about to. A lost one keeps its place, and does not count. */
  get alive(): number {
    return this.#count((worker) => worker.state !== "absent" && worker.state !== "lost");
  }

  get lost(): number {
    return this.#count((worker) => worker.state === "lost");
  }

  /** With those that are left, and those on their way, the pool is as good as dead. */
  get tooFew(): boolean {
    if (this.lost === 0) return false;
    const left = this.#count((worker) => worker.state === "running" || worker.state === "starting");
    return left < FEWEST_SHARE * this.#wanted;
  }

  /** Starts in a row that came to nothing. */
  get failedStarts(): number {
    return this.#failedStarts;
  }

  get failed(): boolean {
    return this.#wanted > 0 && this.#failedStarts >= FAILED_ROUNDS_LIMIT * this.#wanted && this.running === 0;
  }

  /** Workers to start now, `most` at most. They count as starting from here on. */
  takeDue(nowMs: number, most = Number.POSITIVE_INFINITY): Worker[] {
    if (this.failed) return [];
    const missing = Math.min(most, this.#wanted - this.alive);
    const due = this.all
      .filter((worker) => worker.state === "absent" && worker.notBeforeMs <= nowMs)
      .slice(0, Math.max(0, missing));
    for (const worker of due) {
      worker.state = "starting";
      worker.startedAtMs = nowMs;
    }
    return due;
  }

  /** Workers beyond those that are wanted, idle ones first, then those with the highest numbers. */
  takeExcess(isIdle: (worker: number) => boolean): Worker[] {
    const running = this.all.filter((worker) => worker.state === "running");
    const excess = running.length - this.#wanted;
    if (excess <= 0) return [];
    const byNumber = running.toReversed();
    return [
      ...byNumber.filter((worker) => isIdle(worker.number)),
      ...byNumber.filter((worker) => !isIdle(worker.number)),
    ].slice(0, excess);
  }

  /** It has been asked to end. False when it is on its way already, or not there. */
  retire(number: number, why: RestartReason): boolean {
    const worker = this.all[number];
    if (worker?.state !== "running") return false;
    worker.state = "retiring";
    worker.retiredFor = why;
    return true;
  }

  /** It is no worker any more, though its process lives: another takes its place. */
  promoted(number: number): void {
    const worker = this.all[number];
    if (worker === undefined) return;
    worker.state = "absent";
    worker.pid = 0;
    worker.retiredFor = null;
    worker.notBeforeMs = 0;
  }

  /** A thread that does not come back. False when it is lost already, or not there. */
  lose(number: number): boolean {
    const worker = this.all[number];
    if (worker === undefined || worker.state === "absent" || worker.state === "lost") return false;
    worker.state = "lost";
    worker.retiredFor = "lost";
    return true;
  }

  /** When the next absent worker may be started; Infinity when none is missing. */
  nextDueMs(): number {
    if (this.failed || this.alive >= this.#wanted) return Number.POSITIVE_INFINITY;
    return this.all.reduce(
      (soonest, worker) => (worker.state === "absent" ? Math.min(soonest, worker.notBeforeMs) : soonest),
      Number.POSITIVE_INFINITY,
    );
  }

  /**
   * `taken`: how many requests the worker had taken when it ended. One that kills it is no failed start. `neverBooted`:
   * in worker mode its script has not come to ask for one.
   */
  apply(event: WorkerEvent, nowMs: number, taken = 0, neverBooted = false): Worker | undefined {
    const worker = this.all[event.worker];
    if (worker === undefined) return undefined;
    switch (event.kind) {
      case "spawned":
        // It may have been given up before we heard of its start.
        if (worker.state !== "lost") worker.state = "running";
        worker.pid = event.pid;
        return worker;
      case "spawn-failed":
        this.#noteFailedStart(worker, nowMs);
        return worker;
      case "exited":
        if (
          neverBooted ||
          (taken === 0 && nowMs - worker.startedAtMs < FAILED_START_MS && !endedCleanly(event.exit))
        ) {
          this.#noteFailedStart(worker, nowMs);
        } else {
          this.#failedStarts = 0;
          worker.notBeforeMs = nowMs;
        }
        worker.state = "absent";
        worker.pid = 0;
        worker.retiredFor = null;
        return worker;
      default:
        return event satisfies never;
    }
  }

  /** The host is gone, and every worker with it. */
  allGone(): void {
    for (const worker of this.all) {
      worker.state = "absent";
      worker.pid = 0;
      worker.retiredFor = null;
    }
  }

  #count(is: (worker: Worker) => boolean): number {
    let count = 0;
    for (const worker of this.all) if (is(worker)) count++;
    return count;
  }

  #noteFailedStart(worker: Worker, nowMs: number): void {
    const rounds = Math.floor(this.#failedStarts / Math.max(1, this.#wanted));
    const wait = Math.min(BACKOFF_LIMIT_MS, BACKOFF_FIRST_MS * 2 ** rounds);
    this.#failedStarts++;
    worker.state = "absent";
    worker.retiredFor = null;
    worker.notBeforeMs = nowMs + wait;
  }
}

function endedCleanly(exit: Exit): boolean {
  return "code" in exit && exit.code === 0;
}

/** PHPRUN_EXIT_CALLED of ffi/php/php.h. */
export const EXIT_CALLED = 250;
/** PHPRUN_EXIT_BOOT: the worker script ended before it asked for a request. */
export const EXIT_BOOT = 251;
/** PHPRUN_EXIT_CONNECTIONS: a template whose application has connections open. */
export const EXIT_CONNECTIONS = 252;

/** "exit code 3" or "signal 11 (SIGSEGV)". */
export function describeExit(exit: Exit): string {
  if ("code" in exit) {
    if (exit.code === EXIT_CALLED) return "something in it called exit()";
    return exit.code === EXIT_BOOT ? "its script did not boot" : `exit code ${exit.code}`;
  }
  const name = SIGNAL_NAMES.get(exit.signal);
  return name === undefined ? `signal ${exit.signal}` : `signal ${exit.signal} (${name})`;
}

/** Of two names for one number (SIGABRT, SIGIOT) the first is the usual one. */
const SIGNAL_NAMES = new Map(
  Object.entries(constants.signals)
    .map(([name, number]) => [number, name] as const)
    .toReversed(),
);
