/** The head of a response, as PHP sent it. */
export interface ResponseHead {
  /** For `new Response()`, which copies it. */
  readonly headers: Headers;
  /** PHP's own Content-Length, if it sent one; not among the headers. */
  readonly contentLength: string | null;
  /** A header that asks the server to send a file in place of the body, which phprun does not do. */
  readonly handOver: string | null;
}

/** What belongs to the connection, which is ours and not the script's (RFC 9110, section 7.6.1). */
const HOP_BY_HOP = new Set(["connection", "keep-alive", "transfer-encoding", "upgrade", "trailer", "te"]);

/** Meant for the server, and full of paths that are nobody else's business. */
const HAND_OVER = new Set(["x-accel-redirect", "x-sendfile", "x-lighttpd-send-file"]);

/** Heads repeat: most scripts send the same Content-Type and nothing else. */
const known = new Map<string, ResponseHead>();
const REMEMBERED = 256;
const REMEMBERED_LENGTH = 512;

/**
 * `text` is name, NUL, value, NUL, …: a byte string from the slot. Throws when a value has bytes that no header
 * may have (RFC 9110, section 5.5).
 */
export function parseResponseHead(text: string): ResponseHead {
  const remembered = known.get(text);
  if (remembered !== undefined) return remembered;
  const parts = text.split("\0");
  const headers = new Headers();
  let contentLength: string | null = null;
  let handOver: string | null = null;
  for (let i = 0; i + 1 < parts.length; i += 2) {
    const name = parts[i] ?? "";
    const value = parts[i + 1] ?? "";
    const lower = name.toLowerCase();
    if (lower === "content-length") contentLength = value;
    else if (HAND_OVER.has(lower)) handOver = name;
    else if (!HOP_BY_HOP.has(lower)) headers.append(name, value);
  }
  const head = { headers, contentLength, handOver };
  if (text.length <= REMEMBERED_LENGTH) {
    if (known.size >= REMEMBERED) known.clear();
    known.set(text, head);
  }
  return head;
}

/** Statuses that have no body (RFC 9110, sections 15.3.5, 15.3.6, 15.4.5). */
export function hasNoBody(status: number): boolean {
  return status === 204 || status === 205 || status === 304 || status === 101;
}

/** Bun sends 200–599; a script that asks for anything else has failed. */
export function isSendable(status: number): boolean {
  return status >= 200 && status <= 599;
}
