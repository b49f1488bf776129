import { parseHttpDate } from "./http-date.ts";

/** What a client may compare its copy with. */
export interface Validators {
  /** With its quotes, and `W/` when weak; empty when entity tags are off. */
  readonly etag: string;
  readonly lastModified: string;
  /** Whole seconds, as in the header. */
  readonly lastModifiedMs: number;
}

export type Verdict = "send" | "not-modified" | "failed";

/** RFC 9110 §13.2.2, in its order. For GET and HEAD. */
export function evaluateConditions(headers: Headers, file: Validators): Verdict {
  const ifMatch = headers.get("if-match");
  if (ifMatch !== null) {
    if (!matches(ifMatch, file.etag, "strong")) return "failed";
  } else {
    const unmodifiedSince = headers.get("if-unmodified-since");
    if (unmodifiedSince !== null && file.lastModifiedMs > parseHttpDate(unmodifiedSince)) return "failed";
  }
  const ifNoneMatch = headers.get("if-none-match");
  if (ifNoneMatch !== null) return matches(ifNoneMatch, file.etag, "weak") ? "not-modified" : "send";
  const modifiedSince = headers.get("if-modified-since");
  if (modifiedSince === null) return "send";
  if (modifiedSince === file.lastModified) return "not-modified";
  return file.lastModifiedMs <= parseHttpDate(modifiedSince) ? "not-modified" : "send";
}

/** RFC 9110 §13.1.5: a Range counts only if the client's part is of exactly this version. */
export function rangeStillApplies(ifRange: string | null, file: Validators, nowMs: number): boolean {
  if (ifRange === null) return true;
  const tag = ifRange.trim();
  if (tag.startsWith('"')) return tag === file.etag;
  // A date says something only once the second it names is over. Weak tags never match.
  return parseHttpDate(tag) === file.lastModifiedMs && nowMs - file.lastModifiedMs >= 1000;
}

function matches(list: string, etag: string, comparison: "strong" | "weak"): boolean {
  if (list === etag) return comparison === "weak" || !etag.startsWith("W/");
  if (list.trim() === "*") return true;
  if (etag === "" || (comparison === "strong" && etag.startsWith("W/"))) return false;
  const opaque = withoutWeak(etag);
  for (const [tag] of list.matchAll(/(?:W\/)?"[\x21\x23-\x7e\x80-\xff]*"/g)) {
    if (comparison === "strong" ? tag === etag : withoutWeak(tag) === opaque) return true;
  }
  return false;
}

function withoutWeak(tag: string): string {
  return tag.startsWith("W/") ? tag.slice(2) : tag;
}
