import { readFileSync, type Stats } from "node:fs";
import { lookUp } from "../route/look-up.ts";
import { htmlHalves, jsonBody, requestIdLine } from "./error-template.ts";
import { prefersJson } from "./prefers-json.ts";

export interface ErrorPageRequest {
  /** The request's `Accept` header. */
  readonly accept: string | null;
  readonly requestId?: string | null;
}

interface CustomPage {
  readonly stats: Stats;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

interface BuiltIn {
  readonly whole: Uint8Array<ArrayBuffer>;
  readonly before: string;
  readonly after: string;
  readonly json: string;
}

const maxPageBytes = 1024 * 1024;
const encoder = new TextEncoder();

/** Answers with a status and a page: JSON for those who prefer it, else the configured file, else the built-in one. */
export class ErrorPages {
  readonly #files: Readonly<Record<number, string>>;
  readonly #custom = new Map<number, CustomPage>();
  readonly #builtIn = new Map<number, BuiltIn>();
  readonly #reported = new Set<number>();
  readonly #onUnreadable: (status: number, file: string) => void;

  /**
   * `files` are HTML pages by status, read when first needed and again when they change. One that cannot be read
   * is reported to `onUnreadable`, once, and the built-in page stands in.
   */
  constructor(
    files: Readonly<Record<number, string>> = {},
    onUnreadable: (status: number, file: string) => void = () => {},
  ) {
    this.#files = files;
    this.#onUnreadable = onUnreadable;
  }

  respond(status: number, request: ErrorPageRequest, extra: Readonly<Record<string, string>> = {}): Response {
    const json = prefersJson(request.accept);
    const headers = new Headers(extra);
    headers.set("Content-Type", json ? "application/json" : "text/html; charset=utf-8");
    headers.set("Cache-Control", "no-store");
    headers.append("Vary", "Accept");
    const requestId = request.requestId ?? null;
    const page = json ? this.#json(status, requestId) : this.#html(status, requestId);
    headers.set("Content-Length", String(Buffer.byteLength(page)));
    return new Response(page, { status, headers });
  }

  #json(status: number, requestId: string | null): string {
    return requestId === null ? this.#builtInFor(status).json : jsonBody(status, requestId);
  }

  #html(status: number, requestId: string | null): Uint8Array<ArrayBuffer> | string {
    const custom = this.#customFor(status);
    if (custom !== undefined) return custom;
    const page = this.#builtInFor(status);
    return requestId === null ? page.whole : page.before + requestIdLine(requestId) + page.after;
  }

  #customFor(status: number): Uint8Array<ArrayBuffer> | undefined {
    const file = this.#files[status];
    if (file === undefined) return undefined;
    const stats = lookUp(file);
    const known = this.#custom.get(status);
    if (known !== undefined && stats !== undefined && stats !== "denied" && isSame(known.stats, stats)) {
      return known.bytes;
    }
    try {
      if (stats === undefined || stats === "denied" || !stats.isFile() || stats.size > maxPageBytes) {
        throw new Error("not a readable file of a sane size");
      }
      const bytes = readFileSync(file);
      this.#custom.set(status, { stats, bytes });
      this.#reported.delete(status);
      return bytes;
    } catch {
      this.#custom.delete(status);
      if (!this.#reported.has(status)) this.#onUnreadable(status, file);
      this.#reported.add(status);
      return undefined;
    }
  }

  #builtInFor(status: number): BuiltIn {
    let page = this.#builtIn.get(status);
    if (page === undefined) {
      const { before, after } = htmlHalves(status);
      page = { before, after, whole: encoder.encode(before + after), json: jsonBody(status, null) };
      this.#builtIn.set(status, page);
    }
    return page;
  }
}

function isSame(a: Stats, b: Stats): boolean {
  return a.ctimeMs === b.ctimeMs && a.mtimeMs === b.mtimeMs && a.size === b.size && a.ino === b.ino;
}
