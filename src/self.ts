import { join } from "node:path";

/**
 * The command line that starts phprun again: the executable alone when compiled, Bun and our entry file from source.
 * In both, the given arguments arrive from `process.argv[2]` on.
 */
export function selfCommand(...args: string[]): string[] {
  if (Bun.isStandaloneExecutable) return [process.execPath, ...args];
  return [process.execPath, join(import.meta.dir, "main.ts"), ...args];
}
