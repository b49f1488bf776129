import picomatch from "picomatch";
import { PhprunError } from "../errors.ts";
import { toBytes } from "./docroot.ts";

/**
 * Compiles a URL pattern: `*` crosses slashes, so `/api/export/*` is the whole subtree; `?` is one byte but not a
 * slash, `{a,b}` alternatives, `[…]` a set. Null for a pattern that matches every path and needs no test.
 *
 * `key` names the configuration key in the error.
 */
export function compileGlob(pattern: string, key: string): RegExp | null {
  if (/^\/?\*{1,2}$/.test(pattern)) return null;
  try {
    return picomatch.makeRe(toBytes(pattern), {
      bash: true,
      dot: true,
      nonegate: true,
      noextglob: true,
      strictBrackets: true,
      strictSlashes: true,
    });
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new PhprunError(
      "CONFIG_INVALID",
      `Cannot use '${key}': must be a glob such as "/api/*", received "${pattern}" (${why})`,
      { cause },
    );
  }
}
