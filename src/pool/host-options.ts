import type { Config, PoolConfig } from "../config/config.ts";
import { isWritable } from "../config/writable.ts";
import { chooseLibphp, settleIsolation } from "../php/choose.ts";
import { iniForThreads } from "../php/thread-ini.ts";
import { userEnvironment } from "../system/user-environment.ts";
import { VERSION } from "../version.ts";
import { appOptions } from "./app-options.ts";
import type { HostOptions } from "./messages.ts";

/** What a pool's host is started with. */
export function hostOptions(config: Config, pool: PoolConfig, inspectOnly = false): HostOptions {
  const { path, info } = chooseLibphp(config);
  const isolation = settleIsolation(pool, info?.zts ?? false);
  const given = { ...config.php.ini, ...pool.ini };
  const forced = isolation === "thread" ? iniForThreads(given, info) : {};
  return {
    libphp: path,
    ini: iniLines({ ...writableFolders(config.server.spoolDir), ...given, ...FORCED, ...forced }),
    sapiName: config.php.sapiName,
    poolName: pool.name,
    jsonPost: config.php.jsonPost,
    frankenphp: config.php.compat.includes("frankenphp"),
    app: appOptions(config, pool, isolation),
    isolation,
    threadStackBytes: config.php.threadStackBytes,
    slowLog: pool.slowMs > 0,
    runAs: pool.runAs,
    nice: pool.nice,
    cpuAffinity: pool.cpuAffinity,
    inspectOnly,
  };
}

/** opcache would remap the code of the program it finds itself in, which is Bun's, and does not survive that. */
const FORCED = { "opcache.huge_code_pages": "0" };

/** What PHP itself needs of our environment, whatever scripts may see. */
const KEPT = ["PATH", "HOME", "LANG", "TZ", "TMPDIR", "PHPRC", "PHP_INI_SCAN_DIR", "PHPRUN_LIBRARY_DIR"];

/** The environment scripts see: ours, unless php.clear_env; the configured one over it. */
export function hostEnvironment(config: Config, pool: PoolConfig): Record<string, string | undefined> {
  const ours = config.php.clearEnv
    ? Object.fromEntries(
        KEPT.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]])),
      )
    : process.env;
  return {
    ...ours,
    SERVER_SOFTWARE: `phprun/${VERSION}`,
    ...userEnvironment(pool.runAs),
    ...config.php.env,
    ...pool.env,
  };
}

/**
 * Without a temporary folder that can be written to, opcache keeps PHP from starting (its lock file), and request
 * bodies are cut short in silence.
 */
function writableFolders(spoolDir: string): Record<string, string> {
  return {
    ...(isWritable("/tmp") ? {} : { "opcache.lockfile_path": spoolDir }),
    ...(isWritable(process.env["TMPDIR"] ?? "/tmp") ? {} : { sys_temp_dir: spoolDir }),
  };
}

/** Words, numbers and expressions of E_ constants stand as they are; everything else is quoted and means itself. */
function iniLines(ini: Readonly<Record<string, string>>): string {
  return Object.entries(ini)
    .map(
      ([name, value]) =>
        `${name}=${/^[\w.-]+$|^[ ()~!]*E_[\w &|^~!()]*$/.test(value) ? value : quoteIni(value)}\n`,
    )
    .join("");
}

/** In single quotes nothing is special; what holds one is written in pieces, as in a shell. */
function quoteIni(value: string): string {
  return `'${value.replaceAll("'", `'"'"'`)}'`;
}
