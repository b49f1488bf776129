import type { Config } from "../config/config.ts";
import { mebibytes } from "./mebibytes.ts";

/**
 * A warning when all workers, each at its limit, would hold more than there is; null when they fit. No load has to
 * bring that about, but one that does ends with the kernel's choice of a process to end.
 *
 * `cgroupBytes`: the lowest limit of the control groups, null for none. `machineBytes`: what the machine has.
 */
export function describeMemoryBudget(
  { pools }: Pick<Config, "pools">,
  cgroupBytes: number | null,
  machineBytes: number,
): string | null {
  const inCgroup = cgroupBytes !== null && cgroupBytes < machineBytes;
  const available = inCgroup ? cgroupBytes : machineBytes;
  const wanted = pools.reduce((sum, pool) => sum + pool.workers.max * pool.memoryLimitBytes, 0);
  if (wanted <= available) return null;
  const parts = pools.map(
    (pool) => `${pool.name}: ${pool.workers.max} × ${mebibytes(pool.memoryLimitBytes)}`,
  );
  const owner = inCgroup ? "the control group allows" : "the machine has";
  return (
    `All workers at their limits would hold ${mebibytes(wanted)} (${parts.join(", ")}), ${owner} ` +
    `${mebibytes(available)}. ${remedy(pools, available)}`
  );
}

function remedy(pools: Config["pools"], available: number): string {
  const [pool] = pools;
  if (pool === undefined || pools.length > 1)
    return "Lower worker_count or memory_limit_mb of the pools, or provide more memory.";
  const fitting = Math.floor(available / pool.memoryLimitBytes);
  const each = Math.floor(available / pool.workers.max / 1048576);
  const fewer = fitting > 0 ? `worker_count to ${fitting} at most, or ` : "";
  return `Set ${fewer}memory_limit_mb to ${each} at most, or provide more memory.`;
}
