import picomatch from "picomatch";
import { PhprunError } from "../errors.ts";

/** Which paths matter; relative to the watched folder, without a leading slash. */
export interface Selection {
  /** Files and folders that are not looked at; what lies in such a folder is never asked about. */
  ignores(path: string): boolean;
  /** Files whose change is told. */
  includes(path: string): boolean;
}

/**
 * Compiles `watch.include` and `watch.ignore` once. As in a .gitignore a pattern without a slash matches at any
 * depth (`*.php`, `vendor`), one with a slash from the watched folder on. No `include` at all means every file.
 */
export function compileSelection(include: readonly string[], ignore: readonly string[]): Selection {
  const included = include.length === 0 ? () => true : compile(include, "watch.include");
  return { ignores: compile(ignore, "watch.ignore"), includes: included };
}

/** One expression for all: it is asked for every file of the tree. */
function compile(patterns: readonly string[], key: string): (path: string) => boolean {
  if (patterns.length === 0) return () => false;
  const all = new RegExp(patterns.map((pattern) => source(pattern, key)).join("|"));
  return (path) => all.test(path);
}

function source(pattern: string, key: string): string {
  // "cache/" and "/cache" are how people name a folder; picomatch would match neither.
  const bare = pattern.replace(/^(\.?\/)+/, "").replace(/\/+$/, "");
  const anyDepth = !pattern.replace(/\/+$/, "").includes("/");
  try {
    const options = { dot: true, nonegate: true, strictBrackets: true };
    return picomatch.makeRe(anyDepth ? `**/${bare}` : bare, options).source;
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new PhprunError(
      "CONFIG_INVALID",
      `Cannot use '${key}': must be globs such as "**/*.php", received "${pattern}" (${why})`,
      { cause },
    );
  }
}
