import { Leaving } from "../../ffi/layout.ts";
import type { RestartReason } from "./counters.ts";
import type { Loss } from "./job.ts";
import type { Exit } from "./messages.ts";
import type { Running } from "./slots.ts";
import { EXIT_CALLED } from "./workers.ts";

/** Why a worker that has ended is replaced, as the status page counts it. */
export function restartReason(
  exit: Exit,
  running: Running | undefined,
  leaving: number,
  retiredFor: RestartReason | null,
): RestartReason {
  if (running?.killedFor === "deadline") return "deadline";
  if (running?.killedFor === "memory") return "memory_kill";
  if ("signal" in exit) return "crash";
  if (exit.code === EXIT_CALLED) return "exit";
  if (leaving === Leaving.memory) return "memory";
  return retiredFor ?? "exit";
}

/** What the request of a worker that has ended is told. */
export function lossFor(killedFor: Running["killedFor"], exit: Exit): Loss {
  if (killedFor === "deadline") return { kind: "killed-by-deadline" };
  return killedFor === "memory" ? { kind: "killed-for-memory" } : { kind: "died", exit };
}
