import { realpathSync } from "node:fs";
import type { Config, PoolConfig } from "./config/config.ts";
import { ErrorPages } from "./http/error-page.ts";
import type { FrontParts } from "./http/front.ts";
import type { AccessLog } from "./log/access.ts";
import type { Log } from "./log/log.ts";
import { workerScriptName } from "./pool/app-options.ts";
import type { Pool } from "./pool/pool.ts";
import { AppScript } from "./route/app-script.ts";
import { PoolPatterns } from "./route/pool-patterns.ts";
import { Router } from "./route/router.ts";
import { currentTurn } from "./route/turn.ts";
import { StaticFiles } from "./static/static-files.ts";

/**
 * The configuration with its docroot's symbolic links followed. A deploy that switches a link (`current` to the next
 * release) shows at the next reload, all at once: until then every path is that of the old release, also in opcache.
 */
export function withRealDocroot(config: Config): Config {
  return { ...config, php: { ...config.php, docroot: realpathSync(config.php.docroot) } };
}

function appScript({ php }: Config, { mode, workerScript }: PoolConfig): AppScript | null {
  if (mode === "classic" || workerScript === null) return null;
  const name = workerScriptName(workerScript, php.docroot);
  return new AppScript(php.docroot, php.frontController, { filename: workerScript, name });
}

/** What a configuration makes of the front, but for the pools and listeners, which live on from one to the next. */
export function buildApplication(
  config: Config,
  pools: readonly Pool[],
  log: Log,
  access: AccessLog,
): FrontParts {
  const pages = new ErrorPages(config.errorPages, (status, file) => {
    log.warn(`Cannot read the error page for ${status}: ${file}; the built-in page stands in`);
  });
  return {
    config,
    router: new Router(config.php, { serveFiles: config.static.enabled, turn: currentTurn }),
    files: new StaticFiles(config.static, {
      refuse: (status, headers) => pages.respond(status, { accept: null }, headers),
      complain: (why) => log.warn(why),
    }),
    pages,
    patterns: new PoolPatterns(config.pools),
    pools,
    apps: config.pools.map((pool) => appScript(config, pool)),
    log,
    access,
  };
}
