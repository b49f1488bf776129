import type { Config, PoolConfig } from "./config/config.ts";
import { formatCpuList } from "./config/cpu-list.ts";
import { settleIsolation } from "./php/choose.ts";
import { describeIni } from "./php/describe-ini.ts";
import type { PhpReport } from "./php/report.ts";
import { VERSION } from "./version.ts";

export interface BannerParts {
  readonly config: Config;
  readonly pools: readonly { readonly config: PoolConfig; readonly report: PhpReport | undefined }[];
  readonly urls: readonly string[];
  /** The limit of open files, as it was raised to. */
  readonly openFiles: number;
  /** Where the admin listener answers; left out when there is none. */
  readonly adminUrl?: string;
  /** A warning about memory that is not there (`describeMemoryBudget`), or null. */
  readonly budget?: string | null;
  /** phprun was started with root's rights, which pools without a user of their own have too. */
  readonly asRoot: boolean;
}

const BOLD = "\x1b[1m";
const DIM = "\x1b[2m";
const GREEN = "\x1b[32m";
const YELLOW = "\x1b[33m";
const OFF = "\x1b[0m";

/**
 * The block printed at start: what runs, and every value that was derived rather than given. Coloured; whoever
 * prints it anywhere but on a terminal takes the colours out.
 */
export function banner({
  config,
  pools,
  urls,
  openFiles,
  asRoot,
  adminUrl,
  budget = null,
}: BannerParts): string {
  const report = pools[0]?.report;
  return [
    `${BOLD}phprun ${VERSION}${OFF}`,
    ...(report === undefined ? [] : describePhp(report)),
    line("config", config.source ?? "none: defaults, environment and flags"),
    line("docroot", config.php.docroot),
    ...pools.flatMap((pool) => describePool(pool.config, pool.report?.zts ?? false)),
    line("limits", describeLimits(config, openFiles)),
    ...warnings(
      pools.flatMap((pool) => pool.report ?? []),
      asRoot && pools.some((pool) => (pool.config.runAs?.uid ?? 0) === 0),
      budget,
    ),
    ...(adminUrl === undefined ? [] : [line("admin", adminUrl)]),
    ...urls.map((url) => line("ready", `${GREEN}${url}${OFF}`)),
  ].join("\n");
}

function line(label: string, text: string): string {
  return `  ${DIM}${label.padEnd(8)}${OFF} ${text}`;
}

function describePhp(report: PhpReport): string[] {
  const build = `${report.zts ? "ZTS" : "NTS"}${report.debug ? " debug" : ""}`;
  return [
    line("PHP", `${report.version} ${build}, API ${report.zendApi}, ${report.extensions.length} extensions`),
    line("libphp", report.libphp),
    line("opcache", report.opcache ? "on" : `${YELLOW}off${OFF}`),
    line("php.ini", describeIni(report) || "none"),
  ];
}

function describePool(pool: PoolConfig, zts: boolean): string[] {
  const { min, max } = pool.workers;
  const count = min === max ? `${max}` : `${min} to ${max}`;
  const limits = [
    pool.timeoutMs === 0
      ? "no timeout"
      : `timeout ${time(pool.timeoutMs)}, killed ${time(pool.killAfterMs)} later`,
    `queue of ${pool.queue.max} for ${time(pool.queue.timeoutMs)}`,
    `${size(pool.memoryLimitBytes)} each`,
    pool.maxRequests === 0 ? "no request limit" : `${pool.maxRequests} requests each`,
  ];
  const extras = describeExtras(pool);
  const threads = settleIsolation(pool, zts) === "thread" ? " in threads" : "";
  return [
    line(
      "pool",
      `${pool.name}: ${count} ${max === 1 ? "worker" : "workers"}${threads} for ${describeRequests(pool)}`,
    ),
    ...describeMode(pool, threads !== ""),
    line("", limits.join(", ")),
    ...(extras.length === 0 ? [] : [line("", extras.join(", "))]),
  ];
}

