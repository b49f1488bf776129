import { lstatSync, realpathSync, statSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import type { Folder } from "./folder.ts";
import { shown } from "./docroot.ts";

export interface OutsideLinks {
  /** Folders to list in `php.symlinks`, as the configuration has them. */
  readonly targets: readonly string[];
  /** Links that were left out, because what they open is more than a folder of files. */
  readonly refused: readonly string[];
}

/** Where Debian's packages lead on to, once they are in the docroot themselves. */
const DEBIAN_TRAILS: Readonly<Record<string, readonly string[]>> = {
  "/usr/share/wordpress": ["/var/lib/wordpress", "/usr/share/javascript"],
};

/** The links in a docroot, and in the folders directly in it, that leave it: phprun refuses them unless they are listed. */
export function findOutsideLinks(folder: Folder, docroot: string): OutsideLinks {
  const top = realpathSync(join(folder.path, docroot));
  const targets = new Set<string>();
  const refused: string[] = [];
  for (const name of namesIn(folder, docroot)) {
    const target = linkTarget(join(folder.path, docroot, name));
    if (target === undefined || isIn(target, top)) continue;
    // A link up the tree opens the application's own secrets.
    if (isIn(realpathSync(folder.path), target)) refused.push(name);
    else targets.add(target);
  }
  for (const [home, trail] of Object.entries(DEBIAN_TRAILS)) {
    if (![...targets, top].some((target) => isIn(target, home))) continue;
    for (const next of trail) if (statSync(next, { throwIfNoEntry: false })?.isDirectory()) targets.add(next);
  }
  return {
    targets: outermost([...targets])
      .map((target) => asWritten(target, folder.path))
      .sort(),
    refused,
  };
}

/** Two levels are where deployments and package managers put links; deeper there are caches of thousands of files. */
function namesIn(folder: Folder, docroot: string): string[] {
  const visible = (name: string) => !name.startsWith(".") && name !== "vendor" && name !== "node_modules";
  const names = folder.list(docroot).filter(visible);
  const inner = names
    .filter((name) => isRealFolder(join(folder.path, docroot, name)))
    .flatMap((name) =>
      folder
        .list(join(docroot, name))
        .filter(visible)
        .map((child) => join(name, child)),
    );
  return [...names, ...inner];
}

function isRealFolder(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}

/** The folder that a link leads to, or that holds the file it leads to. */
function linkTarget(path: string): string | undefined {
  if (lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() !== true) return undefined;
  try {
    const real = realpathSync(path);
    return statSync(real).isDirectory() ? real : dirname(real);
  } catch {
    return undefined; // It leads nowhere, so to nothing that could be served.
  }
}

function outermost(folders: readonly string[]): string[] {
  return folders.filter((path) => !folders.some((other) => other !== path && isIn(path, other)));
}

/** Below the application relative, so that the application can be moved; else absolute. */
function asWritten(target: string, application: string): string {
  const real = realpathSync(application);
  return isIn(target, real) ? shown(relative(real, target)) : target;
}

const isIn = (path: string, folder: string): boolean =>
  path === folder || folder === "/" || path.startsWith(`${folder}/`);
