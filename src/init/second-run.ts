import { dirname, join } from "node:path";
import type { Folder } from "./folder.ts";
import { codeOnly } from "./php-code.ts";

/** Something in a script that works the first time only: a worker would run it again for every request. */
export interface Fault {
  /** `public/index.php:12` */
  readonly where: string;
  readonly what: string;
}

/** Scripts that are followed from one index.php; beyond that there is enough to tell already. */
const MAX_FILES = 40;

/**
 * Why a script cannot simply be run again and again by one PHP. Finds what can be seen without running it: an empty list
 * is no promise.
 */
export function findFaults(folder: Folder, script: string): Fault[] {
  const faults: Fault[] = [];
  const seen = new Set([script]);
  // A set gives what is added while it is walked, too.
  for (const file of seen) {
    const source = folder.read(file);
    if (source === null) continue;
    const code = codeOnly(source);
    const where = (offset: number) => `${file}:${source.slice(0, offset).split("\n").length}`;
    const loaded = loads(code, source, dirname(file));
    const harmful = loaded.filter(
      ({ path, once }) => once && (path === undefined || !declaresOnly(folder, path)),
    );
    const places = [...redeclared(code), ...usedValues(code), ...harmful.map(onceOnly)];
    places.sort((a, b) => a.offset - b.offset);
    faults.push(...places.map(({ offset, what }) => ({ where: where(offset), what })));
    for (const { path, once } of loaded)
      if (!once && path !== undefined && seen.size < MAX_FILES) seen.add(path);
  }
  return faults;
}

interface Place {
  readonly offset: number;
  readonly what: string;
}

const DECLARATION =
  /^(?:(?:#\[[^\]]*\]|abstract|final|readonly)\s+)*(function|class|interface|trait|enum|const|define)\b\s*&?\s*(\w+)?/;

/** What stands outside every block is declared each time the file is run; PHP allows that once. */
function redeclared(code: string): Place[] {
  return statements(code).flatMap(({ offset, text }) => {
    const [, keyword = "", name = ""] = DECLARATION.exec(text) ?? [];
    if (keyword === "") return [];
    if (keyword === "const" || keyword === "define")
      return [{ offset, what: "it defines a constant, which keeps its first value and warns from then on" }];
    return name === ""
      ? []
      : [{ offset, what: `it declares ${keyword} ${name}, and to declare it again ends the worker` }];
  });
}

/** Statements outside all blocks, by their beginnings. The braces of a namespace are no block in this sense. */
function statements(code: string): Statement[] {
  const found: Statement[] = [];
  const blocks: boolean[] = [];
  let depth = 0;
  let parens = 0;
  let begin = true;
  for (let at = 0; at < code.length; at++) {
    const char = code[at] ?? "";
    if (/\s/.test(char)) continue;
    if (begin && depth === 0 && parens === 0 && !";{}".includes(char)) {
      found.push({ offset: at, text: code.slice(at, at + 300) });
      begin = false;
    }
    if (char === "(" || char === "[") parens++;
    else if (char === ")" || char === "]") parens--;
    else if (char === ";") begin = true;
    else if (char === "{") {
      const counts = !/\bnamespace\b[\s\w\\]*$/.test(code.slice(Math.max(0, at - 200), at));
      blocks.push(counts);
      if (counts) depth++;
      begin = true;
    } else if (char === "}") {
      if (blocks.pop() === true) depth--;
      begin = true;
    }
  }
  return found;
}

interface Statement {
  readonly offset: number;
  /** How it begins. */
  readonly text: string;
}

/** A place where a script has another file run. */
interface Load {
  readonly offset: number;
  readonly once: boolean;
  /** As it is written. */
  readonly text: string;
  /** Relative to the application's folder; undefined when only PHP knows. */
  readonly path: string | undefined;
}

const LOAD = /(?<![$>:\w\\])(?:require|include)(_once)?\b([^;]*)/g;
/** Composer's own file, and hand-written ones like it: nothing is lost when they are not run again. */
const AUTOLOADER = /autoload\w*\.php['"]\s*\)*\s*$/;

/** The files that are run, but for autoloaders and what they look after. */
function loads(code: string, source: string, base: string): Load[] {
  return [...code.matchAll(LOAD)].flatMap((match) => {
    const end = match.index + match[0].length;
    const text = source.slice(end - (match[2] ?? "").length, end).trim();
    if (AUTOLOADER.test(text)) return [];
    const named = literalPath(text);
    const path = named === undefined ? undefined : join(base, named);
    if (path?.split("/").includes("vendor") === true) return [];
    return [
      {
        offset: match.index,
        once: match[1] !== undefined,
        text: oneLine(source.slice(match.index, end)),
        path: path?.startsWith("..") === true ? undefined : path,
      },
    ];
  });
}

/** The second time neither the variables nor the output of that file are there again. */
function onceOnly({ offset, text }: Load): Place {
  return { offset, what: `${text} does nothing the second time` };
}

const VALUE_OF_ONCE = /(?:[=(?,]|(?<!:):|\breturn)\s*((?:require|include)_once)\b/g;

function usedValues(code: string): Place[] {
  return [...code.matchAll(VALUE_OF_ONCE)].map((match) => ({
    offset: match.index + match[0].length - (match[1] ?? "").length,
    what: `it uses the value of ${match[1]}, which is true the second time`,
  }));
}

const HARMLESS =
  /^(?:namespace|use|declare|\\?spl_autoload_register|if\s*\(\s*!\s*\\?(?:function|class|interface|trait|enum)_exists|if\s*\(\s*!\s*\\?defined)\b/;

/** Does a file do nothing but declare functions, classes and constants? Then once is just right. */
function declaresOnly(folder: Folder, path: string, seen = new Set<string>()): boolean {
  if (seen.has(path)) return true;
  seen.add(path);
  const source = folder.read(path);
  if (source === null || seen.size > MAX_FILES) return false;
  const code = codeOnly(source);
  const loaded = new Map(loads(code, source, dirname(path)).map((load) => [load.offset, load]));
  return statements(code).every(({ offset, text }) => {
    if (HARMLESS.test(text) || DECLARATION.test(text)) return true;
    if (!/^(?:require|include)(?:_once)?\b/.test(text)) return false;
    const load = loaded.get(offset);
    return load === undefined || (load.path !== undefined && declaresOnly(folder, load.path, seen));
  });
}

/** `__DIR__ . '/a.php'`, `dirname(__DIR__) . '/a.php'` or `'a.php'`, in brackets or not. */
function literalPath(expression: string): string | undefined {
  const match =
    /^[\s(]*(?:(__DIR__|dirname\(\s*(?:__FILE__|__DIR__)\s*\))\s*\.\s*)?(['"])([^'"$]+)\2[\s)]*$/.exec(
      expression,
    );
  if (match === null) return undefined;
  const [, base, , path = ""] = match;
  return base?.startsWith("dirname") === true && base.includes("__DIR__") ? `../${path}` : path;
}

const oneLine = (text: string): string => {
  const line = text.replaceAll(/\s+/g, " ");
  return line.length > 60 ? `${line.slice(0, 57)}...` : line;
};
