import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { PhpConfig } from "../../src/config/config.ts";

/** A folder that goes away with its test. */
export class TempDir implements AsyncDisposable {
  readonly path = mkdtempSync(join(tmpdir(), "phprun-test-"));

  write(name: string, content: string | Uint8Array = "x"): string {
    const path = join(this.path, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content);
    return path;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    rmSync(this.path, { recursive: true, force: true });
  }
}

export function phpConfig(docroot: string, overrides: Partial<PhpConfig> = {}): PhpConfig {
  return {
    docroot,
    libphp: "auto",
    isolation: "auto",
    threadStackBytes: 16 * 1024 ** 2,
    frontController: "index.php",
    scriptExtensions: [".php"],
    indexFiles: ["index.php", "index.html"],
    symlinks: "inside",
    ini: {},
    env: {},
    clearEnv: false,
    sapiName: "phprun",
    jsonPost: false,
    compat: [],
    ...overrides,
  };
}
