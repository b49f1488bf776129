import { isIP } from "node:net";
import { fileGlobFault, pathGlobFault } from "../route/glob.ts";
import type { Listener } from "./config.ts";
import { type Layers, RANK } from "./layers.ts";
import { formatListen, MAX_SOCKET_PATH, withoutBrackets } from "./listen.ts";
import { checkPools, checkReach } from "./pool-checks.ts";
import { type Problem, type Report, received } from "./problem.ts";
import type { ConfigTree } from "./schema.ts";
import { parseSize } from "./size.ts";
import { eachLeaf, type Path, pathText } from "./tree.ts";

/** PHP's own limits on nested calls need some room; address space for hundreds of workers has its end. */
const SMALLEST_STACK = 1024 ** 2;
const LARGEST_STACK = 1024 ** 3;

interface Known {
  readonly listeners: readonly Listener[];
  readonly layers: Layers;
  readonly healed: readonly Path[];
}

/** Rules that no single value can break alone. */
export function crossCheck(tree: ConfigTree, { listeners, layers, healed }: Known): Problem[] {
  const problems: Problem[] = [];
  const report: Report = (path: Path, rule: string) => {
    problems.push({ where: layers.origin(path).where, message: `Cannot use '${pathText(path)}': ${rule}` });
  };
  checkText(tree, report);
  checkServer(tree, report);
  checkPhp(tree, report);
  checkStatic(tree, report);
  const given = (path: Path) => layers.origin(path).rank > RANK.default;
  checkPools(tree.pools, report, given);
  if (!healed.some(leadsToPools)) checkReach(tree.pools, report);
  checkWatch(tree, report);
  checkAdmin(tree, listeners, report);
  checkControlSocket(tree, listeners, report);
  return problems;
}

/** With a wrong pattern replaced by its default, which takes everything, other pools would seem out of reach. */
const leadsToPools = ([section, , key]: Path): boolean =>
  section === "pools" && ["patterns", "hosts", "methods", undefined].some((name) => name === key);

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
  checkHost(server.host, ["server", "host"], report);
  for (const [index, proxy] of server.trusted_proxies.entries()) {
    if (!isNetwork(proxy)) {
      report(
        ["server", "trusted_proxies", index],
        `must be an IP address or a CIDR block such as 10.0.0.0/8, received ${received(proxy)}`,
      );
    }
  }
}

function checkHost(host: string, path: Path, report: Report): void {
  if (host.includes(":") && isIP(withoutBrackets(host).replace(/%.*$/, "")) !== 6)
    report(path, `must be an address without its port, received ${received(host)}`);
}

function isNetwork(text: string): boolean {
  const [address = "", prefix, ...rest] = text.split("/");
  const version = isIP(address);
  if (version === 0 || rest.length > 0) return false;
  return prefix === undefined || (/^\d{1,3}$/.test(prefix) && Number(prefix) <= (version === 4 ? 32 : 128));
}

function checkPhp({ php }: ConfigTree, report: Report): void {
  const stack = parseSize(php.thread_stack_size);
  if (stack !== undefined && (stack < SMALLEST_STACK || stack > LARGEST_STACK)) {
    report(
      ["php", "thread_stack_size"],
      `must be a size from 1MiB to 1GiB, received ${received(php.thread_stack_size)}`,
    );
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
  for (const [index, { pattern }] of tree.static.cache_control.entries()) {
    const rule = pathGlobFault(pattern);
    if (rule !== undefined) report(["static", "cache_control", index, "pattern"], rule);
  }
  const single = parseSize(tree.static.cache_max_file_size) ?? 0;
  if (total > 0 && single > total) {
    report(
      ["static", "cache_max_file_size"],
      `must fit cache_size (${tree.static.cache_size}), received ${received(tree.static.cache_max_file_size)}`,
    );
  }
}

function checkWatch({ watch }: ConfigTree, report: Report): void {
  if (watch.paths?.length === 0) report(["watch", "paths"], "must name a folder or file, received []");
  if (watch.include.length === 0) report(["watch", "include"], "must hold at least one glob, received []");
  for (const key of ["include", "ignore"] as const) {
    for (const [index, glob] of watch[key].entries()) {
      const rule = fileGlobFault(glob);
      if (rule !== undefined) report(["watch", key, index], rule);
    }
  }
}

function checkAdmin({ admin }: ConfigTree, listeners: readonly Listener[], report: Report): void {
  checkHost(admin.host, ["admin", "host"], report);
  if (!admin.enabled || admin.port === 0) return;
  const taken = listeners.find((listener) => listener.kind === "tcp" && listener.port === admin.port);
  if (taken !== undefined) {
    report(
      ["admin", "port"],
      `must be another port than that of the listener ${formatListen(taken)}, received ${admin.port}`,
    );
  }
}

function checkControlSocket({ server }: ConfigTree, listeners: readonly Listener[], report: Report): void {
  const path = server.control_socket;
  if (Buffer.byteLength(path) > MAX_SOCKET_PATH) {
    report(
      ["server", "control_socket"],
      `must be a path of at most ${MAX_SOCKET_PATH} bytes, received ${received(path)}`,
    );
  }
  if (listeners.some((listener) => listener.kind === "unix" && listener.path === path)) {
    report(
      ["server", "control_socket"],
      `must be another socket than that of a listener, received ${received(path)}`,
    );
  }
}
