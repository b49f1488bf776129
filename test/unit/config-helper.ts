import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { Config } from "../../src/config/config.ts";
import type { ConfigFlags } from "../../src/config/flags.ts";
import { loadConfig } from "../../src/config/load.ts";
import { PhprunError } from "../../src/errors.ts";

/** A folder of files for one test, gone at its end. */
export class Folder implements Disposable {
  readonly path = mkdtempSync(join(tmpdir(), "phprun-config-"));

  constructor(files: Readonly<Record<string, string>> = {}) {
    for (const [name, text] of Object.entries(files)) this.write(name, text);
  }

  write(name: string, text: string): string {
    const file = join(this.path, name);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
    return file;
  }

  load(flags: ConfigFlags = {}, env: Readonly<Record<string, string>> = {}): Config {
    return loadConfig({ flags, env, cwd: this.path });
  }

  /** The error's lines, without its title. */
  errors(flags: ConfigFlags = {}, env: Readonly<Record<string, string>> = {}): string[] {
    try {
      this.load(flags, env);
    } catch (error) {
      if (!(error instanceof PhprunError) || error.exitCode !== 2) throw error;
      return error.message
        .split("\n")
        .slice(error.code === "CONFIG_INVALID" ? 1 : 0)
        .map((line) => line.trim());
    }
    return [];
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

export function yamlFolder(yaml: string): Folder {
  return new Folder({ "phprun.yaml": yaml });
}
