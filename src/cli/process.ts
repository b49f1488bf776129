import { readFileSync } from "node:fs";

/** Does a process with this id run? One that has ended but was not yet collected by its parent does not. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    // EPERM: it is there, only not ours to signal.
    if ((error as NodeJS.ErrnoException).code !== "EPERM") return false;
  }
  const stat = readProc(pid, "stat");
  return stat === null || !/^\d+ \(.*\) [ZX]/s.test(stat);
}

/** Ids are used again: a process that is no `phprun serve` did not write our pid file. */
export function looksLikeServer(pid: number): boolean {
  const line = readProc(pid, "cmdline");
  if (line === null) return true;
  const words = line.split("\0");
  return words.includes("serve") && words.some((word) => /(^|\/)(phprun[^/]*|main\.ts|bun)$/.test(word));
}

function readProc(pid: number, file: string): string | null {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "utf8");
  } catch {
    return null;
  }
}
