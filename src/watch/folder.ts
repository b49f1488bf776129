import type { Stats } from "node:fs";
import type { FolderListener } from "./folder-watches.ts";

/**
 * What a file was like when it was last looked at. Another inode, size or time of modification is a change:
 * so `touch` counts, as it does for opcache, and so does an editor that renames a new file over the old one.
 * Mode, owner and the times of access and of the inode do not.
 */
export class Mark {
  readonly ino: number;
  readonly size: number;
  readonly mtimeMs: number;
  /** Where it leads, for a symbolic link. */
  readonly link: string | null;

  constructor(stats: Stats, link: string | null) {
    this.ino = stats.ino;
    this.size = stats.size;
    this.mtimeMs = stats.mtimeMs;
    this.link = link;
  }

  equals(other: Mark): boolean {
    return (
      this.mtimeMs === other.mtimeMs &&
      this.size === other.size &&
      this.ino === other.ino &&
      this.link === other.link
    );
  }
}

/** A folder as it was when it was last looked at. */
export class Folder {
  /** As it is told of. */
  readonly path: string;
  /** Without symbolic links; another one after a link was switched. */
  real: string;
  /** Where the link leads that it is reached by, else null. */
  link: string | null;
  /** Reached by a link somewhere on the way: links in here are not followed any further. */
  linked: boolean;
  readonly entries = new Map<string, Mark | Folder>();
  /** For entries that are links out of the tree: how to stop watching what they lead to. */
  readonly unwatchLinks = new Map<string, () => void>();
  /** The real path that is watched for it, by whom, and how to stop. */
  watched = "";
  listener: FolderListener | null = null;
  unwatch: (() => void) | null = null;
  gone = false;

  constructor(path: string, real: string, link: string | null, linked: boolean) {
    this.path = path;
    this.real = real;
    this.link = link;
    this.linked = linked;
  }
}

export const under = (folder: string, name: string): string =>
  folder.endsWith("/") ? `${folder}${name}` : `${folder}/${name}`;

/** Is `path` the folder, or somewhere in it? */
export const within = (path: string, folder: string): boolean =>
  path === folder || path.startsWith(under(folder, ""));
