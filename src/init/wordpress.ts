import type { Folder } from "./folder.ts";

export interface WordPress {
  /** The folder that visitors see, relative to the application's. */
  readonly docroot: string;
  readonly version: string | undefined;
  readonly why: string;
}

/** Docroots, and where WordPress itself may lie in one: beside the pages, or in a folder of its own, as Bedrock has it. */
const DOCROOTS = [".", "public", "web", "public_html", "htdocs", "www", "html", "wordpress"];
const CORES = [".", "wp", "wordpress", "cms"];

export function findWordPress(folder: Folder): WordPress | undefined {
  for (const docroot of DOCROOTS) {
    for (const core of CORES) {
      const place = `${docroot}/${core}`;
      if (!folder.hasFile(`${place}/wp-load.php`) || !folder.hasFolder(`${place}/wp-includes`)) continue;
      // WordPress in a folder of its own is served through an index.php above it, or it is a site in a folder.
      if (core !== "." && !folder.hasFile(`${docroot}/index.php`)) continue;
      const load = [docroot, core, "wp-load.php"].filter((part) => part !== ".").join("/");
      return { docroot, version: versionIn(folder, place), why: `${load} and wp-includes/ are there` };
    }
  }
  return undefined;
}

function versionIn(folder: Folder, place: string): string | undefined {
  return /^\$wp_version\s*=\s*'([\w.+-]+)'/m.exec(folder.read(`${place}/wp-includes/version.php`) ?? "")?.[1];
}
