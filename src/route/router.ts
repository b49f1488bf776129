import type { Stats } from "node:fs";
import type { PhpConfig } from "../config/config.ts";
import { PhprunError } from "../errors.ts";
import { Docroot, toBytes } from "./docroot.ts";
import { lookUp } from "./look-up.ts";
import { baseName, hasHiddenSegment, isPhpSource, isScript } from "./names.ts";
import { decodePath } from "./path.ts";
import type { ErrorRoute, FileRoute, FsPath, RedirectRoute, Route, Script, ScriptRoute } from "./route.ts";
import { Verdicts } from "./verdicts.ts";

export interface RouterOptions {
  /**
   * False when static files are turned off: what is no script then counts as not there.
   *
   * @default {true}
   */
  readonly serveFiles?: boolean;
  /**
   * How many paths are remembered.
   *
   * @default {4096}
   */
  readonly cacheEntries?: number;
  /**
   * Tells which requests were made together: within one turn a path is looked at once. Left out, every request
   * looks for itself.
   */
  readonly turn?: () => number;
}

/** A version of the one thing a verdict rests on. Scripts share theirs, so one re-check serves every URL. */
interface Target {
  readonly path: FsPath;
  stats: Stats;
}

interface KnownScript extends Target {
  readonly script: Script;
  readonly route: ScriptRoute;
}

/** An answer, and what must still be so for it to hold. */
interface Verdict {
  readonly route: Route;
  /** What methods other than GET and HEAD get, where that differs. */
  readonly otherwise?: Route;
  readonly target?: Target;
  /** Nothing may have appeared here: these places come before the answer. */
  readonly absent: readonly FsPath[];
  /** False for what cannot be checked with a few stats; it is worked out anew each time. */
  readonly lasting: boolean;
  /** The turn in which it was last found to hold. */
  foundInTurn?: number;
}

/** Paths longer than this are not remembered, so that a flood of them cannot fill the memory. */
const maxRememberedLength = 512;
const maxKnownScripts = 16_384;
const isAscii = /^[\x00-\x7f]*$/;

/**
 * Decides what a path leads to: script, static file, redirect or refusal.
 *
 * A repeated path costs one lookup in memory and one stat, plus one for each place that came before the answer
 * (a clean URL: one; the front controller: two), so a file that appears, changes or goes is noticed at once.
 */
export class Router {
  readonly #docroot: Docroot;
  readonly #extensions: readonly string[];
  readonly #indexFiles: readonly string[];
  readonly #frontController: string | null;
  readonly #serveFiles: boolean;
  readonly #turn: (() => number) | undefined;
  readonly #verdicts: Verdicts<Verdict>;
  readonly #scripts = new Map<string, KnownScript>();

  constructor(php: PhpConfig, options: RouterOptions = {}) {
    this.#docroot = new Docroot(php.docroot, php.symlinks);
    this.#extensions = php.scriptExtensions.map(toBytes);
    this.#indexFiles = php.indexFiles.map(toBytes);
    this.#frontController = php.frontController === null ? null : scriptBelow(php.frontController);
    this.#serveFiles = options.serveFiles ?? true;
    this.#turn = options.turn;
    this.#verdicts = new Verdicts(options.cacheEntries ?? 4096);
  }

  /** Never throws. `rawPath` is the path of the request target, still percent-encoded, without its query. */
  resolve(rawPath: string, method = "GET"): Route {
    const known = this.#verdicts.get(rawPath);
    const verdict = known !== undefined && this.#stillHolds(known) ? known : this.#decideAnew(rawPath);
    if (verdict.otherwise === undefined || method === "GET" || method === "HEAD") return verdict.route;
    return verdict.otherwise;
  }

