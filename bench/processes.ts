import { readdirSync, readFileSync } from "node:fs";

export interface Memory {
  readonly rssBytes: number;
  readonly pssBytes: number;
  readonly privateBytes: number;
}

/** CPU time in these units, 100 a second on every Linux there is. The kernel sums it up exactly, then rounds. */
const TICKS_PER_SECOND = 100;

/** The processes with these ids and all that descend from them. */
export function processTree(roots: readonly number[]): number[] {
  const children = new Map<number, number[]>();
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const fields = stat(Number(name));
    if (fields === undefined) continue;
    const parent = Number(fields[1]);
    children.set(parent, [...(children.get(parent) ?? []), Number(name)]);
  }
  const found = [...roots];
  for (let i = 0; i < found.length; i++) found.push(...(children.get(found[i]!) ?? []));
  return found;
}

export function childrenOf(parent: number): number[] {
  return processTree([parent]).filter((pid) => Number(stat(pid)?.[1]) === parent);
}

/** CPU time, user and system, of whole trees: also of children that have ended and been waited for. */
export function cpuSeconds(roots: readonly number[]): number {
  let ticks = 0;
  for (const pid of processTree(roots)) {
    const fields = stat(pid);
    if (fields !== undefined) for (const field of fields.slice(11, 15)) ticks += Number(field);
  }
  return ticks / TICKS_PER_SECOND;
}

/** What /proc/PID/stat says behind the command name: state, parent, …; utime is number 11. */
function stat(pid: number): string[] | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    return text.slice(text.lastIndexOf(")") + 2).split(" ");
  } catch {
    return undefined; // it has ended since
  }
}

export function memoryOf(pid: number): Memory {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
  return {
    rssBytes: kilobytes(text, "Rss"),
    pssBytes: kilobytes(text, "Pss"),
    privateBytes: kilobytes(text, "Private_Clean") + kilobytes(text, "Private_Dirty"),
  };
}

/** Its resident memory now, and the most it has had since resetPeak(). */
export function residentOf(pid: number): { nowBytes: number; peakBytes: number } {
  const text = readFileSync(`/proc/${pid}/status`, "utf8");
  return { nowBytes: kilobytes(text, "VmRSS"), peakBytes: kilobytes(text, "VmHWM") };
}

export async function resetPeak(pid: number): Promise<void> {
  await Bun.write(`/proc/${pid}/clear_refs`, "5");
}

function kilobytes(text: string, name: string): number {
  return Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(text)?.[1] ?? 0) * 1024;
}

/** Busy and stolen CPU time of the whole machine. */
export function machineSeconds(): { busy: number; stolen: number } {
  const [, user, nice, system, , , irq, softirq, stolen] = readFileSync("/proc/stat", "utf8")
    .split("\n", 1)[0]!
    .split(/\s+/)
    .map(Number);
  const busy = user! + nice! + system! + irq! + softirq!;
  return { busy: busy / TICKS_PER_SECOND, stolen: stolen! / TICKS_PER_SECOND };
}
