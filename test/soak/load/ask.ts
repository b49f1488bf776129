import type { Answer } from "./answer.ts";

/** What an answer must be. */
export interface Expected {
  readonly status: number;
  /** The first line of a sealed body; null when the body carries none. */
  readonly line: string | null;
  /** CRC-32 of a body that is known beforehand; null when it is not. */
  readonly crc: number | null;
  /** What is wrong with what stands between the first line and the seal; null when nothing is. */
  readonly check?: Check | undefined;
}

type Check = (content: string) => string | null;

/** One request, ready to be sent. */
export interface Ask {
  /** For the report. */
  readonly kind: string;
  readonly head: string;
  readonly body: Uint8Array | null;
  readonly expected: Expected;
  /** What is wrong with what has come, head and body, be it an answer, an error page or a part. */
  readonly look?: (answer: Answer) => string | null;
  /** Leave as soon as so many bytes of the body have come. */
  readonly leaveAfter?: number;
  /** May the answer be cut off in its body, unless there was time to give it the status that is expected? */
  readonly cut?: boolean;
}

const NOTHING = new Uint8Array(0);
const run = Math.floor(Math.random() * 36 ** 5).toString(36);
let last = 0;

export interface AskOptions {
  readonly method?: "GET" | "POST";
  readonly status?: number;
  readonly body?: Uint8Array;
  /** Send the body as one file of a form. */
  readonly asFile?: boolean;
  /** "none": nothing is known of the body, as of an error page. A number: its CRC-32. */
  readonly answer?: "sealed" | "none" | number;
  /** Looks at a sealed body that is otherwise right. */
  readonly check?: Check;
}

/**
 * A request with a token of its own. The script answers with the token and a checksum of all it received
 * (docroot/_seal.php), so that an answer that was meant for somebody else, or is not whole, cannot look right.
 */
export function ask(kind: string, path: string, options: AskOptions = {}): Ask {
  const { method = options.body === undefined ? "GET" : "POST", body = null, answer = "sealed" } = options;
  const token = `${run}-${++last}`;
  const uri = `${path}${path.includes("?") ? "&" : "?"}t=${token}`;
  const content = body ?? NOTHING;
  const sent = body !== null && options.asFile === true ? form(body) : body;
  const type = options.asFile === true ? FORM_TYPE : "application/octet-stream";
  const ofBody = sent === null ? "" : `Content-Type: ${type}\r\nContent-Length: ${sent.length}\r\n`;
  return {
    kind,
    head: `${method} ${uri} HTTP/1.1\r\nHost: localhost\r\nX-Token: ${token}\r\n${ofBody}\r\n`,
    body: sent,
    expected: {
      status: options.status ?? 200,
      line: answer === "sealed" ? firstLine(method, uri, token, content) : null,
      crc: typeof answer === "number" ? answer : null,
      check: options.check,
    },
  };
}

/** With which docroot/_seal.php begins its answer to a request. */
export function firstLine(method: string, uri: string, token: string, content: Uint8Array): string {
  let sum = Bun.hash.crc32(`${method} ${uri} ${token}\n`);
  if (content.length > 0) sum = Bun.hash.crc32(content, sum);
  return `${token} ${hex(sum)}\n`;
}

/** What is wrong with a body; null when nothing is. */
export function faultOf({ line, crc, check }: Expected, body: Buffer): string | null {
  if (crc !== null && Bun.hash.crc32(body) !== crc) return `another file, or a part of it: ${start(body)}`;
  if (line === null) return null;
  const sealAt = body.length - 8;
  if (sealAt < line.length || body.toString("latin1", 0, line.length) !== line) {
    return `not the answer to this request, which starts with ${JSON.stringify(line)}: ${start(body)}`;
  }
  if (hex(Bun.hash.crc32(body.subarray(0, sealAt))) !== body.toString("latin1", sealAt, body.length)) {
    return `its seal does not fit: ${start(body)} … ${JSON.stringify(body.toString("latin1", sealAt, body.length))}`;
  }
  return check?.(body.toString("utf8", line.length, sealAt)) ?? null;
}

const BOUNDARY = "----soak-7d91b3";
export const FORM_TYPE = `multipart/form-data; boundary=${BOUNDARY}`;

/** A form with one file. */
export function form(file: Uint8Array, name = "a.bin"): Uint8Array {
  const head = `--${BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="${name}"\r\nContent-Type: application/octet-stream\r\n\r\n`;
  return Buffer.concat([Buffer.from(head), file, Buffer.from(`\r\n--${BOUNDARY}--\r\n`)]);
}

function hex(sum: number): string {
  return sum.toString(16).padStart(8, "0");
}

function start(body: Buffer): string {
  return `${body.length} bytes, ${JSON.stringify(body.toString("latin1", 0, Math.min(80, body.length)))}`;
}
