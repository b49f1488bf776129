import { Outcome, Phase, RequestOption } from "../../ffi/layout.ts";
import type { PoolMemory, SlotNews } from "../../ffi/pool-memory.ts";
import type { LogFields } from "../log/log.ts";
import type { Job, JobFacts, Loss, Refusal } from "../pool/job.ts";
import type { Pool } from "../pool/pool.ts";
import type { Slots } from "../pool/slots.ts";
import { BodyStream } from "./body-stream.ts";
import { Lingering } from "./lingering.ts";
import type { RequestBody } from "./request-body.ts";
import type { RequestBlock } from "./request-block.ts";
import { type ResponseHead, hasNoBody, isSendable, parseResponseHead } from "./response-head.ts";

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
  /** Called when it runs for longer than most: Bun is not to take the silence of its connection for idleness. */
  readonly onSlow: () => void;
  /** Called when the answer is about to end: from then on the connection is idle. */
  readonly onAnswered: () => void;
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
  /** No worker for this one. Under overload that happens thousands of times a second. */
  shed(exchange: Exchange, why: Refusal): void;
}

/**
 * What Bun puts out with one system call. For an answer that comes later than its request, a larger body makes it
 * send the head piece by piece, some fifteen calls; as a stream, head and body go out together.
 * See https://github.com/oven-sh/bun/pull/41341.
 */
const CORK_BYTES = 12 * 1024;
/** Requests that run longer than this are watched for a client that leaves. */
const WATCH_AFTER_MS = 100;
/** nginx's status for a client that closed its connection first; never sent, only logged. */
const CLIENT_CLOSED_REQUEST = 499;
const RETRY_AFTER_SECONDS = "1";
/** Safe by RFC 9110, section 9.2.1: running them twice does what running them once does. */
const SAFE_METHODS: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS"]);
const STATUS_OF_LOSS = {
  died: 502,
  "killed-for-memory": 502,
  "killed-by-deadline": 504,
  stopped: 503,
} as const satisfies Record<Loss["kind"], number>;

let lastNumber = 0;
const lingering = new Lingering();

/** One request that PHP answers, from its dispatch to the last byte. */
export class Exchange implements Job {
  readonly number = (lastNumber = (lastNumber + 1) >>> 0);
  readonly response: Promise<Response>;
  readonly host: ExchangeHost;
  readonly pool: Pool;
  readonly asked: Asked;
  readonly isProbe = false;
  settled = false;

  readonly #block: RequestBlock;
  readonly #body: RequestBody | null;
  readonly #resolve: (response: Response) => void;
  /** Where its slot is; undefined while it has none. */
  #slots: Slots | undefined;
  #slot = -1;
  /** Has a worker died while it had this, so that the next one is its second? */
  #repeated = false;
  #stream: BodyStream | undefined;
  #watched = false;
  /** A thread that does not come back still has it, and may read its body. */
  #stuck = false;
  /** The client has left, or was given up. */
  #gone = false;
  #ended = false;
  /** The stream has read the slot's ring to its end. */
  readonly #onRead = (): void => {
    if (!this.#ended) return;
    this.#slots?.release(this.#slot);
    this.#linger();
  };
  #logged = false;

