import { hostGlobFault, matchesEveryHost, matchesEveryPath, pathGlobFault } from "../route/glob.ts";
import { findRunAs } from "./accounts.ts";
import { allowedCpus, formatCpuList, parseCpuList } from "./cpu-list.ts";
import { type Report, received } from "./problem.ts";
import type { PoolTree } from "./schema.ts";
import { fieldAt, type Path } from "./tree.ts";

/** Rules of each pool and of their names; `given` tells whether somebody set a key. */
export function checkPools(pools: readonly PoolTree[], report: Report, given: (path: Path) => boolean): void {
  for (const [index, pool] of pools.entries()) {
    const path = ["pools", index];
    checkLimits(pool, path, report, given);
    checkMode(pool, path, report);
    checkGlobs(pool, path, report);
    checkRights(pool, path, report);
    checkCpus(pool, path, report);
  }
  checkNames(pools, report);
}

function checkLimits(pool: PoolTree, path: Path, report: Report, given: (path: Path) => boolean): void {
  const { worker_count: count, memory_limit_mb, memory_kill_mb, slow_ms, timeout_ms } = pool;
  if (typeof count === "object" && count.min > count.max) {
    report(
      [...path, "worker_count"],
      `min must not be above max, received min ${count.min} and max ${count.max}`,
    );
  }
  if (memory_kill_mb !== null && memory_kill_mb <= memory_limit_mb) {
    report(
      [...path, "memory_kill_mb"],
      `must be above memory_limit_mb (${memory_limit_mb}), received ${memory_kill_mb}`,
    );
  }
  if (timeout_ms > 0 && slow_ms >= timeout_ms) {
    report(
      [...path, "slow_ms"],
      `must be below timeout_ms (${timeout_ms}), or requests end before they count as slow, received ${slow_ms}`,
    );
  }
  // Its default says nothing: `config print` writes it too.
  const kill = [...path, "kill_after_ms"];
  if (timeout_ms === 0 && given(kill) && pool.kill_after_ms !== fieldAt(kill)?.default) {
    report(kill, "has no effect while timeout_ms is 0 (no limit)");
  }
}

function checkMode(pool: PoolTree, path: Path, report: Report): void {
  if (pool.mode === "worker" && pool.worker_script === null)
    report([...path, "mode"], "it needs a worker_script, the script that boots the application");
}

function checkGlobs(pool: PoolTree, path: Path, report: Report): void {
  if (pool.patterns.length === 0)
    report([...path, "patterns"], "must hold at least one pattern, or the pool is never used");
  for (const [index, pattern] of pool.patterns.entries()) {
    const rule = pathGlobFault(pattern);
    if (rule !== undefined) report([...path, "patterns", index], rule);
  }
  for (const [index, host] of pool.hosts.entries()) {
    const rule = hostGlobFault(host);
    if (rule !== undefined) report([...path, "hosts", index], rule);
  }
}

/** Only root may become somebody else or push ahead of others. */
function checkRights(pool: PoolTree, path: Path, report: Report): void {
  const asRoot = process.geteuid?.() === 0;
  const found = findRunAs(pool.user, pool.group);
  if (found !== null && "rule" in found) report([...path, found.key], found.rule);
  else if (found !== null && !asRoot)
    report(
      [...path, "user"],
      `must be left out unless phprun is started as root, received ${received(pool.user)}`,
    );
  if (pool.nice < 0 && !asRoot)
    report([...path, "nice"], `must be 0 or more unless phprun is started as root, received ${pool.nice}`);
}

function checkCpus(pool: PoolTree, path: Path, report: Report): void {
  if (pool.cpu_affinity === null) return;
  const cpus = parseCpuList(pool.cpu_affinity);
  const allowed = allowedCpus();
  const rule =
    typeof cpus === "string"
      ? cpus
      : cpus.some((cpu) => !allowed.includes(cpu))
        ? `must be processors that phprun may run on (${formatCpuList(allowed)})`
        : undefined;
  if (rule !== undefined)
    report([...path, "cpu_affinity"], `${rule}, received ${received(pool.cpu_affinity)}`);
}

function checkNames(pools: readonly PoolTree[], report: Report): void {
  const names = new Set<string>();
  for (const [index, pool] of pools.entries()) {
    if (names.has(pool.name))
      report(["pools", index, "name"], `the name ${received(pool.name)} is taken by an earlier pool`);
    names.add(pool.name);
  }
}

/** Every pool must be reached by some request, and every request must reach some pool. */
export function checkReach(pools: readonly PoolTree[], report: Report): void {
  if (pools.some((pool) => pool.patterns.length === 0)) return;
  for (const [index, pool] of pools.entries()) {
    const takers = takersOf(pool, pools.slice(0, index));
    if (takers !== undefined) {
      const names = takers.map((taker) => `pools[${taker}]`).join(" and ");
      report(
        ["pools", index],
        `it is never reached, because ${names} before it ${takers.length === 1 ? "takes" : "take"} all of its requests; put this one first`,
      );
    }
  }
  if (!pools.some((pool) => takesEveryPath(pool) && takesEveryHost(pool) && pool.methods.length === 0))
    reportGap(pools, report);
}

function reportGap(pools: readonly PoolTree[], report: Report): void {
  const place = pools.length - 1;
  const last = pools[place];
  if (last === undefined || !takesEveryPath(last)) {
    report(
      ["pools"],
      'the last pool must have the pattern "/*" and no hosts or methods, so that every request has a pool',
    );
    return;
  }
  for (const key of ["hosts", "methods"] as const) {
    if (key === "hosts" ? takesEveryHost(last) : last.methods.length === 0) continue;
    report(
      ["pools", place, key],
      `must be left out of the last pool, so that every request has a pool, received ${received(last[key])}`,
    );
  }
}

/** The earlier pools that leave nothing to this one, as far as the text of the patterns tells. */
function takersOf(pool: PoolTree, earlier: readonly PoolTree[]): number[] | undefined {
  const takers = new Set<number>();
  for (const pattern of pool.patterns) {
    const taker = earlier.findIndex(
      (other) =>
        (takesEveryPath(other) || other.patterns.includes(pattern)) &&
        takesHostsOf(other, pool) &&
        takesMethodsOf(other, pool),
    );
    if (taker < 0) return undefined;
    takers.add(taker);
  }
  return [...takers].sort((a, b) => a - b);
}

const takesEveryPath = (pool: PoolTree): boolean => pool.patterns.some(matchesEveryPath);
const takesEveryHost = (pool: PoolTree): boolean =>
  pool.hosts.length === 0 || pool.hosts.some(matchesEveryHost);

function takesHostsOf(other: PoolTree, pool: PoolTree): boolean {
  if (takesEveryHost(other)) return true;
  const taken = new Set(other.hosts.map((host) => host.toLowerCase()));
  return !takesEveryHost(pool) && pool.hosts.every((host) => taken.has(host.toLowerCase()));
}

function takesMethodsOf(other: PoolTree, pool: PoolTree): boolean {
  if (other.methods.length === 0) return true;
  const taken = new Set(other.methods.map((method) => method.toUpperCase()));
  return pool.methods.length > 0 && pool.methods.every((method) => taken.has(method.toUpperCase()));
}
