import { readdirSync, readFileSync } from "node:fs";
import { reap } from "../../ffi/system.ts";

export interface OrphanOptions {
  /** Is this a child that somebody in this process waits for? */
  readonly isKnown?: (pid: number) => boolean;
  /** @default the first process of the system or container takes in orphans, others do not */
  readonly enabled?: boolean;
  /**
   * How often to look, in milliseconds. A zombie stays for one to two of these.
   *
   * @default 1000
   */
  readonly everyMs?: number;
}

/**
 * The first process of a container inherits every process whose parent has ended, and must take note of their ends, or
 * they stay in the table of processes as zombies. Returns a function that stops it.
 */
export function reapOrphans(options: OrphanOptions = {}): () => void {
  const { isKnown = () => false, enabled = process.pid === 1, everyMs = 1000 } = options;
  if (!enabled) return () => undefined;
  const orphans = new Orphans();
  const look = () => {
    const nobodys = zombies().filter((pid) => !isKnown(pid));
    for (const pid of orphans.due(nobodys)) reap(pid);
  };
  const timer = setInterval(look, everyMs);
  timer.unref();
  return () => clearInterval(timer);
}

/**
 * Which zombies nobody waits for: those that were there the last time already. Bun takes note of its own children in
 * the turn of the event loop in which they end; a status taken away from it would be an exit that nobody hears of.
 */
export class Orphans {
  #seen: ReadonlySet<number> = new Set();

  due(found: readonly number[]): number[] {
    const due = found.filter((pid) => this.#seen.has(pid));
    this.#seen = new Set(found);
    return due;
  }
}

/** Children that have ended and whose end nobody has taken note of. */
function zombies(): number[] {
  return children().filter((pid) => /^State:\s+Z/m.test(read(`/proc/${pid}/status`) ?? ""));
}

function children(): number[] {
  const listed = read(`/proc/self/task/${process.pid}/children`);
  if (listed !== undefined) return listed.split(" ").filter(Boolean).map(Number);
  // A kernel without CONFIG_PROC_CHILDREN.
  const ours = new RegExp(`^PPid:\\s+${process.pid}$`, "m");
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && ours.test(read(`/proc/${name}/status`) ?? ""))
    .map(Number);
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}
