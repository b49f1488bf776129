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
    const places = [...redeclared(code), ...onceOnly(code, source)].sort((a, b) => a.offset - b.offset);
    faults.push(...places.map(({ offset, what }) => ({ where: where(offset), what })));
    for (const next of required(code, source)) {
      const path = join(dirname(file), next);
      if (seen.size < MAX_FILES && !path.startsWith("..")) seen.add(path);
    }
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
    if (begin && depth === 0 && parens === 0 && /[\w#$\\]/.test(char)) {
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

const ONCE = /\b(require_once|include_once)\b([^;]*)/g;
/** Composer's own file, and hand-written ones like it: nothing is lost when they are not run again. */
const AUTOLOADER = /autoload\w*\.php['"]\s*\)*\s*$/;

/** `require_once` does nothing the second time: neither the variables nor the output of that file are there again. */
function onceOnly(code: string, source: string): Place[] {
  return [...code.matchAll(ONCE)].flatMap((match) => {
    const offset = match.index;
    const keyword = match[1] ?? "";
    const target = source.slice(offset + keyword.length, offset + match[0].length).trim();
    const isValue = /(?:[=(?:,]|=>|\breturn)\s*$/.test(code.slice(Math.max(0, offset - 40), offset));
    if (isValue) return [{ offset, what: `it uses the value of ${keyword}, which is true the second time` }];
    if (AUTOLOADER.test(target)) return [];
    return [{ offset, what: `${keyword} ${short(target)} does nothing the second time` }];
  });
}

const REQUIRE = /\b(?:require|include)\b([^;]*)/g;

/** Files that are run each time, as far as their names can be read: relative to the script's folder. */
function required(code: string, source: string): string[] {
  return [...code.matchAll(REQUIRE)].flatMap((match) => {
    const end = match.index + match[0].length;
    const path = literalPath(source.slice(end - (match[1] ?? "").length, end));
    return path === undefined || path.split("/").includes("vendor") ? [] : [path];
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

const short = (text: string): string => {
  const line = text.replaceAll(/\s+/g, " ");
  return line.length > 50 ? `${line.slice(0, 47)}...` : line;
};