/** Worker mode: the script, and how its workers come to be. */
function describeMode({ mode, workerScript, worker }: PoolConfig, threads: boolean): string[] {
  if (mode === "classic") return [];
  const phrases = [`worker mode: ${workerScript}`];
  if (!threads && worker.template !== false) phrases.push("workers forked from a template");
  if (!threads && worker.template !== false && worker.reforkAfter > 0)
    phrases.push(`a new one after ${worker.reforkAfter} requests`);
  if (worker.paranoid) phrases.push("paranoid");
  return [line("", phrases.join(", "))];
}

/** `GET HEAD /export/* on *.example.com` */
function describeRequests({ patterns, hosts, methods }: PoolConfig): string {
  return [...methods, ...patterns, ...(hosts.length === 0 ? [] : ["on", ...hosts])].join(" ");
}

/** What a pool has that most do without, and limits that are not the usual ones. */
function describeExtras(pool: PoolConfig): string[] {
  const { workers, emergencyRestart: burst } = pool;
  const told: [boolean, string][] = [
    [workers.min < workers.max && pool.idleTimeoutMs !== 10_000, `idle after ${time(pool.idleTimeoutMs)}`],
    [pool.memoryKillBytes !== 2 * pool.memoryLimitBytes, `killed above ${size(pool.memoryKillBytes)}`],
    [pool.slowMs > 0, `slow after ${time(pool.slowMs)}`],
    [pool.retry, "retried once"],
    [pool.nice !== 0, `nice ${pool.nice}`],
    [pool.runAs !== null, `as ${pool.runAs?.name} (${pool.runAs?.uid}:${pool.runAs?.gid})`],
    [pool.cpuAffinity.length > 0, `on CPU ${formatCpuList(pool.cpuAffinity)}`],
    [burst.threshold === 0, "no emergency restart"],
    [
      burst.threshold > 0 && (burst.threshold !== 10 || burst.intervalMs !== 60_000),
      `all new after ${burst.threshold} crashes in ${time(burst.intervalMs)}`,
    ],
  ];
  return told.flatMap(([applies, phrase]) => (applies ? [phrase] : []));
}

function describeLimits({ server, health, reload }: Config, openFiles: number): string {
  return [
    `${Number.isFinite(openFiles) ? openFiles : "unlimited"} open files`,
    `bodies up to ${size(server.clientMaxBodyBytes)}`,
    `stop within ${time(server.stopTimeoutMs)}`,
    ...(reload.drainTimeoutMs === 60_000 ? [] : [`reload within ${time(reload.drainTimeoutMs)}`]),
    ...(health.path === null ? [] : [`health at ${health.path}`]),
    ...(server.controlSocket === null ? ["no control socket"] : []),
    `spool in ${server.spoolDir}`,
  ].join(", ");
}

/** What a person should look into, though it does not keep the server from serving. */
function warnings(reports: readonly PhpReport[], asRoot: boolean, budget: string | null): string[] {
  const found = new Set<string>(budget === null ? [] : [budget]);
  if (asRoot)
    found.add(
      "PHP runs as root. Set the user of each pool, or start phprun as the one that owns the application.",
    );
  for (const report of reports) {
    if (!report.opcache)
      found.add(`opcache is off: ${report.opcacheReason}. Every request compiles its scripts.`);
    for (const message of report.startupErrors)
      found.add(`${shorten(message)} (see the log, or phprun doctor)`);
  }
  return [...found].map((text) => line("warning", `${YELLOW}${text}${OFF}`));
}

/** PHP's message without the decoration of a log line and the list of places that were looked at. */
function shorten(message: string): string {
  const [first = ""] = message.split("\n", 1);
  return first
    .replace(/^PHP [\w ]+: +(?:PHP Startup: )?/, "")
    .replace(/ in Unknown on line 0$/, "")
    .replace(/ \(tried: .*$/, "");
}

function time(ms: number): string {
  return ms >= 1000 ? `${ms / 1000} s` : `${ms} ms`;
}

function size(bytes: number): string {
  const [unit, factor] = bytes >= 1024 ** 3 ? (["GiB", 1024 ** 3] as const) : (["MiB", 1024 ** 2] as const);
  return bytes < 1024 ** 2
    ? `${Math.round(bytes / 1024)} KiB`
    : `${Number((bytes / factor).toFixed(1))} ${unit}`;
}
