import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";

/** CPUs this process may use: its affinity, cut by the quota of its control group. */
export function cpuCount(): number {
  return Math.max(1, Math.min(availableParallelism(), quota() ?? Infinity));
}

function quota(): number | undefined {
  try {
    const [max, period] = readFileSync("/sys/fs/cgroup/cpu.max", "utf8").trim().split(" ");
    const cpus = Math.ceil(Number(max) / Number(period));
    return Number.isFinite(cpus) && cpus > 0 ? cpus : undefined;
  } catch {
    return undefined;
  }
}
