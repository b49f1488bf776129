import { statSync } from "node:fs";
import type { Config, PoolConfig } from "../config/config.ts";
import { isWritable } from "../config/writable.ts";
import { PhprunError } from "../errors.ts";
import { isBuiltFor, type ShimBuild } from "../php/libphp-info.ts";
import { libphpCandidates } from "../php/locate.ts";
import { readBuild, readShimBuild } from "../php/read-build.ts";
import { userEnvironment } from "../system/user-environment.ts";
import { VERSION } from "../version.ts";
import type { HostOptions } from "./messages.ts";

/** What a pool's host is started with. */
export function hostOptions(config: Config, pool: PoolConfig, inspectOnly = false): HostOptions {
  return {
    libphp: chooseLibphp(config.php.libphp),
    ini: iniLines({ ...writableFolders(config.server.spoolDir), ...config.php.ini, ...pool.ini }),
    sapiName: config.php.sapiName,
    poolName: pool.name,
    jsonPost: config.php.jsonPost,
    slowLog: pool.slowMs > 0,
    runAs: pool.runAs,
    nice: pool.nice,
    cpuAffinity: pool.cpuAffinity,
    inspectOnly,
  };
}

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

interface Choice {
  readonly configured: string;
  readonly path: string;
  readonly ino: number;
  readonly mtimeMs: number;
}

let lastChoice: Choice | undefined;

/** The search takes milliseconds, which requests would feel at each reload: while the file is the same, so is the choice. */
function chooseLibphp(configured: string): string {
  if (lastChoice?.configured === configured) {
    const stats = statSync(lastChoice.path, { throwIfNoEntry: false });
    if (stats?.ino === lastChoice.ino && stats.mtimeMs === lastChoice.mtimeMs) return lastChoice.path;
  }
  const path = searchLibphp(configured);
  const stats = statSync(path, { throwIfNoEntry: false });
  lastChoice = stats === undefined ? undefined : { configured, path, ino: stats.ino, mtimeMs: stats.mtimeMs };
  return path;
}

/** With several, the first that our shim was built for; if there is none such, the host says what is wrong with it. */
function searchLibphp(configured: string): string {
  const candidates = libphpCandidates(configured);
  const shim = candidates.length > 1 ? readShimBuild() : null;
  const [first] = candidates;
  const fitting = shim === null ? undefined : candidates.find((path) => fits(shim, path));
  if (first !== undefined) return fitting ?? first;
  throw new PhprunError(
    "LIBPHP_MISSING",
    "Cannot find libphp: it must be installed or named. Install it (Debian: apt-get install libphp-embed) or set php.libphp to its path.",
  );
}

function fits(shim: ShimBuild, path: string): boolean {
  try {
    const build = readBuild(path);
    return build !== null && isBuiltFor(shim, build);
  } catch {
    return false;
  }
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
