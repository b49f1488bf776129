import { statSync, type Stats } from "node:fs";
import type { FsPath } from "./route.ts";

const orUndefined = { throwIfNoEntry: false } as const;

/** What is at a path: undefined for nothing, "denied" when the file system will not say. */
export function lookUp(path: FsPath): Stats | "denied" | undefined {
  try {
    return statSync(path, orUndefined);
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    return code === "ENOTDIR" || code === "ENOENT" || code === "ENAMETOOLONG" ? undefined : "denied";
  }
}
