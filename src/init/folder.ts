import { readdirSync, readFileSync, type Stats, statSync } from "node:fs";
import { join } from "node:path";

/** Larger files are no index.php and no composer.json that somebody wrote. */
const READ_MAX_BYTES = 8 * 1024 * 1024;

/** The folder that is looked at. What cannot be read counts as not there: to guess is all that is asked here. */
export class Folder {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  hasFile(name: string): boolean {
    return this.#stats(name)?.isFile() === true;
  }

  hasFolder(name: string): boolean {
    return this.#stats(name)?.isDirectory() === true;
  }

  read(name: string): string | null {
    const stats = this.#stats(name);
    if (stats?.isFile() !== true || stats.size > READ_MAX_BYTES) return null;
    try {
      return readFileSync(join(this.path, name), "utf8");
    } catch {
      return null;
    }
  }

  /** Names in a folder, sorted, so that what is found does not depend on the file system. */
  list(name = "."): string[] {
    try {
      return readdirSync(join(this.path, name)).sort();
    } catch {
      return [];
    }
  }

  #stats(name: string): Stats | undefined {
    try {
      return statSync(join(this.path, name), { throwIfNoEntry: false });
    } catch {
      return undefined;
    }
  }
}
