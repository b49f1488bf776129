import {
  type Dirent,
  lstatSync,
  readdirSync,
  readlinkSync,
  realpathSync,
  type Stats,
  statSync,
} from "node:fs";
import type { Log } from "../log/log.ts";
import { Folder, Mark, under, within } from "./folder.ts";
import type { FolderWatches } from "./folder-watches.ts";
import type { Selection } from "./globs.ts";
import type { Pace } from "./pace.ts";
import { pathSteps } from "./path-steps.ts";

/** A tree beyond this is a mistake, such as a link to the whole disk; the rest of it is left out. */
const MAX_FOLDERS = 100_000;

export interface WatchedTreeOptions {
  /** Absolute; a folder, a file, or not there yet. */
  readonly path: string;
  readonly selection: Selection;
  /** Files and folders that phprun writes itself, absolute. */
  readonly own: ReadonlySet<string>;
  readonly watches: FolderWatches;
  /** Something may have changed: `look()` would tell. */
  readonly onDirty: () => void;
  readonly log: Log;
}

/**
 * One watched path and what was found there. Events only say where to look; whether something changed is decided
 * by comparing with what was there before. So lost or doubled events, races with folders that are just being
 * filled, and polling all come to the same.
 *
 * Every folder is watched before it is read: what happens in between is seen by one or the other.
 */
export class WatchedTree {
  readonly #options: WatchedTreeOptions;
  /** In whole milliseconds; files have finer times, so the one that just passes does not count. */
  readonly #startedAt = Date.now() + 1;
  #first = true;
  #closed = false;
  /** What was found at the path itself. */
  #found: Folder | Mark | null = null;
  /** Its real path, when it is a folder. */
  #real = "";
  #unwatchPath: () => void = () => {};
  #dirtyPath = true;
  #dirty = new Map<Folder, Set<string>>();
  #changed = new Set<string>();
  #folders = 0;
  #tooMany = false;

  constructor(options: WatchedTreeOptions) {
    this.#options = options;
  }

  get dirty(): boolean {
    return this.#dirtyPath || this.#dirty.size > 0;
  }

  /** The next look goes through everything. */
  touch(): void {
    this.#dirtyPath = true;
  }

