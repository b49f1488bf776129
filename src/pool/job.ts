import type { SlotNews } from "../../ffi/pool-memory.ts";
import type { LogFields } from "../log/log.ts";
import type { Exit } from "./messages.ts";

/** Why a job got no worker. */
export type Refusal = "queue-full" | "queue-timeout" | "stopping" | "pool-failed";

/** Why a job lost the worker that ran it. */
export type Loss = { kind: "died"; exit: Exit } | { kind: "killed-by-deadline" } | { kind: "stopped" };

/** One request on its way through a pool. The pool calls; the front's exchange implements. */
export interface Job {
  /** The client has left or has been answered: nobody waits for this job any more. */
  readonly settled: boolean;
  /** The worker waits for a client that does not read; its deadline rests meanwhile. */
  readonly stalled: boolean;
  /** What to tell of it in a log line: script, URI, request id. */
  readonly about: LogFields;
  /** Fills the slot's request buffer and describes it. */
  start(slot: number): void;
  /** There is news of its slot. Returns true when it has no further use for the slot's memory. */
  news(news: SlotNews): boolean;
  /** Called a few times a second while it waits or runs. */
  tick(nowMs: number): void;
  refused(why: Refusal): void;
  lost(why: Loss): void;
}
