import { compileGlob, compileHostGlob } from "./glob.ts";

/** What leads to a pool; a list that is left out or empty takes everything, but for `patterns`. */
export interface PoolRule {
  readonly name: string;
  readonly patterns: readonly string[];
  readonly hosts?: readonly string[];
  /** In upper case. */
  readonly methods?: readonly string[];
}

/** Null takes everything. */
interface Matcher {
  readonly index: number;
  readonly paths: readonly RegExp[] | null;
  readonly hosts: readonly RegExp[] | null;
  readonly methods: ReadonlySet<string> | null;
}

/** Chooses the pool of a request: the first one whose patterns, hosts and methods all match. */
export class PoolPatterns {
  readonly #matchers: readonly Matcher[];
  /** False when no answer depends on the host, so that callers need not read the header. */
  readonly needsHost: boolean;
  /** True when the answer does not depend on the request, so that callers need not decode its path. */
  readonly isConstant: boolean;

  constructor(pools: readonly PoolRule[]) {
    const matchers = pools.map(toMatcher);
    // What comes after a catch-all is never asked.
    const last = matchers.findIndex(takesEverything);
    this.#matchers = last < 0 ? matchers : matchers.slice(0, last + 1);
    this.isConstant = last === 0 || matchers.length === 0;
    this.needsHost = this.#matchers.some(({ hosts }) => hosts !== null);
  }

  /**
   * The pool's place in the configuration, or -1. `path` is decoded (`decodePath`), or `/%61dmin/` would be
   * another pool than `/admin/`; `host` is the Host header as it came.
   */
  match(path: string, host = "", method = "GET"): number {
    for (const { index, paths, hosts, methods } of this.#matchers) {
      if (methods !== null && !methods.has(method)) continue;
      if (paths !== null && !matchesAny(paths, path)) continue;
      if (hosts !== null && !matchesAny(hosts, host)) continue;
      return index;
    }
    return -1;
  }
}

function toMatcher({ name, patterns, hosts = [], methods = [] }: PoolRule, index: number): Matcher {
  const paths = patterns.map((pattern) => compileGlob(pattern, `pools.${name}.patterns`));
  const names = hosts.map((host) => compileHostGlob(host, `pools.${name}.hosts`));
  return {
    index,
    paths: withoutCatchAll(paths),
    hosts: names.length === 0 ? null : withoutCatchAll(names),
    methods: methods.length === 0 ? null : new Set(methods),
  };
}

/** One that matches everything makes the others needless. */
const withoutCatchAll = (globs: readonly (RegExp | null)[]): readonly RegExp[] | null =>
  globs.includes(null) ? null : globs.filter((glob) => glob !== null);

const takesEverything = ({ paths, hosts, methods }: Matcher): boolean =>
  paths === null && hosts === null && methods === null;

/** A loop of its own: `some` would make a closure for each request. */
function matchesAny(globs: readonly RegExp[], text: string): boolean {
  for (const glob of globs) if (glob.test(text)) return true;
  return false;
}
