import { cpSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const LARGE_BYTES = 16 * 1024 * 1024;

/** A copy of the docroot with files that are too large to be kept in the repository. */
export class LargeSite implements Disposable {
  readonly path = realpathSync(mkdtempSync(join(tmpdir(), "phprun-soak-")));
  readonly files = new Map<string, Buffer>();

  readonly #onExit = (): void => this[Symbol.dispose]();

  constructor() {
    process.on("exit", this.#onExit);
    cpSync(join(import.meta.dir, "docroot"), this.path, { recursive: true });
    this.#write("large.bin", LARGE_BYTES);
    this.#write("medium.bin", 300_000);
    this.#write("small.css", 5000);
  }

  [Symbol.dispose](): void {
    process.off("exit", this.#onExit);
    rmSync(this.path, { recursive: true, force: true });
  }

  #write(name: string, bytes: number): void {
    const content = Buffer.alloc(bytes, `${name} of the soak runs. `);
    this.files.set(name, content);
    writeFileSync(join(this.path, name), content);
  }
}
