import { constants } from "node:os";
import { Leaving } from "../../ffi/layout.ts";
import type { RestartReason } from "./counters.ts";
import type { Loss } from "./job.ts";
import type { Exit } from "./messages.ts";
import type { Running } from "./slots.ts";
import { EXIT_CALLED } from "./workers.ts";

/** As Bun tells of a process that has ended: a signal by its name. */
export function exitOf(code: number | null, signal: string | number | null): Exit {
  if (signal === null) return { code: code ?? 0 };
  const signals: Partial<Record<string, number>> = constants.signals;
  return { signal: typeof signal === "number" ? signal : (signals[signal] ?? 0) };
}

/** What a worker says itself of its end. */
const LEAVING = new Map<number, RestartReason>([
  [Leaving.memory, "memory"],
  [Leaving.script, "script"],
  [Leaving.fatal, "fatal"],
  [Leaving.boot, "boot"],
  [Leaving.exception, "exception"],
]);

/** Why a worker that has ended is replaced, as the status page counts it. */
export function restartReason(
  exit: Exit,
  running: Running | undefined,
  leaving: number,
  retiredFor: RestartReason | null,
): RestartReason {
  if (running?.killedFor === "deadline") return "deadline";
  if (running?.killedFor === "memory") return "memory_kill";
  if (retiredFor === "lost") return "lost";
  if ("signal" in exit) return "crash";
  if (exit.code === EXIT_CALLED) return "exit";
  const told = LEAVING.get(leaving);
  if (told !== undefined) return told;
  return retiredFor ?? "exit";
}

/** What the request of a worker that has ended is told. */
export function lossFor(killedFor: Running["killedFor"], exit: Exit): Loss {
  if (killedFor === "deadline") return { kind: "killed-by-deadline" };
  return killedFor === "memory" ? { kind: "killed-for-memory" } : { kind: "died", exit };
}
