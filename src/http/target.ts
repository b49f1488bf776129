/** The request target, taken out of Bun's `request.url` without `new URL()`, which throws on what Bun lets through. */
export interface Target {
  /** Percent-encoded path, beginning with "/". */
  readonly path: string;
  /** Without its "?". */
  readonly query: string;
  /** Path and query, as REQUEST_URI has them. */
  readonly uri: string;
}

/** `url` is absolute (`http://host/path?query`), or relative when the request had no usable Host. */
export function parseTarget(url: string): Target {
  const start = url.charCodeAt(0) === SLASH ? 0 : url.indexOf("/", url.indexOf("//") + 2);
  if (start < 0) return { path: "/", query: "", uri: "/" };
  const hash = url.indexOf("#", start);
  const end = hash < 0 ? url.length : hash;
  const mark = url.indexOf("?", start);
  const uri = url.slice(start, end);
  if (mark < 0 || mark >= end) return { path: uri, query: "", uri };
  return { path: url.slice(start, mark), query: url.slice(mark + 1, end), uri };
}

const SLASH = 47;
