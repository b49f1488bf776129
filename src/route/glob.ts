import { isIP } from "node:net";
import picomatch from "picomatch";
import { PhprunError } from "../errors.ts";
import { toBytes } from "./docroot.ts";

/** What a glob was read as: null matches everything and needs no test; a string is the rule it breaks. */
type Reading = RegExp | null | string;

/**
 * Compiles a URL pattern: `*` crosses slashes, so `/api/export/*` is the whole subtree; `?` is one byte but not a
 * slash, `{a,b}` alternatives, `[…]` a set. Null for a pattern that matches every path and needs no test.
 *
 * `key` names the configuration key in the error.
 */
export function compileGlob(pattern: string, key: string): RegExp | null {
  return orThrow(readPathGlob(pattern), key);
}

/**
 * Compiles a pattern of host names: `*` crosses dots, so `*.example.com` is every name below it. The result is asked
 * for the Host header as it came: in any case, with or without a port and a final dot.
 */
export function compileHostGlob(pattern: string, key: string): RegExp | null {
  return orThrow(readHostGlob(pattern), key);
}

/** The rule that a pattern breaks: "must be …, received …"; undefined when it is right. */
export const pathGlobFault = (pattern: string): string | undefined => faultOf(readPathGlob(pattern));
export const hostGlobFault = (pattern: string): string | undefined => faultOf(readHostGlob(pattern));

/** Globs of files, as editors and git know them; relative to a folder. */
export function fileGlobFault(pattern: string): string | undefined {
  const what = 'a glob relative to the watched folder, such as "**/*.php"';
  if (pattern.startsWith("/")) return fault(what, pattern, "it starts with /");
  if (pattern.startsWith("!")) return fault(what, pattern, "it starts with !; use watch.ignore");
  return faultOf(compile(pattern, { dot: true }, what));
}

/** Does a path pattern match every path? */
export const matchesEveryPath = (pattern: string): boolean => /^\/?\*{1,2}$/.test(pattern);
export const matchesEveryHost = (pattern: string): boolean => /^\*{1,2}$/.test(pattern);

function readPathGlob(pattern: string): Reading {
  if (matchesEveryPath(pattern)) return null;
  const what = 'a glob such as "/api/*"';
  const why = unknownSyntax(pattern);
  return why === undefined ? compile(pattern, URL_GLOBS, what) : fault(what, pattern, why);
}

function readHostGlob(pattern: string): Reading {
  if (matchesEveryHost(pattern)) return null;
  const what = 'a host name or a glob such as "*.example.com"';
  const literal = /^\[([0-9A-Fa-f:.]+)\]$/.exec(pattern)?.[1];
  if (literal !== undefined && isIP(literal) === 6)
    return new RegExp(`^\\[${literal.replaceAll(".", "\\.")}\\](?::\\d*)?$`, "i");
  const why = hostFault(pattern) ?? unknownSyntax(pattern);
  if (why !== undefined) return fault(what, pattern, why);
  try {
    // `*` and `?` leave the final dot of a full name alone: "a" and "a." are the same host.
    return new RegExp(
      `^(?=.{0,${LONGEST_HOST}}$)${hostSource(pattern.replace(/\.$/, ""))}(?<!\\.)\\.?(?::\\d*)?$`,
      "i",
    );
  } catch {
    return fault(what, pattern, "a set [ ] is not closed, or its range falls");
  }
}

function withoutBraces(pattern: string): string {
  const rest = pattern.replace(/\{[^{}]*\}/g, "");
  return rest === pattern ? rest : withoutBraces(rest);
}

/** Nothing in it takes a colon, so no part of a pattern matches across the port. picomatch promises no such thing. */
function hostSource(pattern: string): string {
  const source = eachToken(pattern);
  if (pattern.includes("{")) return source;
  // See withoutRetries().
  const [first = "", ...rest] = source.split(ANY);
  const last = rest.pop();
  const middle = rest.map((part, i) => `(?=(?<g${i}>[^:]*?${part}))\\k<g${i}>`);
  return `${first}${middle.join("")}${last === undefined ? "" : ANY + last}`;
}

const ANY = "[^:]*";
/** A name of 253 bytes, a dot and a port. What is longer is no host, and is not worth the time. */
const LONGEST_HOST = 253 + ".:65535".length;

function eachToken(pattern: string): string {
  return pattern.replace(/\\.|\[\^?[^\]]*\]|\*+|./g, (token) => {
    if (token.startsWith("*")) return ANY;
    if (token.startsWith("[^")) return `[^:${token.slice(2)}`;
    if (token.startsWith("[")) return token;
    return HOST_TOKENS[token] ?? token.replace(/^\\/, "").replace(/[$()*+.?[\\\]^{|}]/, "\\$&");
  });
}

/** A comma is in no host name but between alternatives. */
const HOST_TOKENS: Readonly<Record<string, string>> = { "?": "[^:]", "{": "(?:", "}": ")", ",": "|" };

