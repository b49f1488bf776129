import { cpus, release, totalmem } from "node:os";
import { readFileSync } from "node:fs";
import type { Settings } from "./settings.ts";

/** Under what circumstances something was measured. */
export interface Conditions {
  readonly date: string;
  readonly cpu: string;
  readonly cpus: number;
  readonly memoryGib: number;
  readonly kernel: string;
  readonly system: string;
  readonly versions: Readonly<Record<string, string>>;
  readonly iniFiles: readonly string[];
  readonly ini: Readonly<Record<string, string | null>>;
}

/** Those that matter to speed; all others are compared as well (see settings.ts). */
const shownIni = [
  "opcache.enable",
  "opcache.validate_timestamps",
  "opcache.revalidate_freq",
  "opcache.memory_consumption",
  "opcache.interned_strings_buffer",
  "opcache.max_accelerated_files",
  "opcache.jit",
  "opcache.jit_buffer_size",
  "realpath_cache_size",
  "output_buffering",
  "memory_limit",
  "auto_globals_jit",
  "variables_order",
];

export function describeConditions(phprun: string, settings: Settings): Conditions {
  const [model] = cpus();
  return {
    date: new Date().toISOString().slice(0, 16).replace("T", " "),
    cpu: (model?.model ?? "unknown").trim(),
    cpus: navigator.hardwareConcurrency,
    memoryGib: Math.round(totalmem() / 1024 ** 3),
    // Without what a distribution adds to it.
    kernel: /^\d+\.\d+/.exec(release())?.[0] ?? release(),
    system: /^PRETTY_NAME="(.*)"$/m.exec(readFileSync("/etc/os-release", "utf8"))?.[1] ?? "unknown",
    versions: {
      phprun: line([phprun, "version"]),
      PHP: settings.version,
      nginx: line(["nginx", "-v"]).replace(/^.*\//, ""),
      wrk: (line(["wrk", "--version"]).split(" ")[1] ?? "").replace("debian/", ""),
    },
    iniFiles: settings.iniFiles,
    ini: Object.fromEntries(shownIni.map((name) => [name, settings.ini[name] ?? null])),
  };
}

function line(command: string[]): string {
  const { stdout, stderr } = Bun.spawnSync(command, { env: { PATH: process.env["PATH"] } });
  return `${stdout}${stderr}`.trim().split("\n")[0] ?? "";
}
