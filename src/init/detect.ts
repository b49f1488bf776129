import { type Composer, readComposer } from "./composer.ts";
import type { Folder } from "./folder.ts";
import type { Kind } from "./kind.ts";
import { findKernelClass } from "./symfony-kernel.ts";
import { findWordPress } from "./wordpress.ts";

/** What kind of application is in a folder, and what showed it. */
export interface Detected {
  readonly kind: Kind;
  readonly version: string | undefined;
  /** For a person: the facts that led here. */
  readonly why: readonly string[];
}

/**
 * Null when nothing points to one of the frameworks. A package that merely depends on a framework is no application of it,
 * so what Composer says has to be borne out by files.
 */
export function detect(folder: Folder, composer: Composer = readComposer(folder)): Detected | null {
  // What lies in the docroot is what is served: a WordPress there comes before whatever is around it.
  return detectWordPress(folder) ?? detectLaravel(folder, composer) ?? detectSymfony(folder, composer);
}

function detectWordPress(folder: Folder): Detected | null {
  const found = findWordPress(folder);
  return found === undefined ? null : { kind: "wordpress", version: found.version, why: [found.why] };
}

function detectLaravel(folder: Folder, composer: Composer): Detected | null {
  if (!folder.hasFile("bootstrap/app.php")) return null;
  // Lumen has the same files and no HTTP kernel that could stay.
  if (composer.requires("laravel/lumen-framework") !== undefined) return null;
  const required = composer.requires("laravel/framework");
  const artisan = folder.hasFile("artisan");
  if (required === undefined && !artisan) return null;
  return {
    kind: "laravel",
    version: composer.version("laravel/framework"),
    why: [
      ...(required === undefined ? [] : [`composer.json requires ${required}`]),
      `${artisan ? "artisan and " : ""}bootstrap/app.php ${artisan ? "are" : "is"} there`,
    ],
  };
}

function detectSymfony(folder: Folder, composer: Composer): Detected | null {
  const kernel = findKernelClass(folder);
  if (kernel === undefined) return null;
  const required = composer.requires("symfony/framework-bundle", "symfony/symfony");
  const console = folder.hasFile("bin/console");
  if (required === undefined && !console) return null;
  return {
    kind: "symfony",
    version: composer.version("symfony/framework-bundle") ?? composer.version("symfony/symfony"),
    why: [
      ...(required === undefined ? [] : [`composer.json requires ${required}`]),
      `src/Kernel.php has ${kernel}${console ? " and bin/console is there" : ""}`,
    ],
  };
}
