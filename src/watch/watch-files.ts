import type { WatchConfig } from "../config/config.ts";
import type { Log } from "../log/log.ts";
import { Burst } from "./burst.ts";
import { remoteFileSystem } from "./file-systems.ts";
import { FolderWatches } from "./folder-watches.ts";
import { compileSelection } from "./globs.ts";
import { Pace } from "./pace.ts";
import { WatchedTree } from "./watched-tree.ts";

export type OnChange = (changes: readonly string[]) => void | Promise<void>;

export interface FileWatch {
  /** Everything was looked at once, and changes from here on are told. */
  readonly ready: Promise<void>;
  /** No call of `onChange` begins after this. */
  close(): void;
}

/** Events come in swarms: so long they are collected before anything is looked at. */
const GATHER_MS = 10;
/** How often to look when the system has no more watches to give. */
const FALLBACK_POLL_MS = 1_000;
/** Polling rests nine times as long as it took: a tenth of one processor at most, however large the tree. */
const POLL_REST = 9;

/**
 * Calls `onChange` with the files that changed, absolute and sorted: once per burst, and never while an earlier
 * call is still running. What it throws is logged, and watching goes on.
 *
 * `own` are files that phprun writes itself, absolute: they never count. Neither the watch nor its timers keep
 * the process alive. Throws `CONFIG_INVALID` for a glob that is none.
 */
export function watchFiles(
  config: WatchConfig,
  onChange: OnChange,
  log: Log,
  own: readonly string[] = [],
): FileWatch {
  return new FileWatcher(config, onChange, log, own);
}

class FileWatcher implements FileWatch {
  readonly ready: Promise<void>;
  readonly #onChange: OnChange;
  readonly #log: Log;
  readonly #burst: Burst;
  readonly #watches: FolderWatches;
  readonly #trees: readonly WatchedTree[];
  #pollMs: number;
  #closed = false;
  #looking = false;
  #lookTimer: Timer | null = null;
  /** How long the last look worked; the next one is at least as long away. */
  #lookMs = 0;
  #telling = false;
  #tellTimer: Timer | null = null;

  constructor(config: WatchConfig, onChange: OnChange, log: Log, own: readonly string[]) {
    this.#onChange = onChange;
    this.#log = log;
    this.#burst = new Burst(config.debounceMs);
    this.#pollMs = config.pollMs;
    const selection = compileSelection(config.include, config.ignore);
    const ownFiles = new Set(own);
    const watches = new FolderWatches({
      onExhausted: (code) => this.#pollInstead(code),
      onLost: () => this.#lookEverywhere(),
      log,
    });
    this.#watches = watches;
    if (config.pollMs > 0) watches.close();
    else this.#warnOfRemote(config.paths);
    this.#trees = [...new Set(config.paths)].map(
      (path) =>
        new WatchedTree({ path, selection, own: ownFiles, watches, onDirty: () => this.#lookSoon(), log }),
    );
    this.ready = this.#look();
  }

  close(): void {
    this.#closed = true;
    if (this.#lookTimer !== null) clearTimeout(this.#lookTimer);
    if (this.#tellTimer !== null) clearTimeout(this.#tellTimer);
    this.#watches.close();
    for (const tree of this.#trees) tree.close();
  }

  #lookEverywhere(): void {
    for (const tree of this.#trees) tree.touch();
    this.#lookSoon();
  }

  #lookSoon(): void {
    if (this.#closed || this.#looking || this.#pollMs > 0) return;
    this.#lookAfter(Math.max(GATHER_MS, this.#lookMs));
  }

  #lookAfter(ms: number): void {
    this.#lookTimer ??= setTimeout(() => {
      this.#lookTimer = null;
      if (this.#pollMs > 0) for (const tree of this.#trees) tree.touch();
      void this.#look();
    }, ms).unref();
  }

  async #look(): Promise<void> {
    this.#looking = true;
    const pace = new Pace();
    try {
      for (const tree of this.#trees) {
        if (!tree.dirty) continue;
        this.#burst.add(await tree.look(pace), performance.now());
        this.#tellWhenDue();
      }
    } catch (error) {
      this.#log.error("Cannot look for changed files", { error: messageOf(error) });
    }
    this.#looking = false;
    this.#lookMs = pace.workedMs;
    if (this.#closed) return;
    if (this.#pollMs > 0) this.#lookAfter(Math.max(this.#pollMs, POLL_REST * this.#lookMs));
    else if (this.#trees.some((tree) => tree.dirty)) this.#lookSoon();
  }

  #tellWhenDue(): void {
    const { dueAt } = this.#burst;
    if (this.#closed || this.#telling || dueAt === null) return;
    if (this.#tellTimer !== null) clearTimeout(this.#tellTimer);
    this.#tellTimer = setTimeout(() => void this.#tell(), Math.max(0, dueAt - performance.now())).unref();
  }

  async #tell(): Promise<void> {
    this.#tellTimer = null;
    this.#telling = true;
    try {
      await this.#onChange(this.#burst.take());
    } catch (error) {
      this.#log.error("Cannot act on changed files", { error: messageOf(error) });
    }
    this.#telling = false;
    this.#tellWhenDue();
  }

  #pollInstead(code: string): void {
    const remedy =
      code === "ENOSPC"
        ? "raise fs.inotify.max_user_watches with sysctl, or leave folders out with watch.ignore"
        : code === "EMFILE"
          ? "raise fs.inotify.max_user_instances with sysctl, or the limit on open files"
          : "the system offers no inotify";
    this.#log.warn(
      `Cannot watch files by inotify: ${remedy}; looking for changes every ${FALLBACK_POLL_MS} ms instead`,
      { code },
    );
    this.#pollMs = FALLBACK_POLL_MS;
    if (!this.#looking && this.#lookTimer === null) this.#lookAfter(FALLBACK_POLL_MS);
  }

  #warnOfRemote(paths: readonly string[]): void {
    for (const path of paths) {
      const kind = remoteFileSystem(path);
      if (kind !== null)
        this.#log.warn(`Changes made on another machine may go unnoticed on ${kind}: set watch.poll_ms`, {
          path,
        });
    }
  }
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
