import type { Refusal } from "./job.ts";

/** Why a worker was replaced; the last three are of whole generations. */
export type RestartReason =
  | "max_requests"
  | "memory"
  | "crash"
  | "deadline"
  | "exit"
  | "idle"
  | "memory_kill"
  /** A thread that did not come back from its request. */
  | "lost"
  /** Worker mode: its script ended by itself, by a fatal error, before it had booted, or by an uncaught exception. */
  | "script"
  | "fatal"
  | "boot"
  | "exception"
  /** A warm worker has become the template, and those from before are replaced by copies of it. */
  | "refork"
  | "host"
  | "emergency"
  /** Its host has asked for it. */
  | "renew";

/** What a pool has seen since it was made. Plain numbers: the status page copies them. */
export class Counters {
  served = 0;
  mostRunning = 0;
  mostWaiting = 0;
  /** Requests whose worker died. */
  lost = 0;
  timedOut = 0;
  retried = 0;
  slow = 0;
  clientGone = 0;
  readonly refused: Record<Refusal, number> = {
    "queue-full": 0,
    "queue-timeout": 0,
    stopping: 0,
    "pool-failed": 0,
  };
  readonly restarts: Record<RestartReason, number> = {
    max_requests: 0,
    memory: 0,
    crash: 0,
    deadline: 0,
    exit: 0,
    idle: 0,
    memory_kill: 0,
    lost: 0,
    script: 0,
    fatal: 0,
    boot: 0,
    exception: 0,
    refork: 0,
    host: 0,
    emergency: 0,
    renew: 0,
  };
}
