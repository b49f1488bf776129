import { Outcome, Phase, RequestOption } from "../../ffi/layout.ts";
import type { SlotNews } from "../../ffi/pool-memory.ts";
import type { LogFields } from "../log/log.ts";
import type { Job, Loss, Refusal } from "../pool/job.ts";
import type { Pool } from "../pool/pool.ts";
import { BodyStream } from "./body-stream.ts";
import type { RequestBody } from "./request-body.ts";
import type { RequestBlock } from "./request-block.ts";
import { hasNoBody, isSendable, parseResponseHead } from "./response-head.ts";

/** What was asked, as far as the exchange and the logs need it. */
export interface Asked {
  readonly request: Request;
  readonly method: string;
  /** Path and query, as received. */
  readonly uri: string;
  readonly scriptFilename: string;
  readonly remoteAddr: string;
  readonly protocol: string;
  readonly requestId: string | null;
  readonly https: boolean;
  readonly startedMs: number;
}

/** What an exchange needs of the front. */
export interface ExchangeHost {
  readonly sendTimeoutMs: number;
  /** Value of the Server header; null for none. */
  readonly serverHeader: string | null;
  /** The error page for a status. */
  refuse(exchange: Exchange, status: number, headers?: Record<string, string>): Response;
  /** The exchange is over, as far as the client is concerned. */
  done(exchange: Exchange, status: number, bytes: number): void;
  warn(exchange: Exchange, message: string, fields?: Record<string, string | number>): void;
}

/** Requests that run longer than this are watched for a client that leaves. */
const WATCH_AFTER_MS = 100;
/** nginx's status for a client that closed its connection first; never sent, only logged. */
const CLIENT_CLOSED_REQUEST = 499;
const RETRY_AFTER_SECONDS = "1";

let lastNumber = 0;

/** One request that PHP answers, from its dispatch to the last byte. */
export class Exchange implements Job {
  readonly number = (lastNumber = (lastNumber + 1) >>> 0);
  readonly response: Promise<Response>;
  readonly host: ExchangeHost;
  readonly pool: Pool;
  readonly asked: Asked;
  settled = false;

  readonly #block: RequestBlock;
  readonly #body: RequestBody | null;
  readonly #resolve: (response: Response) => void;
  #slot = -1;
  #stream: BodyStream | undefined;
  #status = 0;
  #watched = false;
  #ended = false;
  #logged = false;

  constructor(
    host: ExchangeHost,
    pool: Pool,
    asked: Asked,
    block: RequestBlock,
    body: RequestBody | null,
  ) {
    this.host = host;
    this.pool = pool;
    this.asked = asked;
    this.#block = block;
    this.#body = body;
    const { promise, resolve } = Promise.withResolvers<Response>();
    this.response = promise;
    this.#resolve = resolve;
  }

  get stalled(): boolean {
    return this.#stream?.stalled === true;
  }

  get about(): LogFields {
    const { scriptFilename, uri, requestId } = this.asked;
    return { script: scriptFilename, uri, ...(requestId === null ? {} : { request_id: requestId }) };
  }

