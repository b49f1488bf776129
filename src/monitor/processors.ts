import { readFileSync } from "node:fs";
import { join } from "node:path";

/** Counts since the machine, or the control group, was started. Only differences mean something. */
export interface ProcessorTimes {
  readonly busy: number;
  /** Spent on processes with a nice value above 0. */
  readonly nice: number;
  readonly idle: number;
  /** Periods of the control group's quota, and those in which the quota was used up; 0 without one. */
  readonly periods: number;
  readonly throttledPeriods: number;
}

/** No time is left for one more worker when so much of it is in use. */
const SATURATED_SHARE = 0.9;
/** When the quota of the control group was used up in so many of its periods, there is none left either. */
const THROTTLED_SHARE = 0.5;
/** How many looks back the comparison goes: far enough for the kernel's clock ticks to make a share. */
const LOOKS = 4;

/** Whether the processors have time left, over the last few looks. Passive: it is fed what was read. */
export class Processors {
  readonly #times: ProcessorTimes[] = [];

  note(times: ProcessorTimes): void {
    this.#times.push(times);
    if (this.#times.length > LOOKS + 1) this.#times.shift();
  }

  /** `nice`: of who wants to run. Time that nicer processes use is theirs only as long as nobody else wants it. */
  saturated(nice: number): boolean {
    const [first, last] = [this.#times[0], this.#times.at(-1)];
    if (first === undefined || last === undefined) return false;
    const busy = last.busy - first.busy;
    const niced = last.nice - first.nice;
    const all = busy + niced + last.idle - first.idle;
    const periods = last.periods - first.periods;
    if (periods > 0 && (last.throttledPeriods - first.throttledPeriods) / periods >= THROTTLED_SHARE)
      return true;
    return all > 0 && (nice > 0 ? busy + niced : busy) / all >= SATURATED_SHARE;
  }
}

/** The counts of now; undefined where they cannot be read. `root`: where the file system begins, for tests. */
export function readProcessors(root = "/"): ProcessorTimes | undefined {
  // Since Linux 2.6.24: user, nice, system, idle, iowait, irq, softirq, steal. What guests use is within user.
  const line = /^cpu +(.+)$/m.exec(read(join(root, "proc/stat")))?.[1];
  if (line === undefined) return undefined;
  const [user = 0, nice = 0, system = 0, idle = 0, iowait = 0, irq = 0, softirq = 0, steal = 0] = line
    .split(" ")
    .map(Number);
  const quota = read(join(root, "sys/fs/cgroup/cpu.stat")) || read(join(root, "sys/fs/cgroup/cpu/cpu.stat"));
  return {
    busy: user + system + irq + softirq + steal,
    nice,
    idle: idle + iowait,
    periods: count(quota, "nr_periods"),
    throttledPeriods: count(quota, "nr_throttled"),
  };
}

function count(text: string, name: string): number {
  return Number(new RegExp(`^${name} (\\d+)$`, "m").exec(text)?.[1] ?? 0);
}

function read(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return "";
  }
}
