import { existsSync, globSync, readFileSync, realpathSync } from "node:fs";
import { homedir } from "node:os";
import { basename, join } from "node:path";

import { isSupported, NEWEST_PHP, OLDEST_PHP, type ShimBuild } from "../src/php/libphp-info.ts";

/** A PHP whose headers are here, so that a shim can be compiled for it. */
export interface PhpHeaders extends ShimBuild {
  readonly phpConfig: string;
  /** `8.2.35` */
  readonly version: string;
  /** For the compiler: system headers, since they do not pass -Wextra and are not ours to mend. */
  readonly includes: readonly string[];
  /** What a build depends on beyond its flags: how this PHP was configured. */
  readonly facts: string;
}

/** One php-config, and why it cannot be used. */
export interface UnusablePhp {
  readonly phpConfig: string;
  readonly rule: string;
}

/** Every PHP with headers on this machine, the one that PHP_CONFIG or PATH names first; each kind of build once. */
export function findPhpHeaders(root: string): { found: PhpHeaders[]; unusable: UnusablePhp[] } {
  const found: PhpHeaders[] = [];
  const unusable: UnusablePhp[] = [];
  const folders = new Set<string>();
  for (const phpConfig of phpConfigs(root)) {
    const php = readPhpHeaders(phpConfig);
    const folder = "rule" in php ? phpConfig : (php.includes[0] ?? phpConfig);
    if (folders.has(folder)) continue;
    folders.add(folder);
    if ("rule" in php) unusable.push(php);
    else if (!found.some((other) => shimName(other) === shimName(php))) found.push(php);
  }
  return { found, unusable };
}

/** `libphprun-php-20220829-nts.so`; one library for all PHPs of that kind. */
export const shimName = ({ zendApi, zts, debug }: ShimBuild): string =>
  `libphprun-php-${zendApi}-${zts ? "zts" : "nts"}${debug ? "-debug" : ""}.so`;

/** What a php-config and the headers it names say; a rule in place of headers that cannot be used. */
export function readPhpHeaders(phpConfig: string): PhpHeaders | UnusablePhp {
  const version = ask(phpConfig, "--version");
  if (version === null) return { phpConfig, rule: "it cannot be run" };
  if (!isSupported({ version }))
    return { phpConfig, rule: `it must be of PHP ${OLDEST_PHP} to ${NEWEST_PHP}, received ${version}` };
  const includes = (ask(phpConfig, "--includes") ?? "")
    .split(/\s+/)
    .filter((flag) => flag.startsWith("-I"))
    .map((flag) => flag.slice(2));
  const read = (name: string): string => {
    const file = includes.map((folder) => join(folder, name)).find((path) => existsSync(path));
    return file === undefined ? "" : readFileSync(file, "utf8");
  };
  const config = read("main/php_config.h");
  const zendApi = /^#define ZEND_MODULE_API_NO (\d{8})$/m.exec(read("Zend/zend_modules.h"))?.[1];
  if (config === "" || zendApi === undefined || read("main/php.h") === "")
    return { phpConfig, rule: `there are no headers in ${includes.join(", ") || "what it names"}` };
  return {
    phpConfig,
    version,
    includes,
    zendApi: Number(zendApi),
    zts: /^#define ZTS 1$/m.test(config),
    debug: /^#define ZEND_DEBUG 1$/m.test(config),
    facts: `${phpConfig}\0${version}\0${config}`,
  };
}

/** Every php-config there is, best first. */
function phpConfigs(root: string): string[] {
  const paths = (process.env["PATH"] ?? "").split(":").filter((folder) => folder.startsWith("/"));
  const named = process.env["PHP_CONFIG"];
  const plain = Bun.which("php-config");
  const cache = join(process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache"), "phprun");
  const candidates = [
    ...(named ? [Bun.which(named) ?? named] : []),
    ...(plain === null ? [] : [plain]),
    ...paths.flatMap((folder) => newestFirst(globSync("php-config[0-9]*", { cwd: folder }), folder)),
    ...prefixes(process.env["PHPRUN_ZTS_PREFIX"]),
    ...newestFirst(globSync("php-*/bin/php-config", { cwd: cache }), cache),
    ...prefixes(firstLine(join(root, "build/zts-prefix"))),
  ];
  return [...new Map(candidates.map((path) => [realPath(path), path])).values()];
}

/** php-config of an installation under `prefix`, if there is one. */
function prefixes(prefix: string | undefined): string[] {
  if (!prefix) return [];
  const path = join(prefix, "bin/php-config");
  return existsSync(path) ? [path] : [];
}

function newestFirst(names: readonly string[], folder: string): string[] {
  return names
    .filter((name) => /^php-config[0-9.]+$/.test(name) || basename(name) === "php-config")
    .sort((a, b) => b.localeCompare(a, "en", { numeric: true }))
    .map((name) => join(folder, name));
}

function firstLine(path: string): string | undefined {
  return existsSync(path) ? readFileSync(path, "utf8").split("\n", 1)[0]?.trim() : undefined;
}

function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}

function ask(phpConfig: string, option: string): string | null {
  if (Bun.which(phpConfig) === null) return null;
  const { stdout, success } = Bun.spawnSync([phpConfig, option], { stderr: "ignore" });
  return success ? stdout.toString().trim() : null;
}
