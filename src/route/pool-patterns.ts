import { compileGlob } from "./glob.ts";

interface Matcher {
  readonly index: number;
  /** Null matches everything. */
  readonly regex: RegExp | null;
}

/** Chooses the pool of a path: the first pool one of whose patterns matches. */
export class PoolPatterns {
  readonly #matchers: readonly Matcher[];

  constructor(pools: readonly { readonly name: string; readonly patterns: readonly string[] }[]) {
    const matchers: Matcher[] = [];
    for (const [index, pool] of pools.entries()) {
      for (const pattern of pool.patterns) {
        matchers.push({ index, regex: compileGlob(pattern, `pools.${pool.name}.patterns`) });
      }
    }
    // What comes after a catch-all is never asked.
    const last = matchers.findIndex((matcher) => matcher.regex === null);
    this.#matchers = last < 0 ? matchers : matchers.slice(0, last + 1);
  }

  /**
   * The pool's place in the configuration, or -1. `path` is decoded (`decodePath`), or `/%61dmin/` would be
   * another pool than `/admin/`.
   */
  match(path: string): number {
    for (const { index, regex } of this.#matchers) {
      if (regex === null || regex.test(path)) return index;
    }
    return -1;
  }

  /** True when the answer does not depend on the path, so that callers need not decode it. */
  get isConstant(): boolean {
    return this.#matchers.length === 0 || this.#matchers[0]?.regex === null;
  }
}
