import type { Config, PoolConfig } from "../config/config.ts";
import { PhprunError } from "../errors.ts";
import { libphpCandidates } from "../php/locate.ts";
import type { HostOptions } from "./messages.ts";

/** What a pool's host is started with. */
export function hostOptions(config: Config, pool: PoolConfig, inspectOnly = false): HostOptions {
  return {
    libphp: chooseLibphp(config.php.libphp),
    ini: iniLines({ ...config.php.ini, ...pool.ini }),
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

function chooseLibphp(configured: string): string {
  const [first] = libphpCandidates(configured);
  if (first !== undefined) return first;
  throw new PhprunError(
    "LIBPHP_MISSING",
    "Cannot find libphp: it must be installed or named. Install it (Debian: apt-get install libphp-embed) or set php.libphp to its path.",
  );
}

/** As `php -d` takes them: what does not begin with a letter or digit goes in quotes. */
function iniLines(ini: Readonly<Record<string, string>>): string {
  return Object.entries(ini)
    .map(([name, value]) => `${name}=${/^[A-Za-z0-9]/.test(value) ? value : `"${value.replaceAll(/["\\]/g, "\\$&")}"`}\n`)
    .join("");
}
