import type { Config, PoolConfig } from "./config/config.ts";
import { describeIni } from "./php/describe-ini.ts";
import type { PhpReport } from "./php/report.ts";
import { VERSION } from "./version.ts";

export interface BannerParts {
  readonly config: Config;
  readonly pools: readonly { readonly config: PoolConfig; readonly report: PhpReport | undefined }[];
  readonly urls: readonly string[];
  /** The limit of open files, as it was raised to. */
  readonly openFiles: number;
  /** PHP runs with root's rights. */
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
export function banner({ config, pools, urls, openFiles, asRoot }: BannerParts): string {
  const report = pools[0]?.report;
  return [
    `${BOLD}phprun ${VERSION}${OFF}`,
    ...(report === undefined ? [] : describePhp(report)),
    line("config", config.source ?? "none: defaults, environment and flags"),
    line("docroot", config.php.docroot),
    ...pools.flatMap((pool) => describePool(pool.config)),
    line("limits", describeLimits(config, openFiles)),
    ...warnings(
      pools.flatMap((pool) => pool.report ?? []),
      asRoot,
    ),
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

function describePool(pool: PoolConfig): string[] {
  const { min, max } = pool.workers;
  const fixed = `${max} ${max === 1 ? "worker" : "workers"}`;
  const count = min === max ? fixed : `${fixed} (all of ${min} to ${max}: they do not come and go yet)`;
  const limits = [
    pool.timeoutMs === 0
      ? "no timeout"
      : `timeout ${time(pool.timeoutMs)}, killed ${time(pool.killAfterMs)} later`,
    `queue of ${pool.queue.max} for ${time(pool.queue.timeoutMs)}`,
    `${size(pool.memoryLimitBytes)} each`,
    pool.maxRequests === 0 ? "no request limit" : `${pool.maxRequests} requests each`,
  ];
  return [line("pool", `${pool.name}: ${count} for ${pool.patterns.join(" ")}`), line("", limits.join(", "))];
}

function describeLimits({ server }: Config, openFiles: number): string {
  return [
    `${Number.isFinite(openFiles) ? openFiles : "unlimited"} open files`,
    `bodies up to ${size(server.clientMaxBodyBytes)}`,
    `stop within ${time(server.stopTimeoutMs)}`,
    `spool in ${server.spoolDir}`,
  ].join(", ");
}

/** What a person should look into, though it does not keep the server from serving. */
function warnings(reports: readonly PhpReport[], asRoot: boolean): string[] {
  const found = new Set<string>();
  if (asRoot) found.add("PHP runs as root. Start phprun as the user that owns the application.");
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