  constructor(host: ExchangeHost, pool: Pool, asked: Asked, block: RequestBlock, body: RequestBody | null) {
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

  get repeatable(): boolean {
    return !this.#repeated && !this.settled && SAFE_METHODS.has(this.asked.method);
  }

  get facts(): JobFacts {
    const { method, uri, scriptFilename: script, requestId, remoteAddr } = this.asked;
    return { id: this.number, method, uri, script, requestId, remoteAddr };
  }

  start(slots: Slots, slot: number): void {
    this.#slots = slots;
    this.#slot = slot;
    const { memory } = slots;
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

  returned(tried: boolean): void {
    this.#repeated ||= tried;
    this.#slots = undefined;
    if (this.settled) this.#giveBody();
  }

  news(news: SlotNews): boolean {
    this.#ended = news.phase === Phase.ended;
    if (this.#ended) {
      this.#giveBody();
      if (news.outcome & Outcome.timedOut) this.pool.counters.timedOut++;
    }
    const complete = this.#ended || news.phase === Phase.responded;
    if (this.#stream !== undefined) {
      const cut = (news.outcome & Outcome.truncated) !== 0;
      if (cut)
        this.host.warn(this, "the response was cut short: the script failed after part of it had been sent");
      const isRead = this.#stream.news(news, complete, cut, this.#onRead);
      if (isRead && this.#ended) this.#linger();
      return isRead;
    }
    if (this.settled) {
      // Answered without a body (204, HEAD): what the script still prints goes nowhere, and must not hold it up.
      if (!complete && news.used > 0) this.#slots?.memory.consume(this.#slot, news.used);
      return true;
    }
    const memory = this.#slots?.memory;
    if (memory === undefined) return true;
    if (complete) {
      this.#answerWhole(memory, news);
    } else if (news.outcome & Outcome.head) {
      this.#answerStreaming(memory, news);
    }
    return this.#stream === undefined;
  }

  tick(nowMs: number): void {
    if (this.#stream !== undefined) {
      this.#stream.tick();
      this.#checkReader(this.#stream, nowMs);
    }
    if (this.#watched || nowMs - this.asked.startedMs < WATCH_AFTER_MS) return;
    // Not at the start: most requests are over before a client could leave, and the signal is costly.
    this.#watched = true;
    this.asked.onSlow();
    const { signal } = this.asked.request;
    if (signal.aborted) this.#clientGone();
    else signal.addEventListener("abort", () => this.#clientGone(), { once: true });
  }

  refused(why: Refusal): void {
    this.#giveBody();
    const status = 503;
    this.host.shed(this, why);
    this.#settle(this.host.refuse(this, status, { "Retry-After": RETRY_AFTER_SECONDS }), status, 0);
  }

  lost(why: Loss): void {
    // The slot is another request's from here on.
    this.#slots = undefined;
    this.#stuck = why.kind === "killed-by-deadline" && why.stuck === true;
    if (!this.#stuck) this.#giveBody();
    if (this.#stream !== undefined) {
      this.#stream.cut();
      return this.#linger();
    }
    if (this.settled) return;
    const status = STATUS_OF_LOSS[why.kind];
    const headers: Record<string, string> = status === 503 ? { "Retry-After": RETRY_AFTER_SECONDS } : {};
    this.#settle(this.host.refuse(this, status, headers), status, 0);
  }

  over(): void {
    this.#stuck = false;
    this.#giveBody();
  }

  #answerWhole(memory: PoolMemory, news: SlotNews): void {
    const slot = this.#slot;
    if (news.outcome & (Outcome.badRequest | Outcome.notRun)) return this.#answerError(400);
    if (news.outcome & Outcome.timedOut) return this.#answerError(504);
    // Flushed, then failed, and all of it came at once: there is still time to say so. Half a redirect is a redirect.
    const cut = (news.outcome & Outcome.truncated) !== 0;
    const said = memory.status(slot);
    const status = cut && said >= 200 && said < 300 ? 500 : said;
    if (!isSendable(status)) {
      this.host.warn(this, `Cannot send status ${status}: it must be 200 to 599`);
      return this.#answerError(500);
    }
    const failed = (news.outcome & Outcome.fatal) !== 0;
    if (failed && news.used === 0 && status >= 500 && this.asked.method !== "HEAD")
      return this.#answerError(status);

    const head = this.#head(memory);
    if (head === undefined) return this.#answerError(502);
    if (hasNoBody(status) || this.asked.method === "HEAD") return this.#answerBodiless(status, head);
    if (news.used > CORK_BYTES && head.contentLength === null)
      return this.#answerByStream(memory, status, head, news, true);
    const start = memory.bodyAt(slot);
    // Bun copies the bytes before it returns: the slot may be reused right after.
    const body = memory.bytes.subarray(start, start + news.used);
    this.#settle(this.#respond(body, status, head), status, news.used);
  }

  #answerStreaming(memory: PoolMemory, news: SlotNews): void {
    const status = memory.status(this.#slot);
    const head = isSendable(status) ? this.#head(memory) : undefined;
    if (head === undefined) {
      if (!isSendable(status)) this.host.warn(this, `Cannot send status ${status}: it must be 200 to 599`);
      memory.clientGone(this.#slot);
      return this.#answerError(500);
    }
    if (hasNoBody(status) || this.asked.method === "HEAD") {
      memory.consume(this.#slot, news.used);
      return this.#answerBodiless(status, head);
    }
    this.#answerByStream(memory, status, head, news, false);
  }

  #answerByStream(
    memory: PoolMemory,
    status: number,
    head: ResponseHead,
    news: SlotNews,
    complete: boolean,
  ): void {
    const { responseBufferBytes: inMemory, responseSpoolBytes: inFile } = this.pool.config;
    const limits = { inMemory, inFile, folder: this.pool.spoolDir };
    const stream = new BodyStream(memory, this.#slot, limits, {
      done: () => {
        lingering.delete(this);
        this.asked.onAnswered();
        this.#log(status, stream.bytes);
      },
      cannotSpool: (error) =>
        this.host.warn(
          this,
          `Cannot spool an answer in ${limits.folder}, so slow clients hold their workers: ${error instanceof Error ? error.message : error}`,
        ),
      broken: (error) => {
        this.host.warn(
          this,
          `Cannot read back a spooled answer, its client is cut off: ${error instanceof Error ? error.message : error}`,
        );
        this.#clientGone();
      },
    });
    this.#stream = stream;
    stream.news(news, complete, false, this.#onRead);
    this.settled = true;
    this.#resolve(this.#respond(stream.stream, status, head));
  }

  #answerBodiless(status: number, head: ResponseHead): void {
    const response = this.#respond(null, status, head);
    // Of a HEAD Bun would say that the body is empty; we mostly do not know.
    if (this.asked.method === "HEAD" && head.contentLength !== null) {
      response.headers.set("Content-Length", head.contentLength);
    } else if (this.asked.method === "HEAD" && !hasNoBody(status)) {
      response.headers.set("Transfer-Encoding", "chunked");
    }
    this.#settle(response, status, 0);
  }

  #answerError(status: number): void {
    this.#settle(this.host.refuse(this, status), status, 0);
  }

  /** PHP's header values are bytes that the web's Headers may refuse; such a response is a failed one. */
  #head(memory: PoolMemory): ResponseHead | undefined {
    try {
      const head = parseResponseHead(memory.head(this.#slot));
      if (head.handOver !== null) {
        this.host.warn(
          this,
          `the script asks the server to send a file (${head.handOver}), which phprun cannot do yet`,
        );
      }
      return head;
    } catch (error) {
      this.host.warn(this, `Cannot send the response: ${error instanceof Error ? error.message : error}`);
      return undefined;
    }
  }

  #respond(body: Uint8Array | ReadableStream | null, status: number, head: ResponseHead): Response {
    const response = new Response(body as Bun.BodyInit | null, { status, headers: head.headers });
    if (this.asked.requestId !== null) response.headers.set("X-Request-Id", this.asked.requestId);
    if (this.host.serverHeader !== null) response.headers.set("Server", this.host.serverHeader);
    return response;
  }

  /** No slot is left that the pool would look at. */
  #linger(): void {
    if (this.#stream?.hasClientWaiting === true) lingering.add(this);
  }

  #checkReader(stream: BodyStream, nowMs: number): void {
    const since = stream.blockedSinceMs;
    if (this.#gone || since === 0 || nowMs - since < this.host.sendTimeoutMs) return;
    this.host.warn(this, "gave up a client that took nothing for too long");
    this.#clientGone();
  }

  #clientGone(): void {
    if (this.#gone) return;
    this.#gone = true;
    if (this.#ended && this.#stream === undefined) return;
    if (!this.#ended) this.pool.counters.clientGone++;
    if (this.#slots !== undefined) {
      if (!this.#ended) this.#slots.memory.clientGone(this.#slot);
    } else if (!this.#stuck) this.#giveBody();
    if (this.#stream !== undefined) return this.#stream.abandon();
    if (!this.settled) {
      this.#settle(new Response(null, { status: CLIENT_CLOSED_REQUEST }), CLIENT_CLOSED_REQUEST, 0);
    }
  }

  #settle(response: Response, status: number, bytes: number): void {
    this.settled = true;
    this.asked.onAnswered();
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