  start(slot: number): void {
    this.#slot = slot;
    const { memory } = this.pool;
    const at = memory.requestAt(slot);
    const blockBytes = memory.bytes.latin1Write(this.#block.text, at, memory.requestBytes);
    const body = this.#body;
    if (body?.kind === "memory") memory.bytes.set(body.bytes, at + blockBytes);
    memory.describe(slot, {
      id: this.number,
      blockBytes,
      blockValues: this.#block.values,
      bodyInline: body?.kind !== "spooled",
      bodyBytes: body === null ? 0 : body.kind === "memory" ? body.bytes.length : body.region.bytes,
      bodyOffset: body?.kind === "spooled" ? body.region.offset : blockBytes,
      options: this.asked.https ? RequestOption.https : 0,
    });
  }

  news(news: SlotNews): boolean {
    this.#ended = news.phase === Phase.ended;
    if (this.#ended) this.#giveBody();
    const complete = this.#ended || news.phase === Phase.responded;
    if (this.#stream !== undefined) {
      const cut = (news.outcome & Outcome.truncated) !== 0;
      if (cut) this.host.warn(this, "the response was cut short: the script failed after part of it had been sent");
      return this.#stream.news(news, complete, cut, () => {
        if (this.#ended) this.pool.release(this.#slot);
      });
    }
    if (this.settled) return true;
    if (complete) {
      this.#answerWhole(news);
    } else if (news.outcome & Outcome.head) {
      this.#answerStreaming(news);
    }
    return this.#stream === undefined;
  }

  tick(nowMs: number): void {
    if (this.#stream !== undefined) this.#checkReader(this.#stream, nowMs);
    if (this.#watched || nowMs - this.asked.startedMs < WATCH_AFTER_MS) return;
    // Not at the start: most requests are over before a client could leave, and the signal is costly.
    this.#watched = true;
    const { signal } = this.asked.request;
    if (signal.aborted) this.#clientGone();
    else signal.addEventListener("abort", () => this.#clientGone(), { once: true });
  }

  refused(why: Refusal): void {
    this.#giveBody();
    const status = 503;
    this.host.warn(this, `no worker for the request: ${why}`);
    this.#settle(this.host.refuse(this, status, { "Retry-After": RETRY_AFTER_SECONDS }), status, 0);
  }

  lost(why: Loss): void {
    this.#giveBody();
    if (this.#stream !== undefined) return this.#stream.cut();
    if (this.settled) return;
    const status = why.kind === "died" ? 502 : why.kind === "stopped" ? 503 : 504;
    this.#settle(this.host.refuse(this, status), status, 0);
  }

  #answerWhole(news: SlotNews): void {
    const { memory } = this.pool;
    const slot = this.#slot;
    if (news.outcome & (Outcome.badRequest | Outcome.notRun)) return this.#answerError(400);
    if (news.outcome & Outcome.timedOut) return this.#answerError(504);
    // Flushed, then failed, and all of it came at once: there is still time to say so.
    const cut = (news.outcome & Outcome.truncated) !== 0;
    const status = cut && memory.status(slot) === 200 ? 500 : memory.status(slot);
    if (!isSendable(status)) {
      this.host.warn(this, `Cannot send status ${status}: it must be 200 to 599`);
      return this.#answerError(500);
    }
    const failed = (news.outcome & Outcome.fatal) !== 0;
    if (failed && news.used === 0 && status >= 500 && this.asked.method !== "HEAD") return this.#answerError(status);

    const start = memory.bodyAt(slot);
    const { pairs, contentLength } = parseResponseHead(memory.head(slot));
    const empty = hasNoBody(status) || this.asked.method === "HEAD";
    const headers = this.#withOurHeaders(pairs, this.asked.method === "HEAD" ? contentLength : null);
    // Bun copies the bytes before it returns: the slot may be reused right after.
    const body = empty ? null : memory.bytes.subarray(start, start + news.used);
    this.#settle(this.#respond(body, status, headers), status, body === null ? 0 : news.used);
  }

  #answerStreaming(news: SlotNews): void {
    const status = this.pool.memory.status(this.#slot);
    if (!isSendable(status)) {
      this.host.warn(this, `Cannot send status ${status}: it must be 200 to 599`);
      this.pool.memory.clientGone(this.#slot);
      return this.#answerError(500);
    }
    const { pairs, contentLength } = parseResponseHead(this.pool.memory.head(this.#slot));
    if (hasNoBody(status) || this.asked.method === "HEAD") {
      const headers = this.#withOurHeaders(pairs, this.asked.method === "HEAD" ? contentLength : null);
      return this.#settle(this.#respond(null, status, headers), status, 0);
    }
    this.#status = status;
    const stream = new BodyStream(this.pool, this.#slot, () => this.#log(status, stream.bytes));
    this.#stream = stream;
    stream.news(news, false, false, () => undefined);
    this.settled = true;
    this.#resolve(this.#respond(stream.stream, status, this.#withOurHeaders(pairs, null)));
  }

  #answerError(status: number): void {
    this.#settle(this.host.refuse(this, status), status, 0);
  }

  /** PHP's header values are bytes that the web's Headers may refuse; such a response is a failed one. */
  #respond(body: Uint8Array | ReadableStream | null, status: number, headers: [string, string][]): Response {
    try {
      return new Response(body as Bun.BodyInit | null, { status, headers });
    } catch (error) {
      this.host.warn(this, `Cannot send the response: ${error instanceof Error ? error.message : error}`);
      return this.host.refuse(this, 502);
    }
  }

  #withOurHeaders(pairs: readonly [string, string][], contentLength: string | null): [string, string][] {
    const { requestId } = this.asked;
    const { serverHeader } = this.host;
    if (requestId === null && contentLength === null && serverHeader === null) return pairs as [string, string][];
    const all: [string, string][] = [...pairs];
    if (contentLength !== null) all.push(["Content-Length", contentLength]);
    if (requestId !== null) all.push(["X-Request-Id", requestId]);
    if (serverHeader !== null) all.push(["Server", serverHeader]);
    return all;
  }

  #checkReader(stream: BodyStream, nowMs: number): void {
    const since = stream.blockedSinceMs;
    if (since === 0 || nowMs - since < this.host.sendTimeoutMs) return;
    this.host.warn(this, "gave up a client that took nothing for too long");
    this.#clientGone();
  }

  #clientGone(): void {
    if (this.#ended && this.#stream === undefined) return;
    if (this.#slot < 0) this.#giveBody();
    else if (!this.#ended) this.pool.memory.clientGone(this.#slot);
    if (this.#stream !== undefined) return this.#stream.abandon();
    if (!this.settled) {
      this.#settle(new Response(null, { status: CLIENT_CLOSED_REQUEST }), CLIENT_CLOSED_REQUEST, 0);
    }
  }

  #settle(response: Response, status: number, bytes: number): void {
    this.settled = true;
    this.#status = status;
    this.#resolve(response);
    this.#log(status, bytes);
  }

  #log(status: number, bytes: number): void {
    if (this.#logged) return;
    this.#logged = true;
    this.host.done(this, status, bytes);
  }

  #giveBody(): void {
    if (this.#body?.kind === "spooled" && !this.#body.given) {
      this.#body.given = true;
      this.pool.spool.give(this.#body.region);
    }
  }
}
