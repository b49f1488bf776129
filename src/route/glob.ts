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
    return new RegExp(`^${hostSource(pattern.replace(/\.$/, ""))}(?<!\\.)\\.?(?::\\d*)?$`, "i");
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
  return pattern.replace(/\\.|\[\^?[^\]]*\]|\*+|./g, (token) => {
    if (token.startsWith("*")) return "[^:]*";
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
    return regex.source === "$^" ? fault(what, pattern, "it can match nothing") : regex;
  } catch (cause) {
    return fault(what, pattern, cause instanceof Error ? cause.message : String(cause));
  }
}

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
