import type { Stats } from "node:fs";

/** A path for `node:fs`: a string when it is ASCII, else its bytes. */
export type FsPath = string | Buffer<ArrayBuffer>;

/** One PHP script. The object stays the same for as long as the script is known, whatever URL led to it. */
export interface Script {
  readonly filename: string;
  readonly name: string;
  /** Free for the caller: what it works out once per script, such as a prepared block of variables. */
  memo: string | undefined;
}

export interface ScriptRoute {
  readonly kind: "script";
  /** Byte string: the docroot as configured plus the name. */
  readonly scriptFilename: string;
  readonly scriptName: string;
  readonly pathInfo: string;
  readonly script: Script;
}

/** What identifies a version of a file. */
export type FileStat = Readonly<Pick<Stats, "size" | "mtimeMs" | "ctimeMs" | "ino" | "dev">>;

export interface FileRoute {
  readonly kind: "file";
  readonly path: FsPath;
  /** Byte string, decoded. */
  readonly urlPath: string;
  readonly stat: FileStat;
}

export interface RedirectRoute {
  readonly kind: "redirect";
  readonly status: 301 | 308;
  /** A path, percent-encoded; the caller adds the query. */
  readonly location: string;
}

export interface ErrorRoute {
  readonly kind: "error";
  readonly status: 400 | 403 | 404 | 414 | 503;
  /** For the log, not for the client. */
  readonly reason: string;
  /** What to change if it should be served; only where the cause is a setting or a permission. */
  readonly remedy?: string;
}

/** Where a request goes. Unchanged requests get the same object again, so work may be hung on it. */
export type Route = ScriptRoute | FileRoute | RedirectRoute | ErrorRoute;
