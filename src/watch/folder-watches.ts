import { type FSWatcher, statSync, watch } from "node:fs";
import type { Log } from "../log/log.ts";

/** Told the name of what may have changed in the folder. */
export type FolderListener = (name: string) => void;

export interface FolderWatchesOptions {
  /** Called once, when the system has no more watches to give; all are closed by then. */
  readonly onExhausted: (code: string) => void;
  /** Events were lost: anything may have changed anywhere. */
  readonly onLost: () => void;
  readonly log: Log;
}

interface FolderWatch {
  readonly listeners: Set<FolderListener>;
  watcher: FSWatcher | null;
  identity: string;
}

/**
 * One inotify watch per folder, shared by all who ask for the same one.
 *
 * Not `recursive`: Bun's own recursion (1.4.4, one inotify watch per folder too) saw every new folder and rename,
 * but it knows no ignore list, so that node_modules would use up the user's watches; and a watched root that is
 * removed and made anew stays silent.
 *
 * Shared, because Bun keeps one watch per path: after a folder was removed and made anew, a new `watch()` of it
 * stays silent for as long as one of the old is open.
 */
export class FolderWatches {
  readonly #options: FolderWatchesOptions;
  readonly #byPath = new Map<string, FolderWatch>();
  #open = true;

  constructor(options: FolderWatchesOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#byPath.size;
  }

  /** By real path. A folder that is not the one it was is watched anew. Returns how to let go of it. */
  add(path: string, listener: FolderListener): () => void {
    if (!this.#open) return () => {};
    const known = this.#byPath.get(path);
    // Before the watch: should it be replaced between the two, the next look takes it for another and watches anew.
    const identity = identityOf(path);
    if (known === undefined) {
      const entry: FolderWatch = { listeners: new Set([listener]), watcher: null, identity };
      this.#byPath.set(path, entry);
      this.#watch(path, entry);
    } else {
      known.listeners.add(listener);
      if (known.identity !== identity || known.watcher === null) {
        known.watcher?.close();
        known.identity = identity;
        this.#watch(path, known);
      }
    }
    return () => this.#remove(path, listener);
  }

  close(): void {
    this.#open = false;
    for (const { watcher } of this.#byPath.values()) watcher?.close();
    this.#byPath.clear();
  }

  #remove(path: string, listener: FolderListener): void {
    const entry = this.#byPath.get(path);
    if (entry === undefined) return;
    entry.listeners.delete(listener);
    if (entry.listeners.size > 0) return;
    entry.watcher?.close();
    this.#byPath.delete(path);
  }

  #watch(path: string, entry: FolderWatch): void {
    entry.watcher = null;
    try {
      entry.watcher = watch(path, { persistent: false }, (_event, name) => {
        // The kernel's queue ran over: Bun tells it by an event without a name.
        if (name === null || name === "") this.#options.onLost();
        else for (const listener of entry.listeners) listener(name);
      });
      entry.watcher.on("error", (error) => this.#failed(path, error));
    } catch (error) {
      this.#failed(path, error);
    }
  }

  #failed(path: string, error: unknown): void {
    const code = error instanceof Error && "code" in error ? String(error.code) : String(error);
    if (!this.#open) return;
    if (code === "ENOSPC" || code === "EMFILE" || code === "ENFILE" || code === "ENOSYS") {
      this.close();
      this.#options.onExhausted(code);
    } else if (code !== "ENOENT" && code !== "ENOTDIR") {
      // What is gone is noticed by its parent; what may not be read is not read by PHP either.
      this.#options.log.debug("Cannot watch a folder", { path, code });
    }
  }
}

/** Inode numbers are used again at once; with the time of birth they tell a folder from its successor. */
function identityOf(path: string): string {
  try {
    const { dev, ino, birthtimeMs } = statSync(path);
    return `${dev}:${ino}:${birthtimeMs}`;
  } catch {
    return "";
  }
}
