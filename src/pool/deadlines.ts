import type { PoolConfig } from "../config/config.ts";
import type { Running } from "./slots.ts";

/** What is due for a request that a worker runs. */
export type Due = "nothing" | "ask-to-end" | "ask-again" | "kill";

/**
 * The deadlines of a request: first the script is asked to end, and asked again each time it may have missed that;
 * `killAfterMs` later its worker is killed. Feed it
 * each running request every `stepMs`; it has no clock of its own.
 */
export function stepDeadline(
  running: Running,
  limits: Pick<PoolConfig, "timeoutMs" | "killAfterMs">,
  nowMs: number,
  stepMs: number,
): Due {
  if (running.runningSinceMs === 0) running.runningSinceMs = nowMs;
  // Time that the worker spent waiting for a slow client is not the script's.
  else if (running.job.stalled) running.runningSinceMs += stepMs;
  if (limits.timeoutMs === 0) return "nothing";
  const ranMs = nowMs - running.runningSinceMs;
  if (running.stage === "running" && ranMs > limits.timeoutMs) {
    running.stage = "asked-to-end";
    // Asked late, by a front that was held up itself, it still has its time to end.
    running.runningSinceMs = Math.max(running.runningSinceMs, nowMs - limits.timeoutMs - stepMs);
    return "ask-to-end";
  }
  if (running.stage !== "asked-to-end") return "nothing";
  if (ranMs <= limits.timeoutMs + limits.killAfterMs) return "ask-again";
  running.stage = "killed";
  return "kill";
}

/** A worker that has not told where it is within this time will not. */
const PATIENCE_MS = 500;

/** The slow log: a request over `slowMs` is asked about once, and told of without a backtrace when none comes. */
export function stepSlow(
  running: Running,
  { slowMs }: Pick<PoolConfig, "slowMs">,
  nowMs: number,
): "nothing" | "ask" | "tell" {
  if (slowMs === 0 || running.runningSinceMs === 0 || running.slow === "told" || running.job.isProbe)
    return "nothing";
  const ranMs = nowMs - running.runningSinceMs;
  if (running.slow === "not" && ranMs > slowMs) {
    running.slow = "asked";
    return "ask";
  }
  return running.slow === "asked" && ranMs > slowMs + PATIENCE_MS ? "tell" : "nothing";
}
