import type { SlotNews } from "../../ffi/pool-memory.ts";
import type { LogFields } from "../log/log.ts";
import type { Exit } from "./messages.ts";
import type { Slots } from "./slots.ts";

/** Why a job got no worker. */
export type Refusal = "queue-full" | "queue-timeout" | "stopping" | "pool-failed";

/** Why a job lost the worker that ran it. */
export type Loss =
  | { readonly kind: "died"; readonly exit: Exit }
  /** `stuck`: its thread could not be killed, and may still read what it was given until `over`. */
  | { readonly kind: "killed-by-deadline"; readonly stuck?: boolean }
  | { readonly kind: "killed-for-memory" }
  | { readonly kind: "stopped" };

/** What the status page tells of a job. */
export interface JobFacts {
  readonly id: number;
  readonly method: string;
  readonly uri: string;
  readonly script: string;
  readonly requestId: string | null;
  readonly remoteAddr: string;
}

/** One request on its way through a pool. The pool calls; the front's exchange implements. */
export interface Job {
  /** The client has left or has been answered: nobody waits for this job any more. */
  readonly settled: boolean;
  /** The worker waits for a client that does not read; its deadline rests meanwhile. */
  readonly stalled: boolean;
  /** A request of our own, that is not counted. */
  readonly isProbe: boolean;
  /** Its worker has died: may a second one run it? Only what is safe to run twice, once, and before anything was sent. */
  readonly repeatable: boolean;
  /** What to tell of it in a log line: script, URI, request id. */
  readonly about: LogFields;
  readonly facts: JobFacts;
  /** Fills the slot's request buffer and describes it. */
  start(slots: Slots, slot: number): void;
  /**
   * It has no slot any more, and no worker has answered it. Unless it is settled it will be started again.
   * `tried`: a worker had begun with it, and has died.
   */
  returned(tried: boolean): void;
  /** There is news of its slot. Returns true when it has no further use for the slot's memory. */
  news(news: SlotNews): boolean;
  /** Called a few times a second while it waits or runs. */
  tick(nowMs: number): void;
  refused(why: Refusal): void;
  lost(why: Loss): void;
  /** After it was lost to a stuck thread: that thread is done with it, or gone. */
  over?(): void;
}