  /**
   * Look at what may have changed; returns what has. The first look finds everything new and tells only what was
   * modified since the tree was made. One at a time.
   */
  async look(pace: Pace): Promise<string[]> {
    const dirty = this.#dirty;
    this.#dirty = new Map();
    const open: Folder[] = [];
    if (this.#dirtyPath) {
      this.#dirtyPath = false;
      push(open, this.#examinePath());
    } else {
      for (const [folder, names] of dirty) {
        for (const name of names) {
          if (pace.due) await pace.rest();
          if (this.#closed) return [];
          if (!folder.gone) push(open, this.#examine(folder, name));
        }
      }
    }
    await this.#walk(open, pace);
    this.#first = false;
    const changed = [...this.#changed];
    this.#changed.clear();
    return this.#closed ? [] : changed;
  }

  close(): void {
    this.#closed = true;
    this.#unwatchPath();
    // The watches of the folders are closed together by their owner.
    this.#found = null;
    this.#dirty.clear();
    this.#changed.clear();
  }

  async #walk(open: Folder[], pace: Pace): Promise<void> {
    for (let folder = open.pop(); folder !== undefined; folder = open.pop()) {
      if (folder.gone) continue;
      this.#watch(folder);
      const missing = new Set(folder.entries.keys());
      for (const entry of readFolder(folder.real)) {
        if (pace.due) await pace.rest();
        if (this.#closed) return;
        if (missing.delete(entry.name) || !this.#unwanted(folder, entry))
          push(open, this.#examine(folder, entry.name));
      }
      for (const name of missing) push(open, this.#examine(folder, name));
    }
  }

  /** Saves the lstat: most files of many trees are none that matter. */
  #unwanted(folder: Folder, entry: Dirent): boolean {
    return entry.isFile() && !this.#includes(under(folder.path, entry.name));
  }

  /** Doing it again only makes sure that what is watched is still the folder of that name. */
  #watch(folder: Folder): void {
    if (folder.watched !== folder.real) folder.unwatch?.();
    folder.watched = folder.real;
    folder.listener ??= (name) => this.#heard(folder, name);
    folder.unwatch = this.#options.watches.add(folder.real, folder.listener);
  }

  #heard(folder: Folder, name: string): void {
    if (this.#closed || folder.gone) return;
    const names = this.#dirty.get(folder);
    if (names === undefined) this.#dirty.set(folder, new Set([name]));
    else names.add(name);
    this.#options.onDirty();
  }

  /** What is at the path itself; neither `include` nor `ignore` has a say in that. */
  #examinePath(): Folder | null {
    const { path } = this.#options;
    this.#unwatchPath();
    this.#unwatchPath = this.#watchSteps(path, () => {
      this.#dirtyPath = true;
      this.#options.onDirty();
    });
    const old = this.#found;
    const stats = attempt(() => statSync(path));
    const real = attempt(() => realpathSync(path));
    if (stats?.isDirectory() && real !== null) {
      const folder = this.#folder(path, real, null, false, old);
      // Releases may share files by hard links: then only the path tells one from the other.
      if (old instanceof Mark || (old !== null && this.#real !== real)) this.#changed.add(path);
      this.#real = real;
      this.#found = folder;
      return folder;
    }
    if (old instanceof Folder) this.#drop(old);
    this.#found = stats?.isFile() ? new Mark(stats, real) : null;
    this.#compare(path, old, this.#found);
    return null;
  }

  /** Compares one entry with what it was; returns it if it is a folder, which is then to be walked. */
  #examine(parent: Folder, name: string): Folder | null {
    const path = under(parent.path, name);
    const old = parent.entries.get(name) ?? null;
    const now = this.#ignores(path) ? null : this.#read(parent, name, old);
    if (now === null) parent.entries.delete(name);
    else parent.entries.set(name, now);
    if (old instanceof Folder && old !== now) this.#drop(old);
    this.#compare(path, old, now);
    return now instanceof Folder ? now : null;
  }

  /** Folders are compared by what is in them, so here only what turned from or into one counts. */
  #compare(path: string, old: Folder | Mark | null, now: Folder | Mark | null): void {
    if (old instanceof Folder && now instanceof Mark) this.#changed.add(path);
    else if (old instanceof Mark && (!(now instanceof Mark) || !old.equals(now))) this.#changed.add(path);
    else if (old === null && now instanceof Mark && this.#isNews(now)) this.#changed.add(path);
  }

  /** In the first look everything is new; what was modified since the tree was made may be missed nowhere else. */
  #isNews(mark: Mark): boolean {
    return !this.#first || (mark.mtimeMs >= this.#startedAt && mark.mtimeMs <= Date.now() + 1);
  }

  /** What is there now; null for nothing that matters. */
  #read(parent: Folder, name: string, old: Folder | Mark | null): Folder | Mark | null {
    const path = under(parent.path, name);
    const real = under(parent.real, name);
    const stats = attempt(() => lstatSync(real));
    if (stats?.isSymbolicLink()) return this.#readLink(parent, name, stats, old);
    unwatchLink(parent, name);
    if (stats === null) return null;
    if (stats.isDirectory()) return this.#folder(path, real, null, parent.linked, old);
    return stats.isFile() && this.#includes(path) ? new Mark(stats, null) : null;
  }

  /**
   * A link that leads out of the tree is followed, and every step of its way is watched. One that leads into the
   * tree, or to what the tree is in, is not followed: what is there has a name of its own. Links beyond a link
   * are not followed either, so there are no loops. But a link to a folder that is switched is always a change.
   */
  #readLink(parent: Folder, name: string, own: Stats, old: Folder | Mark | null): Folder | Mark | null {
    const path = under(parent.path, name);
    const here = under(parent.real, name);
    unwatchLink(parent, name);
    const inside = attempt(() => within(realpathSync(here), this.#real));
    if (inside !== true)
      parent.unwatchLinks.set(
        name,
        this.#watchSteps(here, () => this.#heard(parent, name)),
      );
    // Only now, when a change would be heard of.
    const link = attempt(() => readlinkSync(here));
    const stats = attempt(() => statSync(here));
    const real = attempt(() => realpathSync(here));
    if (link === null) return null;
    if (stats?.isDirectory() && real !== null) {
      const follow = !parent.linked && !within(real, this.#real) && !within(this.#real, real);
      return follow ? this.#folder(path, real, link, true, old) : new Mark(own, link);
    }
    return this.#includes(path) ? new Mark(stats ?? own, link) : null;
  }

  /** The folder it was before, if it was one, so that its files are compared with those of then. */
  #folder(
    path: string,
    real: string,
    link: string | null,
    linked: boolean,
    old: Folder | Mark | null,
  ): Folder | null {
    if (!(old instanceof Folder)) {
      if (link !== null && !this.#first) this.#changed.add(path);
      return this.#newFolder(path, real, link, linked);
    }
    if (old.link !== link) this.#changed.add(path);
    old.real = real;
    old.link = link;
    old.linked = linked;
    return old;
  }

  #newFolder(path: string, real: string, link: string | null, linked: boolean): Folder | null {
    if (this.#folders < MAX_FOLDERS) {
      this.#folders++;
      return new Folder(path, real, link, linked);
    }
    if (!this.#tooMany)
      this.#options.log.warn(
        `Cannot watch everything: must be at most ${MAX_FOLDERS} folders; the rest is left out (watch.ignore helps)`,
        { path: this.#options.path },
      );
    this.#tooMany = true;
    return null;
  }

  #drop(folder: Folder): void {
    folder.gone = true;
    folder.unwatch?.();
    this.#folders--;
    if (folder.link !== null) this.#changed.add(folder.path);
    for (const unwatch of folder.unwatchLinks.values()) unwatch();
    for (const [name, entry] of folder.entries) {
      if (entry instanceof Folder) this.#drop(entry);
      else this.#changed.add(under(folder.path, name));
    }
    folder.entries.clear();
  }

  /** Hear of whatever may make the path lead elsewhere. Names alone: a full queue is told to all at once. */
  #watchSteps(path: string, changed: () => void): () => void {
    const unwatch = pathSteps(path).map(({ folder, name }) =>
      this.#options.watches.add(folder, (other) => {
        if (other === name && !this.#closed) changed();
      }),
    );
    return () => {
      for (const one of unwatch) one();
    };
  }

  #includes(path: string): boolean {
    return this.#options.selection.includes(this.#relative(path));
  }

  #ignores(path: string): boolean {
    return this.#options.own.has(path) || this.#options.selection.ignores(this.#relative(path));
  }

  #relative(path: string): string {
    return path.slice(under(this.#options.path, "").length);
  }
}

function push(open: Folder[], folder: Folder | null): void {
  if (folder !== null) open.push(folder);
}

function unwatchLink(parent: Folder, name: string): void {
  parent.unwatchLinks.get(name)?.();
  parent.unwatchLinks.delete(name);
}

/** What cannot be read is as good as not there; that it is back is an event like any other. */
function readFolder(path: string): Dirent[] {
  return attempt(() => readdirSync(path, { withFileTypes: true })) ?? [];
}

function attempt<T>(read: () => T): T | null {
  try {
    return read();
  } catch {
    return null;
  }
}
