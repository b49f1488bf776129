import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { WatchConfig } from "../../src/config/config.ts";
import { createLog } from "../../src/log/log.ts";
import { type FileWatch, type OnChange, watchFiles } from "../../src/watch/watch-files.ts";

/** A folder that is really there, a watch on it, and what that told. */
export class Watched implements Disposable {
  readonly path = realpathSync(mkdtempSync(join(tmpdir(), "phprun-watch-")));
  /** What `onChange` got, call by call, relative to the folder. */
  readonly calls: string[][] = [];
  readonly lines: string[] = [];
  watch: FileWatch | null = null;
  readonly #markers = new Set<string>();

  write(name: string, content = ""): string {
    const path = join(this.path, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content);
    return path;
  }

  async start(
    config: Partial<WatchConfig> = {},
    onChange: OnChange = () => {},
    own: string[] = [],
  ): Promise<void> {
    const all = { paths: [this.path], include: [], ignore: [], debounceMs: 20, pollMs: 0, ...config };
    const log = createLog({
      level: "debug",
      format: "json",
      file: null,
      write: (line) => this.lines.push(line),
    });
    const told: OnChange = (changes) => {
      this.calls.push(changes.map((path) => path.replace(`${this.path}/`, "")));
      return onChange(changes);
    };
    this.watch = watchFiles(all, told, log, own);
    await this.watch.ready;
  }

  /** All that was told so far, without the markers. */
  get told(): string[] {
    return [...new Set(this.calls.flat())].filter((path) => !this.#markers.has(path)).sort();
  }

  forget(): void {
    this.calls.length = 0;
  }

  async tells(...paths: string[]): Promise<void> {
    await until(
      () => paths.every((path) => this.told.includes(path)),
      () => `told ${JSON.stringify(this.calls)}, not ${JSON.stringify(paths)}\n${this.lines.join("")}`,
    );
  }

  /** Changes come in order: once a later one was told, an earlier one never will be. */
  async settled(): Promise<void> {
    const name = `marker-${this.#markers.size}.php`;
    this.#markers.add(name);
    this.write(name);
    await until(
      () => this.calls.some((call) => call.includes(name)),
      () => `the marker was not told, but ${JSON.stringify(this.calls)}`,
    );
  }

  [Symbol.dispose](): void {
    this.watch?.close();
    rmSync(this.path, { recursive: true, force: true });
  }
}

export async function until(condition: () => boolean, otherwise: () => string): Promise<void> {
  const patience = performance.now() + 4_000;
  while (!condition()) {
    if (performance.now() > patience) throw new Error(`Waited in vain: ${otherwise()}`);
    await Bun.sleep(2);
  }
}
