import { accessSync, constants } from "node:fs";
import type { Config, PoolConfig } from "../config/config.ts";
import { PhprunError } from "../errors.ts";
import { isBuiltFor, type ShimBuild } from "../php/libphp-info.ts";
import { libphpCandidates } from "../php/locate.ts";
import { readBuild, readShimBuild } from "../php/read-build.ts";
import type { HostOptions } from "./messages.ts";

/** What a pool's host is started with. */
export function hostOptions(config: Config, pool: PoolConfig, inspectOnly = false): HostOptions {
  return {
    libphp: chooseLibphp(config.php.libphp),
    ini: iniLines({ ...lockFolder(config.server.spoolDir), ...config.php.ini, ...pool.ini }),
    sapiName: config.php.sapiName,
    poolName: pool.name,
    jsonPost: config.php.jsonPost,
    inspectOnly,
  };
}

/** The environment scripts see: ours, the configured one over it. */
export function hostEnvironment(config: Config, pool: PoolConfig): Record<string, string | undefined> {
  return { ...process.env, ...config.php.env, ...pool.env };
}

/** opcache keeps its lock file in /tmp, and PHP does not start when that cannot be written to. */
function lockFolder(spoolDir: string): Record<string, string> {
  try {
    accessSync("/tmp", constants.W_OK | constants.X_OK);
    return {};
  } catch {
    return { "opcache.lockfile_path": spoolDir };
  }
}

/** With several, the first that our shim was built for; if there is none such, the host says what is wrong with it. */
function chooseLibphp(configured: string): string {
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

/** As `php -d` takes them: what does not begin with a letter or digit goes in quotes. */
function iniLines(ini: Readonly<Record<string, string>>): string {
  return Object.entries(ini)
    .map(([name, value]) => `${name}=${/^[A-Za-z0-9]/.test(value) ? value : `"${value.replaceAll(/["\\]/g, "\\$&")}"`}\n`)
    .join("");
}