function hostFault(pattern: string): string | undefined {
  if (pattern.includes("/")) return "a host has no scheme and no path";
  if (isIP(pattern) === 6) return `write [${pattern}]`;
  if (pattern.includes(":")) return "the port is not compared; leave it out";
  if (/[^\x21-\x7e]/.test(pattern))
    return "a host name is printable ASCII; write others as browsers send them, xn--…";
  if (/\{[^{}]*\.\.[^{}]*\}/.test(pattern)) return "write a set such as [1-3] for a range";
  if (withoutBraces(pattern).includes(",")) return "give each host an item of its own";
  return undefined;
}

const URL_GLOBS = {
  bash: true,
  dot: true,
  nonegate: true,
  noextglob: true,
  strictBrackets: true,
  strictSlashes: true,
} as const;

function compile(pattern: string, options: picomatch.PicomatchOptions, what: string): RegExp | string {
  try {
    const regex = picomatch.makeRe(toBytes(pattern), { strictBrackets: true, ...options });
    // What picomatch gives for a set such as [z-a], which is no regular expression.
    if (regex.source === "$^") return fault(what, pattern, "it can match nothing");
    // A line break is a byte like any other: `/admin/%0A` is below `/admin/`.
    return new RegExp(withoutRetries(pattern, options) ?? regex.source, "s");
  } catch (cause) {
    return fault(what, pattern, cause instanceof Error ? cause.message : String(cause));
  }
}

/**
 * The same, in time that grows with the path alone: between two stars it is enough to find the first place, and a group
 * in a look-ahead is never tried again. Left to itself, `/*\/*\/*.php` takes a path of 8 KiB for 15 seconds. Undefined
 * where parts have no fixed length: `{1..20}`, and `**` beside a slash.
 */
function withoutRetries(pattern: string, options: picomatch.PicomatchOptions): string | undefined {
  const variants =
    /\\|\[|\.\./.test(pattern) && pattern.includes("{") ? undefined : alternatives(toBytes(pattern));
  const sources = variants?.map(
    (each) => picomatch.makeRe(each, { strictBrackets: true, ...options }).source,
  );
  if (sources?.some((source) => source.includes("(?!"))) return undefined; // `**` beside a slash
  return sources
    ?.map((source, v) => {
      const [first = "", ...rest] = source.replace(/^\^\(\?:(.*)\)\$$/s, "$1").split(".*?");
      const last = rest.pop();
      const middle = rest.map((part, i) => `(?=(?<g${v}_${i}>.*?${part}))\\k<g${v}_${i}>`);
      return `^${first}${middle.join("")}${last === undefined ? "" : `.*${last}`}$`;
    })
    .join("|");
}

/** `a{b,c}d` as `abd` and `acd`; undefined for more than a few. */
function alternatives(pattern: string): string[] | undefined {
  let found = [pattern];
  for (;;) {
    const next = found.flatMap((each) => {
      const inner = /\{([^{}]*)\}/.exec(each);
      if (inner === null) return [each];
      const [before, after] = [each.slice(0, inner.index), each.slice(inner.index + inner[0].length)];
      return (inner[1] ?? "").split(",").map((part) => before + part + after);
    });
    if (next.length > MOST_ALTERNATIVES) return undefined;
    if (next.length === found.length && next.every((each, i) => each === found[i])) return next;
    found = next;
  }
}

const MOST_ALTERNATIVES = 64;

/** Syntax of other servers and routers, which would be taken for plain characters or, worse, for something else. */
function unknownSyntax(pattern: string): string | undefined {
  if (/^(?:[^\\]|\\.)*\\$/.test(pattern)) return "it ends in a backslash";
  const unescaped = pattern.replace(/\\./g, "x");
  if (unescaped.includes("[!")) return "write [^…] for a set of what must not be there";
  const bare = unescaped.replace(/\[[^\]]*\]/g, "x");
  if (/[()|]/.test(bare)) return "unknown syntax ( ) |; write {a,b} for alternatives";
  if (/\/:[A-Za-z_]/.test(bare)) return "unknown syntax /:name; write /*";
  if (/\{(?![^{}]*\.\.)[^{},]*\}/.test(bare)) return "braces hold alternatives, such as {a,b}";
  if (hasLoneBrace(bare)) return "a brace has no partner";
  return undefined;
}

function hasLoneBrace(text: string): boolean {
  let depth = 0;
  for (const character of text) {
    if (character === "{") depth++;
    else if (character === "}" && --depth < 0) return true;
  }
  return depth !== 0;
}

const fault = (what: string, pattern: string, why: string): string =>
  `must be ${what}, received ${JSON.stringify(pattern)} (${why})`;

const faultOf = (reading: Reading): string | undefined => (typeof reading === "string" ? reading : undefined);

function orThrow(reading: Reading, key: string): RegExp | null {
  if (typeof reading === "string") throw new PhprunError("CONFIG_INVALID", `Cannot use '${key}': ${reading}`);
  return reading;
}
