/** The thread-safe libphp that tests of thread isolation use. `./setup.sh --zts` provides one. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { libphpCandidates } from "../src/php/locate.ts";
import { readBuild } from "../src/php/read-build.ts";

const prefixFile = join(import.meta.dir, "..", "build", "zts-prefix");

/** null when there is none: tests of threads are skipped then. */
export const ztsLibphp: string | null = find();

/**
 * Is it of this version, such as `8.3`, or newer? What an older PHP cannot do is skipped, visibly, and not asked less
 * strictly of those that can.
 */
export function ztsSince(version: string): boolean {
  const its = ztsLibphp === null ? "" : (readBuild(ztsLibphp)?.version ?? "");
  return its.localeCompare(version, "en", { numeric: true }) >= 0;
}

function find(): string | null {
  const remembered = existsSync(prefixFile)
    ? [`${readFileSync(prefixFile, "utf8").trim()}/lib/libphp.so`]
    : [];
  const candidates = [...remembered, ...libphpCandidates("auto")].filter((path) => existsSync(path));
  return candidates.find((path) => readBuild(path)?.zts === true) ?? null;
}
