import { WorkerState } from "../../ffi/layout.ts";
import type { WorkerModeConfig } from "../config/config.ts";

/** What is due for a worker whose script boots, or ends. */
export type BootDue = "nothing" | "ask-to-end" | "kill";

interface Watched {
  readonly state: number;
  readonly sinceMs: number;
  stage: "waits" | "asked-to-end" | "killed";
}

/**
 * Worker scripts outside of requests: how long they may boot, and how long they may take to end. No deadline of a
 * request covers either. Passive: it is fed what the workers' records say, and has no clock.
 */
export class Boots {
  readonly #limits: Pick<WorkerModeConfig, "bootTimeoutMs">;
  readonly #killAfterMs: number;
  readonly #watched = new Map<number, Watched>();

  constructor(limits: Pick<WorkerModeConfig, "bootTimeoutMs">, killAfterMs: number) {
    this.#limits = limits;
    this.#killAfterMs = killAfterMs;
  }

  /** `state`: WorkerState of a worker that has a process or a thread. */
  step(worker: number, state: number, nowMs: number): BootDue {
    if (state !== WorkerState.starting && state !== WorkerState.ending) {
      this.#watched.delete(worker);
      return "nothing";
    }
    const watched = this.#watched.get(worker);
    if (watched?.state !== state) {
      this.#watched.set(worker, { state, sinceMs: nowMs, stage: "waits" });
      return "nothing";
    }
    const tookMs = nowMs - watched.sinceMs;
    if (watched.stage === "waits" && tookMs > this.#limits.bootTimeoutMs) {
      watched.stage = "asked-to-end";
      return "ask-to-end";
    }
    if (watched.stage !== "asked-to-end" || tookMs <= this.#limits.bootTimeoutMs + this.#killAfterMs)
      return "nothing";
    watched.stage = "killed";
    return "kill";
  }

  /** It has ended. */
  forget(worker: number): void {
    this.#watched.delete(worker);
  }
}
