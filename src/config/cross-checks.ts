import { isIP } from "node:net";
import { type Layers, RANK } from "./layers.ts";
import { type Problem, received } from "./problem.ts";
import type { ConfigTree, PoolTree } from "./schema.ts";
import { parseSize } from "./size.ts";
import { eachLeaf, type Path, pathText } from "./tree.ts";

/** Rules that no single value can break alone. */
export function crossCheck(tree: ConfigTree, layers: Layers): Problem[] {
  const problems: Problem[] = [];
  const report = (path: Path, rule: string) => {
    problems.push({ where: layers.origin(path).where, message: `Cannot use '${pathText(path)}': ${rule}` });
  };
  checkText(tree, report);
  checkServer(tree, report);
  checkPhp(tree, report);
  checkStatic(tree, report);
  const given = (path: Path) => layers.origin(path).rank > RANK.default;
  for (const [index, pool] of tree.pools.entries()) checkPool(pool, ["pools", index], report, given);
  checkPoolsTogether(tree.pools, report);
  return problems;
}

type Report = (path: Path, rule: string) => void;

/** NUL ends a C string early and a line break starts a new php.ini line, so neither may hide in a value. */
function checkText(tree: ConfigTree, report: Report): void {
  eachLeaf(tree, (path, value, field) => {
    if (field?.["x-kind"] === "size" && parseSize(value as string | number) === undefined)
      report(path, `must be a size below 8 PiB, received ${received(value)}`);
    if (typeof value !== "string") return;
    if (value.includes("\0")) report(path, "must not contain a NUL byte");
    else if (path.includes("ini") && /[\r\n]/.test(value)) report(path, "must not contain a line break");
    else if (path.includes("env") && String(path.at(-1)) === "") report(path, "must have a name");
  });
}

function checkServer({ server }: ConfigTree, report: Report): void {
  if (/:/.test(server.host) && isIP(server.host.replace(/^\[(.*)\]$/, "$1").replace(/%.*$/, "")) !== 6) {
    report(["server", "host"], `must be an address without its port, received ${received(server.host)}`);
  }
  for (const [index, proxy] of server.trusted_proxies.entries()) {
    if (!isNetwork(proxy)) {
      report(
        ["server", "trusted_proxies", index],
        `must be an IP address or a CIDR block such as 10.0.0.0/8, received ${received(proxy)}`,
      );
    }
  }
}

function isNetwork(text: string): boolean {
  const [address = "", prefix, ...rest] = text.split("/");
  const version = isIP(address);
  if (version === 0 || rest.length > 0) return false;
  return prefix === undefined || (/^\d{1,3}$/.test(prefix) && Number(prefix) <= (version === 4 ? 32 : 128));
}

function checkPhp({ php }: ConfigTree, report: Report): void {
  if (php.isolation === "thread") {
    report(["php", "isolation"], "must be process or auto: workers in threads are not available yet");
  }
  const script = php.front_controller;
  if (script !== null && (script.startsWith("/") || script.split("/").includes(".."))) {
    report(
      ["php", "front_controller"],
      `must be a path inside the docroot, relative to it, received ${received(script)}`,
    );
  }
  if (php.script_extensions.length === 0)
    report(["php", "script_extensions"], "must name at least one extension");
}

function checkStatic(tree: ConfigTree, report: Report): void {
  const total = parseSize(tree.static.cache_size) ?? 0;
  const single = parseSize(tree.static.cache_max_file_size) ?? 0;
  if (total > 0 && single > total) {
    report(
      ["static", "cache_max_file_size"],
      `must fit cache_size (${tree.static.cache_size}), received ${received(tree.static.cache_max_file_size)}`,
    );
  }
}

function checkPool(pool: PoolTree, path: Path, report: Report, given: (path: Path) => boolean): void {
  const count = pool.worker_count;
  if (typeof count === "object" && count.min > count.max) {
    report(
      [...path, "worker_count"],
      `min must not be above max, received min ${count.min} and max ${count.max}`,
    );
  }
  if (pool.patterns.length === 0)
    report([...path, "patterns"], "must hold at least one pattern, or the pool is never used");
  if (pool.timeout_ms === 0 && given([...path, "kill_after_ms"])) {
    report([...path, "kill_after_ms"], "has no effect while timeout_ms is 0 (no limit)");
  }
}

function checkPoolsTogether(pools: readonly PoolTree[], report: Report): void {
  let catchAll: number | undefined;
  const names = new Set<string>();
  for (const [index, pool] of pools.entries()) {
    if (names.has(pool.name))
      report(["pools", index, "name"], `the name ${received(pool.name)} is taken by an earlier pool`);
    names.add(pool.name);
    if (catchAll !== undefined) {
      report(
        ["pools", index],
        `it is never reached, because pools[${catchAll}] before it takes every path; put that one last`,
      );
    }
    if (catchAll === undefined && pool.patterns.some((pattern) => /^\/?\*{1,2}$/.test(pattern)))
      catchAll = index;
  }
  if (catchAll === undefined && pools.every((pool) => pool.patterns.length > 0)) {
    report(["pools"], 'the last pool must have the pattern "/*", so that every path has a pool');
  }
}
