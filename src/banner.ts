import type { Config, PoolConfig } from "./config/config.ts";
import type { Pool } from "./pool/pool.ts";
import { VERSION } from "./version.ts";

/** The block printed at start: what runs, and every value that was derived rather than given. */
export function banner(config: Config, pools: readonly Pool[], urls: readonly string[]): string {
  const report = pools[0]?.report;
  const lines = [`phprun ${VERSION}`];
  if (report !== undefined) {
    const build = `${report.zts ? "ZTS" : "NTS"}${report.debug ? " debug" : ""}`;
    lines.push(
      `  PHP      ${report.version} ${build}, API ${report.zendApi}, ${report.extensions.length} extensions`,
      `  opcache  ${report.opcache ? "on" : `OFF: ${report.opcacheReason}`}`,
      `  php.ini  ${report.iniFile || "none"}${report.iniScanned.length > 0 ? `, ${report.iniScanned.length} more files` : ""}`,
    );
  }
  lines.push(`  config   ${config.source ?? "none (defaults)"}`, `  docroot  ${config.php.docroot}`);
  for (const { config: pool } of pools) lines.push(`  pool     ${describePool(pool)}`);
  for (const url of urls) lines.push(`  ready    ${url}`);
  return lines.join("\n");
}

function describePool(pool: PoolConfig): string {
  const { min, max } = pool.workers;
  return [
    `${pool.name}: ${min === max ? max : `${min}–${max}`} workers`,
    `timeout ${pool.timeoutMs} ms (+${pool.killAfterMs} ms)`,
    `queue ${pool.queue.max} × ${pool.queue.timeoutMs} ms`,
    `memory ${Math.round(pool.memoryLimitBytes / 1048576)} MiB`,
    pool.maxRequests === 0 ? "no request limit" : `${pool.maxRequests} requests each`,
    pool.patterns.join(" "),
  ].join(", ");
}
