import { readComposer } from "./composer.ts";
import { type Detected, detect } from "./detect.ts";
import { findDocroot, phpFiles } from "./docroot.ts";
import { findWorkerScript } from "./existing-worker.ts";
import type { Folder } from "./folder.ts";
import type { Kind } from "./kind.ts";
import { findOutsideLinks, type OutsideLinks } from "./outside-links.ts";
import { findFaults } from "./second-run.ts";
import { findKernelClass } from "./symfony-kernel.ts";
import { findWordPress } from "./wordpress.ts";

/** All that was seen of an application in its folder. */
export interface Application {
  readonly detected: Detected | null;
  /** Relative to the folder; null when there is nothing in it that could be served. */
  readonly docroot: string | null;
  readonly hasIndex: boolean;
  readonly links: OutsideLinks;
  /** A script with a loop for requests that the application already has, relative to the folder. */
  readonly workerScript: string | undefined;
  /** Does it require our own Composer package? */
  readonly hasPackage: boolean;
  readonly hasSymfonyRuntime: boolean;
  readonly kernelClass: string | undefined;
  /** Why each request would have to start from nothing, if it is plain PHP. */
  readonly classicBecause: readonly string[];
  readonly warnings: readonly string[];
}

export function lookAt(folder: Folder): Application {
  const composer = readComposer(folder);
  const detected = detect(folder, composer);
  const docroot = docrootOf(folder, detected?.kind);
  const links = docroot === null ? { targets: [], refused: [] } : findOutsideLinks(folder, docroot);
  return {
    detected,
    docroot,
    hasIndex: docroot !== null && folder.hasFile(`${docroot}/index.php`),
    links,
    workerScript: docroot === null ? undefined : findWorkerScript(folder, docroot),
    hasPackage: composer.requires("phprun/worker") !== undefined,
    hasSymfonyRuntime: composer.requires("symfony/runtime") !== undefined,
    kernelClass: findKernelClass(folder),
    classicBecause: docroot === null ? [] : whyClassic(folder, docroot).map(oneLine),
    warnings: [
      ...(composer.fault === null ? [] : [composer.fault]),
      ...(composer.present && !folder.hasFile("vendor/autoload.php")
        ? ["vendor/autoload.php is missing: run `composer install` before the first start"]
        : []),
      ...links.refused.map(
        (name) => `${oneLine(name)} leads to a folder that holds the whole application, and is not opened`,
      ),
      ...(docroot === "."
        ? [
            "The docroot is this folder itself: visitors can ask for all in it that is no PHP, such as phprun.yaml",
          ]
        : []),
    ],
  };
}

function docrootOf(folder: Folder, kind: Kind | undefined): string | null {
  if (kind === "wordpress") return findWordPress(folder)?.docroot ?? null;
  // Both keep it there, also before anything has been built into it.
  if ((kind === "laravel" || kind === "symfony") && folder.hasFolder("public")) return "public";
  return findDocroot(folder);
}

/** Names of files can hold anything; what is shown and written stays on its line. */
const oneLine = (text: string): string => text.replaceAll(/[\p{Cc}\p{Zl}\p{Zp}]/gu, "?");

/** At most so many reasons: the first few are enough to know what to do. */
const MAX_REASONS = 5;

function whyClassic(folder: Folder, docroot: string): string[] {
  if (!folder.hasFile(`${docroot}/index.php`)) return ["there is no index.php to run for every request"];
  const others = otherScripts(folder, docroot);
  if (others.length > 0) {
    const names = others.slice(0, 3).join(", ") + (others.length > 3 ? ", …" : "");
    return [`visitors ask for several scripts (${names}), and a worker answers with one`];
  }
  const script = docroot === "." ? "index.php" : `${docroot}/index.php`;
  const faults = findFaults(folder, script).map(({ where, what }) => `${where}: ${what}`);
  return faults.length > MAX_REASONS
    ? [...faults.slice(0, MAX_REASONS), `and ${faults.length - MAX_REASONS} more`]
    : faults;
}

/** Scripts besides index.php that have a URL of their own. In a docroot that is the whole application, most have none. */
function otherScripts(folder: Folder, docroot: string): string[] {
  const beside = phpFiles(folder, docroot).filter(
    (name) => name !== "index.php" && !name.startsWith("phprun-worker"),
  );
  const below = folder.list(docroot).filter((name) => {
    return !name.startsWith(".") && name !== "vendor" && folder.hasFile(`${docroot}/${name}/index.php`);
  });
  return [...beside, ...below.map((name) => `${name}/index.php`)];
}
