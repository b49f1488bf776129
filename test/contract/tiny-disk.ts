import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { Scratch } from "../process/support.ts";

/** A file system with room for a megabyte. Only root may have one. */
export class TinyDisk implements Disposable {
  readonly path: string;
  readonly mounted: boolean;
  readonly #scratch = new Scratch();

  constructor() {
    this.path = join(this.#scratch.path, "disk");
    mkdirSync(this.path);
    const mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "phprun-test", this.path];
    this.mounted = Bun.spawnSync(mount).exitCode === 0;
  }

  [Symbol.dispose](): void {
    // A server that is being stopped may still have files open there.
    if (this.mounted) Bun.spawnSync(["umount", "--lazy", this.path]);
    this.#scratch[Symbol.dispose]();
  }
}

export function canMount(): boolean {
  if (process.getuid?.() !== 0) return false;
  using disk = new TinyDisk();
  return disk.mounted;
}
