import { linkSync, lstatSync, realpathSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { PhprunError } from "../errors.ts";

export interface NewFile {
  /** Absolute. */
  readonly path: string;
  readonly text: string;
}

/**
 * Put the files in place, each of them whole or not at all.
 *
 * @param force replace what is there; else that is an error, and nothing of ours is left behind
 */
export function writeFiles(files: readonly NewFile[], force: boolean): void {
  const drafts: { draft: string; target: string }[] = [];
  try {
    // All of them before the first is put in place: a full disk then changes nothing.
    for (const { path, text } of files) {
      const target = targetOf(path);
      const draft = join(dirname(target), `.${basename(target)}.${process.pid}.tmp`);
      drafts.push({ draft, target });
      writeFileSync(draft, text, { flag: "wx", mode: 0o644 });
    }
    for (const { draft, target } of drafts) place(draft, target, force);
  } catch (cause) {
    throw new PhprunError("INIT_UNWRITABLE", `Cannot write the files: ${(cause as Error).message}`, {
      cause,
    });
  } finally {
    for (const { draft } of drafts) rmSync(draft, { force: true });
  }
}

/** A link under that name counts, also one that leads nowhere. */
export function exists(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}

/** A file that is a link stays one: what it leads to is written. */
function targetOf(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}

function place(draft: string, target: string, force: boolean): void {
  if (force) return renameSync(draft, target);
  try {
    // Unlike a rename it fails when somebody has made the file meanwhile.
    linkSync(draft, target);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EEXIST") throw error;
    renameSync(draft, target); // Not every file system has hard links.
  }
}
