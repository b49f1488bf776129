import { basename, relative, sep } from "node:path";
import type { Config, PoolConfig, ResetKind } from "../config/config.ts";
import { AppOption, type AppOptions, type Isolation } from "./messages.ts";

const RESETS: Readonly<Record<ResetKind, number>> = {
  ini: AppOption.resetIni,
  env: AppOption.resetEnv,
  cwd: AppOption.resetCwd,
  error_handlers: AppOption.resetHandlers,
  timezone: AppOption.resetTimezone,
  locale: AppOption.resetLocale,
};

/** What a host has to know of the application that its workers boot; null in classic mode. */
export function appOptions(config: Config, pool: PoolConfig, isolation: Isolation): AppOptions | null {
  const { mode, workerScript: script, worker } = pool;
  if (mode === "classic" || script === null) return null;
  let options = worker.reset.reduce((sum, kind) => sum | RESETS[kind], 0);
  if (worker.onException === "recycle") options |= AppOption.recycleOnException;
  if (worker.paranoid) options |= AppOption.paranoid;
  if (isolation === "process" && worker.template !== false) {
    options |= AppOption.template;
    if (worker.template === "auto") options |= AppOption.templateStrict;
    if (worker.reforkAfter > 0) options |= AppOption.refork;
  }
  const { docroot } = config.php;
  return { script, scriptName: workerScriptName(script, docroot), documentRoot: docroot, options };
}

/** SCRIPT_NAME of a worker script: its path below the docroot, or its name when it is elsewhere. */
export function workerScriptName(script: string, docroot: string): string {
  const below = relative(docroot, script);
  return below === ".." || below.startsWith(`..${sep}`)
    ? `/${basename(script)}`
    : `/${below.split(sep).join("/")}`;
}
