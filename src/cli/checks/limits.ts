import { readFileSync } from "node:fs";
import { totalmem } from "node:os";
import type { Config } from "../../config/config.ts";
import { formatSize } from "../../config/size.ts";
import { type Finding, ok, warn } from "./finding.ts";

/** Descriptors for the executable, its logs, its libraries and the pools' memory. */
const OWN_FILES = 256;
const GOOD_FILES = 4096;

/** What the system allows against what the configuration may ask for. */
export function checkLimits(config: Config): Finding[] {
  return [checkOpenFiles(openFileLimit()), checkMemory(config, memoryLimit())];
}

export function checkOpenFiles(limit: number): Finding {
  const clients = Math.max(0, limit - OWN_FILES);
  if (limit >= GOOD_FILES) return ok(`Open files: ${limit === Infinity ? "no limit" : limit}`);
  return warn(
    `Open files are limited to ${limit}, which is about ${clients} clients at a time`,
    "Raise it: `ulimit -n 65536`, or LimitNOFILE=65536 in a systemd unit",
  );
}

export function checkMemory(config: Config, limit: { bytes: number; source: string }): Finding {
  const wanted =
    config.pools.reduce((sum, pool) => sum + pool.workers.max * pool.memoryLimitBytes, 0) +
    config.static.cacheBytes;
  const have = `${formatMemory(limit.bytes)} (${limit.source})`;
  if (wanted <= limit.bytes)
    return ok(`Memory: ${have}; all workers at their limits take ${formatMemory(wanted)}`);
  return warn(
    `All workers at their limits take ${formatMemory(wanted)}, more than the ${have} there is`,
    "Lower worker_count or memory_limit_mb of the pools, or give it more memory",
  );
}

function openFileLimit(): number {
  const match = /^Max open files\s+(\d+|unlimited)/m.exec(read("/proc/self/limits") ?? "");
  return match?.[1] === undefined || match[1] === "unlimited" ? Infinity : Number(match[1]);
}

/** The smaller of the machine's memory and the control group's (v2, then v1). */
function memoryLimit(): { bytes: number; source: string } {
  const total = totalmem();
  for (const file of ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]) {
    const limit = Number(read(file));
    if (limit > 0 && limit < total) return { bytes: limit, source: "control group" };
  }
  return { bytes: total, source: "machine" };
}

function read(path: string): string | null {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return null;
  }
}

const formatMemory = (bytes: number): string => formatSize(Math.round(bytes / 1024 ** 2) * 1024 ** 2);
