import type { Folder } from "./folder.ts";

/** Where applications written for a server with workers have their loop. */
const PLACES = ["phprun-worker.php", "worker.php", "frankenphp-worker.php", "index.php"];
const LOOP = /\b(?:phprun|frankenphp)_handle_request\s*\(/;

/** A script of the application's own that waits for requests in a loop; relative to its folder. */
export function findWorkerScript(folder: Folder, docroot: string): string | undefined {
  const places = [...PLACES, ...(docroot === "." ? [] : PLACES.map((name) => `${docroot}/${name}`))];
  return places.find((place) => LOOP.test(folder.read(place) ?? ""));
}