  #stillHolds(verdict: Verdict): boolean {
    const turn = this.#turn?.();
    if (turn !== undefined && turn === verdict.foundInTurn) return true;
    if (!holds(verdict)) return false;
    if (turn !== undefined) verdict.foundInTurn = turn;
    return true;
  }

  #decideAnew(rawPath: string): Verdict {
    if (rawPath.length > maxRememberedLength || !isAscii.test(rawPath)) return this.#decide(rawPath);
    // A slice of the URL would keep the whole URL alive for as long as we remember it; a copy stands alone.
    const raw = Buffer.from(rawPath, "latin1").toString("latin1");
    const verdict = this.#decide(raw);
    if (verdict.lasting) this.#verdicts.set(raw, verdict);
    return verdict;
  }

  #decide(raw: string): Verdict {
    const path = decodePath(raw);
    if (typeof path !== "string") return passing(refuse(path.status, path.reason));
    const absent: FsPath[] = [];
    const along = this.#scriptAlong(path, absent);
    if (along !== undefined) return along;
    if (hasHiddenSegment(path)) {
      return { route: refuse(403, "dot files are not served"), absent, lasting: true };
    }
    return path.endsWith("/") ? this.#inFolder(path, absent) : this.#atPath(raw, path, absent);
  }

  /** `/script.php/rest`: the first script along the path takes the rest as PATH_INFO. */
  #scriptAlong(path: string, absent: FsPath[]): Verdict | undefined {
    for (let end = path.indexOf("/", 1); end > 0; end = path.indexOf("/", end + 1)) {
      const name = path.slice(0, end);
      if (!isScript(name, this.#extensions)) continue;
      if (hasHiddenSegment(name)) return undefined;
      const found = this.#find(name, absent);
      if (found === "denied") return passing(unreadable);
      if (found?.isFile()) return this.#runScript(name, found, path.slice(end), absent);
    }
    return undefined;
  }

  #inFolder(path: string, absent: FsPath[]): Verdict {
    const folder = path === "/" ? "" : path.slice(0, -1);
    const found = folder === "" ? lookUp(this.#docroot.fsPath("/")) : this.#find(folder, absent);
    if (found === "denied") return passing(unreadable);
    if (found === undefined) return this.#fallBack(absent, folder !== "");
    if (!found.isDirectory()) return this.#fallBack(absent, false);
    let lasting = true;
    for (const file of this.#indexFiles) {
      const name = path + file;
      const index = this.#find(name, absent);
      if (index === "denied") return passing(unreadable);
      if (index?.isFile()) {
        const verdict = this.#serve(name, index, absent);
        if (verdict !== undefined) return verdict;
      }
      lasting &&= index === undefined;
    }
    return this.#fallBack(absent, lasting);
  }

  #atPath(raw: string, path: string, absent: FsPath[]): Verdict {
    if (!this.#docroot.canExist(path)) return this.#fallBack(absent, true);
    const found = lookUp(this.#docroot.fsPath(path));
    if (found === "denied") return passing(unreadable);
    if (found === undefined) {
      const folder = this.#topmostMissingFolder(path);
      absent.push(this.#docroot.fsPath(folder ?? path));
      if (folder !== undefined) return this.#fallBack(absent, true);
    }
    if (found?.isFile()) {
      const verdict = this.#serve(path, found, absent);
      if (verdict !== undefined) return verdict;
    } else if (found !== undefined && !found.isDirectory()) {
      return passing(refuse(403, "neither a file nor a folder"));
    }
    const clean = this.#cleanUrl(path, absent);
    if (clean !== undefined) return clean;
    if (found?.isDirectory()) return redirectToFolder(raw, this.#docroot.fsPath(path), found, absent);
    return this.#fallBack(absent, found === undefined);
  }

  /**
   * Where a folder on the way is missing, that one place vouches for all below it: most URLs that a front controller
   * makes up are of this kind, and then need one check instead of two.
   */
  #topmostMissingFolder(path: string): string | undefined {
    let missing: string | undefined;
    for (let end = path.lastIndexOf("/"); end > 0; end = path.lastIndexOf("/", end - 1)) {
      const folder = path.slice(0, end);
      if (lookUp(this.#docroot.fsPath(folder)) !== undefined) break;
      missing = folder;
    }
    return missing;
  }

  /** `/name` where `name.php` is. It comes before a folder `name/`, which its slash still reaches. */
  #cleanUrl(path: string, absent: FsPath[]): Verdict | undefined {
    if (isPhpSource(path, this.#extensions)) return undefined;
    for (const extension of this.#extensions) {
      const found = this.#find(path + extension, absent);
      if (found === "denied") return passing(unreadable);
      if (found?.isFile()) return this.#runScript(path + extension, found, "", absent);
    }
    return undefined;
  }

  #fallBack(absent: FsPath[], lasting: boolean): Verdict {
    const name = this.#frontController;
    const found = name === null ? undefined : this.#find(name, absent);
    if (found === "denied") return passing(unreadable);
    if (name === null || !found?.isFile()) return { route: notFound, absent, lasting: lasting && !found };
    const verdict = this.#runScript(name, found, "", absent);
    return lasting ? verdict : { ...verdict, lasting: false };
  }

  /** Undefined when files are not served, so that the search goes on. */
  #serve(name: string, stats: Stats, absent: readonly FsPath[]): Verdict | undefined {
    if (isScript(name, this.#extensions)) return this.#runScript(name, stats, "", absent);
    if (isPhpSource(baseName(name), this.#extensions)) {
      return passing(refuse(403, "PHP source is not served as text"));
    }
    if (!this.#serveFiles) return undefined;
    const path = this.#docroot.fsPath(name);
    const refusal = this.#docroot.refusal(path, this.#extensions, false);
    if (refusal !== undefined)
      return passing({ ...refuse(refusal.status ?? 403, refusal.reason), remedy: refusal.remedy });
    const route: FileRoute = { kind: "file", path, urlPath: name, stat: stats };
    return { route, target: { path, stats }, absent, lasting: true };
  }

  #runScript(name: string, stats: Stats, pathInfo: string, absent: readonly FsPath[]): Verdict {
    const known = this.#known(name, stats);
    if ("kind" in known) return passing(known);
    const route = pathInfo === "" ? known.route : { ...known.route, pathInfo };
    return { route, target: known, absent, lasting: true };
  }

  #known(name: string, stats: Stats): KnownScript | ErrorRoute {
    const known = this.#scripts.get(name);
    if (known !== undefined && isSame(known.stats, stats)) return known;
    const path = this.#docroot.fsPath(name);
    const refusal = this.#docroot.refusal(path, this.#extensions, true);
    if (refusal !== undefined)
      return { ...refuse(refusal.status ?? 403, refusal.reason), remedy: refusal.remedy };
    if (known !== undefined) {
      known.stats = stats;
      return known;
    }
    const script: Script = { filename: this.#docroot.path + name, name, memo: undefined };
    const route: ScriptRoute = {
      kind: "script",
      scriptFilename: script.filename,
      scriptName: name,
      pathInfo: "",
      script,
    };
    if (this.#scripts.size >= maxKnownScripts) this.#scripts.clear();
    const fresh: KnownScript = { path, stats, script, route };
    this.#scripts.set(name, fresh);
    return fresh;
  }

  /** Looks a name up, and notes it when there is nothing. */
  #find(name: string, absent: FsPath[]): Stats | "denied" | undefined {
    if (!this.#docroot.canExist(name)) return undefined;
    const path = this.#docroot.fsPath(name);
    const found = lookUp(path);
    if (found === undefined) absent.push(path);
    return found;
  }
}

function holds(verdict: Verdict): boolean {
  const { absent, target } = verdict;
  for (let i = 0; i < absent.length; i++) {
    const path = absent[i];
    if (path !== undefined && lookUp(path) !== undefined) return false;
  }
  if (target === undefined) return true;
  const now = lookUp(target.path);
  return now !== undefined && now !== "denied" && isSame(target.stats, now);
}

/** The change time moves with every write, chmod and rename, and nobody can set it back. */
function isSame(a: Stats, b: Stats): boolean {
  return (
    a.ctimeMs === b.ctimeMs &&
    a.ino === b.ino &&
    a.size === b.size &&
    a.mtimeMs === b.mtimeMs &&
    a.dev === b.dev
  );
}

const notFound: ErrorRoute = { kind: "error", status: 404, reason: "no such file" };
const unreadable: ErrorRoute = {
  kind: "error",
  status: 403,
  reason: "the path cannot be read",
  remedy: "See its permissions.",
};

function refuse(status: ErrorRoute["status"], reason: string): ErrorRoute {
  return { kind: "error", status, reason };
}

function passing(route: Route): Verdict {
  return { route, absent: [], lasting: false };
}

function redirectToFolder(raw: string, path: FsPath, stats: Stats, absent: readonly FsPath[]): Verdict {
  const location = folderLocation(raw);
  const route: RedirectRoute = { kind: "redirect", status: 301, location };
  const otherwise: RedirectRoute = { kind: "redirect", status: 308, location };
  return { route, otherwise, target: { path, stats }, absent, lasting: true };
}

/**
 * The path as it came plus a slash. Leading slashes become one, and backslashes are escaped: a browser takes
 * `//name/` and `/\name/` for another host.
 */
function folderLocation(raw: string): string {
  const escaped = raw.replace(/[^\x21-\x5b\x5d-\x7e]/g, (character) => encodeCharacter(character));
  return `${escaped.replace(/^\/+/, "/")}/`;
}

function encodeCharacter(character: string): string {
  return [...Buffer.from(character, "utf8")]
    .map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, "0")}`)
    .join("");
}

function scriptBelow(configured: string): string {
  const path = decodePath(`/${toBytes(configured)}`.replaceAll("%", "%25"));
  if (typeof path !== "string" || path.endsWith("/")) {
    throw new PhprunError(
      "CONFIG_INVALID",
      `Cannot use 'php.front_controller': must name a script below the docroot, received "${configured}"`,
    );
  }
  return path;
}
