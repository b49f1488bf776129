import type { Folder } from "./folder.ts";

/** Usual names of a docroot inside its application, the most usual first. */
const NAMES = ["public", "web", "public_html", "htdocs", "www", "webroot", "docroot", "html", "pub"];

/** The folder that is served, relative to the application's: `public`, or `.` for that folder itself. */
export function findDocroot(folder: Folder): string | null {
  const places = [...NAMES, "."];
  for (const page of ["index.php", "index.html"]) {
    const found = places.find((place) => folder.hasFile(`${place}/${page}`));
    if (found !== undefined) return found;
  }
  // Scripts without an index, such as a wiki's doku.php.
  return places.find((place) => phpFiles(folder, place).length > 0) ?? null;
}

/** Names of the scripts that lie directly in a folder. */
export const phpFiles = (folder: Folder, place: string): string[] =>
  folder.list(place).filter((name) => name.endsWith(".php") && folder.hasFile(`${place}/${name}`));

/** A path below the application's folder, as the configuration has it: `./public`, `.`. */
export const shown = (place: string): string => (place === "." ? "." : `./${place}`);
