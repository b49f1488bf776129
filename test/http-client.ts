/** HTTP clients for tests: a raw socket that sends any bytes at all, and curl. */
import { createConnection, type Socket } from "node:net";

const PATIENCE_MS = 10_000;

export interface HttpResponse {
  /** 0 when the connection was closed without an answer. */
  readonly status: number;
  readonly statusLine: string;
  /** In the order and spelling in which they came. */
  readonly headers: readonly (readonly [string, string])[];
  /** Without the chunks' framing. */
  readonly body: Buffer;
  /** The body as a byte string. */
  readonly text: string;
  /** Did it end where its framing says it does? */
  readonly whole: boolean;
  /** The first header of this name, in any case. */
  header(name: string): string | undefined;
  all(name: string): string[];
}

/** A TCP or unix-socket connection. Strings are bytes (latin1). */
export class Connection implements Disposable {
  closed = false;
  readonly #socket: Socket;
  #received: Buffer = Buffer.alloc(0);
  #waiting: (() => void)[] = [];

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("data", (bytes: Buffer) => {
      this.#received = this.#received.length === 0 ? bytes : Buffer.concat([this.#received, bytes]);
      this.#changed();
    });
    socket.on("error", () => this.#close());
    socket.on("end", () => this.#close());
    socket.on("close", () => this.#close());
  }

  /** `url` as the server's banner tells it: `http://host:port` or `unix:/path`. */
  static async open(url: string): Promise<Connection> {
    const socket = createConnection(addressOf(url));
    await new Promise<void>((resolve, reject) => {
      socket.once("connect", resolve);
      socket.once("error", reject);
    });
    socket.setNoDelay(true);
    return new Connection(socket);
  }

  /** What has come and has not been taken. */
  get received(): string {
    return this.#received.toString("latin1");
  }

  /** Resolves when the bytes have been handed to the kernel, or the peer is gone. */
  async send(data: string | Uint8Array): Promise<void> {
    const bytes = typeof data === "string" ? Buffer.from(data, "latin1") : data;
    if (this.closed) return;
    await new Promise<void>((resolve) => {
      this.#waiting.push(() => this.closed && resolve());
      this.#socket.write(bytes, () => resolve());
    });
  }

  /** Ends our side; the peer can still answer. */
  endSending(): void {
    this.#socket.end();
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  /** Waits until what was received and not taken satisfies the condition. */
  async until(
    condition: RegExp | ((received: string) => boolean),
    what = String(condition),
  ): Promise<string> {
    const met = typeof condition === "function" ? condition : (text: string) => condition.test(text);
    await this.#wait(() => met(this.received), what);
    return this.received;
  }

  /** Takes one response off the connection, past interim ones (1xx). */
  async response(method = "GET"): Promise<HttpResponse> {
    for (;;) {
      let end = -1;
      await this.#wait(
        () => this.closed || (end = messageEnd(this.#received, method, false)) >= 0,
        "a whole response",
      );
      if (end < 0) end = messageEnd(this.#received, method, true);
      const response = parseResponse(this.#received.subarray(0, end), method);
      this.#received = this.#received.subarray(end);
      if (response.status >= 200 || response.status === 0) return response;
    }
  }

  /** Waits until the peer has closed; what it sent before that stays in `received`. */
  async end(patienceMs = PATIENCE_MS): Promise<void> {
    await this.#wait(() => this.closed, "the connection is closed", patienceMs);
  }

  /** Leaves without a word. */
  close(): void {
    this.#socket.destroy();
    this.#close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  async #wait(condition: () => boolean, what: string, patienceMs = PATIENCE_MS): Promise<void> {
    const deadline = AbortSignal.timeout(patienceMs);
    deadline.addEventListener("abort", () => this.#changed());
    while (!condition()) {
      if (deadline.aborted || this.closed) {
        const why = this.closed ? "The connection was closed" : `${patienceMs / 1000} s went by`;
        throw new Error(`${why} before: ${what}. Received: ${JSON.stringify(this.received.slice(0, 2000))}`);
      }
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  #close(): void {
    this.closed = true;
    this.#changed();
  }

  #changed(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }
}

/** Sends bytes on a connection of its own and takes the answer. */
export async function raw(url: string, bytes: string | Uint8Array, method = "GET"): Promise<HttpResponse> {
  using connection = await Connection.open(url);
  await connection.send(bytes);
  return await connection.response(method);
}

function addressOf(url: string): { path: string } | { host: string; port: number } {
  if (url.startsWith("unix:")) return { path: url.slice("unix:".length) };
  const { hostname, port } = new URL(url);
  const host = hostname === "localhost" ? "127.0.0.1" : hostname.replace(/^\[(.*)\]$/, "$1");
  return { host, port: Number(port) };
}

/** Where the first message ends, -1 while it is not whole. `closed`: nothing more will come. */
function messageEnd(bytes: Buffer, method: string, closed: boolean): number {
  const headEnd = bytes.indexOf("\r\n\r\n");
  if (headEnd < 0) return closed ? bytes.length : -1;
  const { status, header } = parseHead(bytes.toString("latin1", 0, headEnd));
  const start = headEnd + 4;
  if (status < 200 || status === 204 || status === 304 || method === "HEAD") return start;
  if (/chunked/i.test(header("transfer-encoding") ?? "")) {
    const { end } = dechunk(bytes.subarray(start));
    return end >= 0 ? start + end : closed ? bytes.length : -1;
  }
  const length = header("content-length");
  if (length === undefined) return closed ? bytes.length : -1;
  const end = start + Number(length);
  return bytes.length >= end ? end : closed ? bytes.length : -1;
}

export function parseResponse(bytes: Buffer, method = "GET"): HttpResponse {
  const headEnd = bytes.indexOf("\r\n\r\n");
  const head = parseHead(bytes.toString("latin1", 0, headEnd < 0 ? 0 : headEnd));
  let body = headEnd < 0 ? Buffer.alloc(0) : bytes.subarray(headEnd + 4);
  let whole = headEnd >= 0;
  if (/chunked/i.test(head.header("transfer-encoding") ?? "") && method !== "HEAD") {
    const chunks = dechunk(body);
    whole = chunks.end >= 0;
    body = chunks.body;
  } else if (head.header("content-length") !== undefined && method !== "HEAD" && head.status !== 304) {
    whole = body.length === Number(head.header("content-length"));
  }
  return { ...head, body, whole, text: body.toString("latin1") };
}

function parseHead(text: string): Pick<HttpResponse, "status" | "statusLine" | "headers" | "header" | "all"> {
  const [statusLine = "", ...lines] = text.split("\r\n");
  const headers = lines.map((line) => {
    const colon = line.indexOf(":");
    return [line.slice(0, colon), line.slice(colon + 1).trim()] as const;
  });
  const all = (name: string) =>
    headers.filter(([other]) => other.toLowerCase() === name.toLowerCase()).map(([, value]) => value);
  const status = Number(/^HTTP\/\d\.\d (\d{3})/.exec(statusLine)?.[1] ?? 0);
  return { status, statusLine, headers, all, header: (name) => all(name)[0] };
}

/** `end` is behind the last chunk, -1 when that has not come. */
function dechunk(bytes: Buffer): { body: Buffer; end: number } {
  const parts: Buffer[] = [];
  for (let at = 0; ;) {
    const line = bytes.indexOf("\r\n", at);
    const size = line < 0 ? Number.NaN : Number.parseInt(bytes.toString("latin1", at, line), 16);
    if (Number.isNaN(size)) return { body: Buffer.concat(parts), end: -1 };
    parts.push(bytes.subarray(line + 2, line + 2 + size));
    at = line + 2 + size + 2;
    if (at > bytes.length) return { body: Buffer.concat(parts), end: -1 };
    if (size === 0) return { body: Buffer.concat(parts), end: at };
  }
}

/** Runs curl; interim responses and redirects that it followed are left out. */
export async function curl(...args: string[]): Promise<HttpResponse & { readonly exitCode: number }> {
  const child = Bun.spawn(["curl", "-sS", "-i", "--max-time", "15", ...args], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  const [out, error, exitCode] = await Promise.all([child.stdout.bytes(), child.stderr.text(), child.exited]);
  let bytes = Buffer.from(out);
  for (;;) {
    const end = bytes.indexOf("\r\n\r\n");
    const next = bytes.subarray(end + 4, end + 9).toString("latin1");
    if (end < 0 || next !== "HTTP/") break;
    bytes = bytes.subarray(end + 4);
  }
  if (bytes.length === 0 && exitCode !== 0 && exitCode !== 52) throw new Error(`curl: ${error}`);
  // curl has taken the chunks apart already.
  const head = bytes.indexOf("\r\n\r\n");
  const text = bytes.toString("latin1", 0, head).replace(/\r\ntransfer-encoding:[^\r]*/i, "");
  const response = parseResponse(
    Buffer.concat([Buffer.from(`${text}\r\n\r\n`, "latin1"), bytes.subarray(head + 4)]),
  );
  return { ...response, exitCode };
}
