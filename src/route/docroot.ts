import { accessSync, constants, realpathSync } from "node:fs";
import { baseName, isPhpSource } from "./names.ts";
import type { FsPath } from "./route.ts";

/** Why a file is not handed out, for the log. */
export interface Refusal {
  /** @default {403} */
  readonly status?: 503;
  readonly reason: string;
  readonly remedy: string;
}

/**
 * Where symbolic links may lead: "inside" the docroot only, to "all" places, or also below the listed folders
 * (Debian's WordPress keeps wp-content under /var/lib/wordpress, for one).
 */
export type SymlinkPolicy = "inside" | "all" | readonly string[];

const maxNameBytes = 255;
const maxPathBytes = 4095;

/** The docroot as the file system sees it: finds names below it and judges where they really are. */
export class Docroot {
  /** Byte string without a trailing slash; empty for "/". */
  readonly path: string;
  readonly #ascii: boolean;
  readonly #symlinks: SymlinkPolicy;
  #roots: string[] | undefined;

  constructor(docroot: string, symlinks: SymlinkPolicy) {
    this.path = toBytes(docroot).replace(/\/+$/, "");
    this.#ascii = !hasHighByte(this.path);
    this.#symlinks = symlinks;
  }

  fsPath(name: string): FsPath {
    const path = this.path + name;
    return this.#ascii && !hasHighByte(name) ? path : Buffer.from(path, "latin1");
  }

  /** False for names no file system here can hold; asking about them would throw, each time. */
  canExist(name: string): boolean {
    if (name.length <= maxNameBytes) return true;
    if (this.path.length + name.length > maxPathBytes) return false;
    return name.split("/").every((segment) => segment.length <= maxNameBytes);
  }

  /**
   * Undefined when the file may be handed out, else why not and what to do about it. Several system calls, so the router
   * asks once per version of a file.
   */
  refusal(path: FsPath, scriptExtensions: readonly string[], asScript: boolean): Refusal | undefined {
    try {
      accessSync(path, constants.R_OK);
      const real = realBytes(path);
      if (!this.#reaches(real))
        return { reason: `it leads to ${toText(real)}, outside the docroot`, remedy: "See php.symlinks." };
      if (asScript) return undefined;
      const name = baseName(real);
      if (name.startsWith("."))
        return { reason: "a symbolic link leads to a dot file", remedy: "Dot files are not served." };
      if (isPhpSource(name, scriptExtensions))
        return { reason: "a symbolic link leads to PHP source", remedy: "See php.script_extensions." };
      return undefined;
    } catch (error) {
      const code = error instanceof Error && "code" in error ? error.code : undefined;
      // realpath() opens the file: it is not the file's fault that there are no descriptors left.
      if (code === "EMFILE" || code === "ENFILE")
        return {
          status: 503,
          reason: "no file can be opened any more",
          remedy: "Raise the limit of open files.",
        };
      return { reason: "the file cannot be read", remedy: "See its permissions." };
    }
  }

  #reaches(real: string): boolean {
    if (this.#symlinks === "all") return true;
    if (this.#roots?.some((root) => isBelow(real, root))) return true;
    // A deploy may have switched the docroot's own link since the last look.
    this.#roots = [this.path, ...(this.#symlinks === "inside" ? [] : this.#symlinks.map(toBytes))].flatMap(
      (root) => {
        try {
          return [realBytes(Buffer.from(root === "" ? "/" : root, "latin1"))];
        } catch {
          return [];
        }
      },
    );
    return this.#roots.some((root) => isBelow(real, root));
  }
}

export function toBytes(text: string): string {
  return hasHighByte(text) ? Buffer.from(text, "utf8").toString("latin1") : text;
}

function hasHighByte(text: string): boolean {
  return /[^\x00-\x7f]/.test(text);
}

function realBytes(path: FsPath): string {
  return realpathSync.native(path, { encoding: "buffer" }).toString("latin1");
}

function isBelow(real: string, root: string): boolean {
  return root === "/" || (real.startsWith(root) && real.charCodeAt(root.length) === 0x2f);
}

/** A byte string as people read it. */
function toText(bytes: string): string {
  return Buffer.from(bytes, "latin1").toString();
}
