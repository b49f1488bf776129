import { statSync } from "node:fs";
import { basename, dirname, join } from "node:path";

/**
 * What PHP applications read at run time: code, templates and settings. `composer.lock` stands for the packages in
 * `vendor`, which are not looked at one by one.
 */
export const WATCH_INCLUDE: readonly string[] = [
  "**/*.{php,phtml,inc,module,twig,latte,yaml,yml,neon,xml,ini,env,json}",
  "**/.env*",
  "**/composer.lock",
];

/**
 * Folders that applications write to while they answer requests (Symfony's `var`, Laravel's `storage` and
 * `bootstrap/cache`, WordPress' `uploads`), or a reload would lead to the next one; and folders with thousands of files
 * that nobody edits. To miss a change costs a `phprun reload`, to see too much costs a server that never rests.
 */
export const WATCH_IGNORE: readonly string[] = [
  "**/.git/**",
  "**/.idea/**",
  "**/.vscode/**",
  "**/node_modules/**",
  "**/vendor/**",
  "**/var/**",
  "**/storage/**",
  "**/cache/**",
  "**/.phpunit.cache/**",
  "**/tmp/**",
  "**/temp/**",
  "**/log/**",
  "**/logs/**",
  "**/uploads/**",
  "**/*.log",
  "**/.#*",
];

/** Usual names of a docroot that lies inside its application. */
const DOCROOT_NAMES = new Set(["public", "web", "htdocs", "www"]);

/** The folder of the application, and the configuration file and worker scripts wherever they are. */
export function defaultWatchPaths(
  docroot: string,
  source: string | null,
  workerScripts: readonly string[] = [],
): string[] {
  const parent = dirname(docroot);
  const inside = DOCROOT_NAMES.has(basename(docroot)) && isApplication(parent, source);
  const folder = inside ? parent : docroot;
  const elsewhere = workerScripts.filter((script) => !script.startsWith(`${folder}/`));
  return [folder, ...(source === null ? [] : [source]), ...new Set(elsewhere)];
}

/** `/var/www` has a `/var` above it, which is no application: something must show that it is one. */
function isApplication(folder: string, source: string | null): boolean {
  const beside = source !== null && [folder, join(folder, "config")].includes(dirname(source));
  return beside || ["composer.json", ".env"].some((name) => isFile(join(folder, name)));
}

function isFile(path: string): boolean {
  try {
    return statSync(path, { throwIfNoEntry: false })?.isFile() ?? false;
  } catch {
    return false;
  }
}
