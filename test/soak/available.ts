import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Setup } from "./program.ts";
import type { Tree } from "./phprun.ts";

/** Does this build take such pools? Null when it does, else what it says. */
export function refusalOf(
  command: readonly string[],
  pools: readonly Tree[],
  php: Setup["php"],
): string | null {
  const folder = mkdtempSync(join(tmpdir(), "phprun-soak-"));
  try {
    const file = join(folder, "phprun.yaml");
    writeFileSync(file, JSON.stringify({ php: { docroot: folder, ...php }, pools }));
    const { exitCode, stdout, stderr } = Bun.spawnSync([...command, "config", "check", "--config", file], {
      env: { ...process.env, NO_COLOR: "1" },
    });
    return exitCode === 0 ? null : `${stdout}${stderr}`.trim().split("\n").slice(0, 3).join(" ");
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Does this build have such a command? */
export function hasCommand(command: readonly string[], name: string): boolean {
  const { stdout, stderr } = Bun.spawnSync([...command, "--help"], {
    env: { ...process.env, NO_COLOR: "1" },
  });
  return new RegExp(`^\\s*${name}\\s`, "m").test(`${stdout}${stderr}`);
}
