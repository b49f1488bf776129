import { constants } from "node:os";
import type { Exit } from "./messages.ts";

export type WorkerEvent =
  | { kind: "spawned"; worker: number; pid: number; generation: number }
  | { kind: "spawn-failed"; worker: number; errno: number }
  | { kind: "exited"; worker: number; pid: number; exit: Exit };

export interface Worker {
  readonly number: number;
  state: "absent" | "starting" | "running";
  pid: number;
  generation: number;
  startedAtMs: number;
  /** Not to be started again before this time. */
  notBeforeMs: number;
}

/** A worker that ends sooner than this without having taken a request counts as a failed start. */
const FAILED_START_MS = 1000;
const BACKOFF_FIRST_MS = 100;
const BACKOFF_LIMIT_MS = 5000;
/** A pool is given up when every worker has failed to start so many times in a row, on average: after about 20 s. */
const FAILED_ROUNDS_LIMIT = 10;

/**
 * What is known of a pool's workers. Passive: no clock, no processes; it is fed events and asked what to do.
 */
export class Workers {
  readonly all: readonly Worker[];
  #failedStarts = 0;

  constructor(count: number) {
    this.all = Array.from({ length: count }, (_, number) => ({
      number,
      state: "absent",
      pid: 0,
      generation: 0,
      startedAtMs: 0,
      notBeforeMs: 0,
    }));
  }

  get running(): number {
    return this.all.filter((worker) => worker.state === "running").length;
  }

  /** Starts in a row that came to nothing. */
  get failedStarts(): number {
    return this.#failedStarts;
  }

  get failed(): boolean {
    return this.#failedStarts >= FAILED_ROUNDS_LIMIT * this.all.length && this.running === 0;
  }

  /** Workers to start now. They count as starting from here on. */
  takeDue(nowMs: number): Worker[] {
    if (this.failed) return [];
    const due = this.all.filter((worker) => worker.state === "absent" && worker.notBeforeMs <= nowMs);
    for (const worker of due) {
      worker.state = "starting";
      worker.startedAtMs = nowMs;
    }
    return due;
  }

  /** When the next absent worker may be started; Infinity when none is absent. */
  nextDueMs(): number {
    if (this.failed) return Number.POSITIVE_INFINITY;
    return this.all.reduce(
      (soonest, worker) => (worker.state === "absent" ? Math.min(soonest, worker.notBeforeMs) : soonest),
      Number.POSITIVE_INFINITY,
    );
  }

  /** `taken`: how many requests the worker had taken when it ended. One that kills it is no failed start. */
  apply(event: WorkerEvent, nowMs: number, taken = 0): Worker | undefined {
    const worker = this.all[event.worker];
    if (worker === undefined) return undefined;
    switch (event.kind) {
      case "spawned":
        worker.state = "running";
        worker.pid = event.pid;
        worker.generation = event.generation;
        return worker;
      case "spawn-failed":
        this.#noteFailedStart(worker, nowMs);
        return worker;
      case "exited":
        if (taken === 0 && nowMs - worker.startedAtMs < FAILED_START_MS && !endedCleanly(event.exit)) {
          this.#noteFailedStart(worker, nowMs);
        } else {
          this.#failedStarts = 0;
          worker.notBeforeMs = nowMs;
        }
        worker.state = "absent";
        worker.pid = 0;
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
    }
  }

  #noteFailedStart(worker: Worker, nowMs: number): void {
    const wait = Math.min(
      BACKOFF_LIMIT_MS,
      BACKOFF_FIRST_MS * 2 ** Math.floor(this.#failedStarts / this.all.length),
    );
    this.#failedStarts++;
    worker.state = "absent";
    worker.notBeforeMs = nowMs + wait;
  }
}

function endedCleanly(exit: Exit): boolean {
  return "code" in exit && exit.code === 0;
}

/** PHPRUN_EXIT_CALLED of ffi/php/php.h. */
const EXIT_CALLED = 250;

/** "exit code 3" or "signal 11 (SIGSEGV)". */
export function describeExit(exit: Exit): string {
  if ("code" in exit) {
    return exit.code === EXIT_CALLED ? "something in it called exit()" : `exit code ${exit.code}`;
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
