import type { FileStat, FsPath } from "../route/route.ts";
import type { Validators } from "./conditions.ts";

/** Bytes of our own, as a Response takes them. */
export type Bytes = Uint8Array<ArrayBuffer>;

/** One form of a file that can be sent: the file itself, or a precompressed sibling. Its headers are built once. */
export interface Representation extends Validators {
  readonly path: FsPath;
  readonly stat: FileStat;
  readonly type: string;
  /** The file's bytes, when it is small enough to be kept; else it is sent from disk. */
  readonly bytes: Bytes | null;
  /** Content coding, or null for the file as it is. */
  readonly coding: string | null;
  readonly whole: { readonly headers: Headers };
  readonly head: { readonly headers: Headers };
  readonly notModified: { readonly status: 304; readonly headers: Headers };
}

export interface RepresentationInput {
  readonly path: FsPath;
  readonly stat: FileStat;
  readonly type: string;
  readonly bytes: Bytes | null;
  readonly coding: string | null;
  readonly cacheControl: string | null;
  readonly varies: boolean;
  readonly etag: "strong" | "weak" | "off";
}

export function buildRepresentation(input: RepresentationInput): Representation {
  const { stat, coding, type, bytes, path } = input;
  const lastModifiedMs = Math.floor(stat.mtimeMs / 1000) * 1000;
  const lastModified = new Date(lastModifiedMs).toUTCString();
  const etag = entityTag(input);

  const validators: Record<string, string> = { "Last-Modified": lastModified };
  if (etag !== "") validators["ETag"] = etag;
  if (input.cacheControl !== null) validators["Cache-Control"] = input.cacheControl;
  if (input.varies) validators["Vary"] = "Accept-Encoding";

  const full: Record<string, string> = { "Content-Type": type, ...validators, "Accept-Ranges": "bytes" };
  if (coding !== null) full["Content-Encoding"] = coding;
  const whole = new Headers(full);
  const head = new Headers({ ...full, "Content-Length": String(stat.size) });
  // For the access log; of a file on disk Bun finds out the length when it sends it.
  if (bytes !== null) whole.set("Content-Length", String(bytes.length));
  // Bun adds a malformed `filename=…` to most application/* files sent from disk; "inline" is what no header means.
  if (bytes === null && type.startsWith("application/")) {
    whole.set("Content-Disposition", "inline");
    head.set("Content-Disposition", "inline");
  }

  return {
    path,
    stat,
    type,
    bytes,
    coding,
    etag,
    lastModified,
    lastModifiedMs,
    whole: { headers: whole },
    head: { headers: head },
    notModified: { status: 304, headers: new Headers(validators) },
  };
}

/** Modification time and size, as nginx does, so that several machines with the same files agree. */
function entityTag({ stat, coding, etag }: RepresentationInput): string {
  if (etag === "off") return "";
  const version = `${Math.floor(stat.mtimeMs * 1000).toString(36)}-${stat.size.toString(36)}`;
  const quoted = coding === null ? `"${version}"` : `"${version}-${coding}"`;
  return etag === "weak" ? `W/${quoted}` : quoted;
}

export function isSameVersion(a: FileStat, b: FileStat): boolean {
  return (
    a === b ||
    (a.mtimeMs === b.mtimeMs &&
      a.ctimeMs === b.ctimeMs &&
      a.size === b.size &&
      a.ino === b.ino &&
      a.dev === b.dev)
  );
}
