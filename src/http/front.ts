import type { Server } from "bun";
import type { Config } from "../config/config.ts";
import type { AccessLog } from "../log/access.ts";
import type { Log } from "../log/log.ts";
import { Floods, OnceEach } from "../log/notices.ts";
import type { Refusal } from "../pool/job.ts";
import { REQUEST_BUFFER_BYTES } from "../pool/memory-options.ts";
import type { Pool } from "../pool/pool.ts";
import { decodePath, maxTargetBytes } from "../route/path.ts";
import type { AppScript } from "../route/app-script.ts";
import type { PoolPatterns } from "../route/pool-patterns.ts";
import type { ErrorRoute, FileRoute, ScriptRoute } from "../route/route.ts";
import type { Router } from "../route/router.ts";
import type { StaticFiles } from "../static/static-files.ts";
import type { Client } from "./client.ts";
import type { ErrorPages } from "./error-page.ts";
import { Exchange, type ExchangeHost } from "./exchange.ts";
import { type Entrance, Incoming } from "./incoming.ts";
import { buildRequestBlock, scriptPart } from "./request-block.ts";
import { type RequestBody, receiveBody } from "./request-body.ts";

export interface FrontParts {
  readonly config: Config;
  readonly router: Router;
  readonly files: StaticFiles;
  readonly pages: ErrorPages;
  readonly patterns: PoolPatterns;
  readonly pools: readonly Pool[];
  /** Of each pool in worker mode, in the same order; null in classic mode. */
  readonly apps: readonly (AppScript | null)[];
  readonly log: Log;
  readonly access: AccessLog;
}

/** Bodies up to this size wait in memory for a worker, and reach it in the slot. */
const LARGEST_INLINE_BODY = 64 * 1024;
const PROTOCOL = "HTTP/1.1";
const ALLOWED = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/** The front's way of a request: who asks, what for, where it leads, and who answers. */
export class Front implements ExchangeHost {
  sendTimeoutMs = 0;
  serverHeader: string | null = null;
  /** How long a connection may be silent while nothing runs for it. */
  idleTimeoutMs = 0;
  #parts: FrontParts;
  #documentRoot = "";
  #hasApps = false;
  #notices: OnceEach;
  readonly #floods: Floods;

  constructor(parts: FrontParts) {
    this.#parts = parts;
    this.#notices = new OnceEach(parts.log);
    this.#floods = new Floods(parts.log);
    this.use(parts);
  }

  /** Requests that come from here on go this way. Those that have begun keep theirs. */
  use(parts: FrontParts): void {
    this.#parts = parts;
    // What was wrong before may be wrong still.
    this.#notices = new OnceEach(parts.log);
    this.sendTimeoutMs = parts.config.server.sendTimeoutMs;
    this.serverHeader = parts.config.server.serverHeader;
    // 0 keeps no connection; then it is the time for sending the request that counts.
    this.idleTimeoutMs = parts.config.server.keepAliveTimeoutMs || parts.config.server.receiveTimeoutMs;
    this.#documentRoot = documentRoot(parts.config);
    this.#hasApps = parts.apps.some((app) => app !== null);
  }

  handle(request: Request, server: Server<unknown>, entrance: Entrance): Response | Promise<Response> {
    const incoming = new Incoming(request, server, entrance, this.#parts.config.server.requestId);
    const { method, target } = incoming;
    // Bun gives a relative URL when it could not make anything of the Host; HTTP/1.0 may leave it out.
    if (request.url.startsWith("/") && incoming.client === null) return this.#error(400, incoming);
    if (method === "TRACE" || method === "CONNECT") return this.#error(405, incoming, { Allow: ALLOWED });
    if (target.uri.length > maxTargetBytes) return this.#error(414, incoming);

    const route = this.#parts.router.resolve(target.path, method);
    switch (route.kind) {
      case "script":
        return this.#runScript(incoming, route);
      case "file":
        return this.#serveFile(incoming, route);
      case "redirect": {
        const location = target.query === "" ? route.location : `${route.location}?${target.query}`;
        return this.#finish(
          incoming,
          new Response(null, { status: route.status, headers: { Location: location } }),
        );
      }
      case "error":
        if (route.status === 404 && this.#hasApps) return this.#runScript(incoming, route);
        if (route.remedy !== undefined) {
          this.#notices.warn(`refused with ${route.status}: ${route.reason}. ${route.remedy}`, {
            path: target.path,
          });
        }
        return this.#error(route.status, incoming);
      default:
        return route satisfies never;
    }
  }

  #serveFile(incoming: Incoming, route: FileRoute): Response {
    const response = this.#parts.files.respond(route, incoming.method, incoming.request.headers);
    if (incoming.requestId !== null) response.headers.set("X-Request-Id", incoming.requestId);
    if (this.serverHeader !== null) response.headers.set("Server", this.serverHeader);
    return this.#finish(incoming, response, () => bytesOfFile(response, route));
  }

  // ---- PHP -------------------------------------------------------------------------------------

  /** In worker mode the application answers also for what is not there. */
  #runScript(incoming: Incoming, found: ScriptRoute | ErrorRoute): Response | Promise<Response> {
    const { client, headers } = incoming;
    if (client === null) return this.#error(400, incoming);
    const { pools, apps } = this.#parts;
    const index = this.#poolFor(incoming.target.path, client, incoming.method);
    const pool = pools[index];
    const app = apps[index] ?? null;
    const route = app === null ? found : app.answer(found);
    if (pool === undefined || route?.kind !== "script") return this.#error(404, incoming);
    const length = headers["content-length"];
    if ((length === undefined || length === "0") && headers["transfer-encoding"] === undefined) {
      return this.#dispatch(incoming, client, route, pool, null, length === undefined ? null : 0);
    }
    return this.#receiveThenDispatch(incoming, client, route, pool);
  }

  async #receiveThenDispatch(
    incoming: Incoming,
    client: Client,
    route: ScriptRoute,
    pool: Pool,
  ): Promise<Response> {
    const { receiveTimeoutMs } = this.#parts.config.server;
    // A reload may come before the body is here.
    const root = this.#documentRoot;
    const received = pool.receive();
    try {
      incoming.setIdleTimeout(receiveTimeoutMs);
      const length = incoming.headers["content-length"];
      const result = await receiveBody(
        incoming.request,
        length === undefined ? null : Number(length),
        pool.spool,
        { inMemory: LARGEST_INLINE_BODY, most: pool.clientMaxBodyBytes },
        incoming.renewing(receiveTimeoutMs),
      );
      if (!("error" in result)) {
        const { body } = result;
        const bytes = body === null ? null : bodyBytes(body);
        // Not awaited here: from its dispatch on the pool knows of it.
        return this.#dispatch(incoming, client, route, pool, body, bytes, root);
      }
      // What is left of the body is not read, so the connection cannot be used again.
      incoming.setIdleTimeout(this.idleTimeoutMs);
      if (result.error === "too-large") return this.#error(413, incoming, { Connection: "close" });
      if (result.error === "aborted") return this.#error(400, incoming);
      this.#parts.log.error(`Cannot spool a request body: ${result.cause}`, { uri: incoming.target.uri });
      return this.#error(500, incoming);
    } finally {
      received();
    }
  }

  #dispatch(
    incoming: Incoming,
    client: Client,
    route: ScriptRoute,
    pool: Pool,
    body: RequestBody | null,
    contentLength: number | null,
    root = this.#documentRoot,
  ): Response | Promise<Response> {
    const { request, method, target, headers, requestId } = incoming;
    const block = buildRequestBlock({
      method,
      target,
      script: this.#scriptPart(route, root),
      contentLength,
      protocol: PROTOCOL,
      serverAddr: incoming.entrance.serverAddr,
      client,
      headers,
      requestId,
    });
    const inline = body?.kind === "memory" ? body.bytes.length : 0;
    if (block.text.length + inline > REQUEST_BUFFER_BYTES) {
      if (body?.kind === "spooled") pool.spool.give(body.region);
      return this.#error(431, incoming);
    }
    // The pool's deadline counts from here on, not Bun's idle timeout. Of most requests that notices nothing.
    if (body !== null) incoming.holdOpen();
    const exchange = new Exchange(
      this,
      pool,
      {
        request,
        method,
        uri: target.uri,
        scriptFilename: route.scriptFilename,
        remoteAddr: client.remoteAddr,
        protocol: PROTOCOL,
        requestId,
        https: client.https,
        startedMs: incoming.startedMs,
        onSlow: () => incoming.holdOpen(),
        onAnswered: () => incoming.letIdle(this.idleTimeoutMs),
      },
      block,
      body,
    );
    pool.dispatch(exchange);
    return exchange.response;
  }

  #scriptPart(route: ScriptRoute, root: string): string {
    if (route.pathInfo !== "") {
      return scriptPart(route.scriptFilename, route.scriptName, route.pathInfo, root);
    }
    route.script.memo ??= scriptPart(route.scriptFilename, route.scriptName, "", root);
    return route.script.memo;
  }

  /** Its place, or -1. */
  #poolFor(path: string, client: Client, method: string): number {
    const { patterns } = this.#parts;
    if (patterns.isConstant) return patterns.match("/");
    const decoded = decodePath(path);
    if (typeof decoded !== "string") return -1;
    return patterns.match(decoded, patterns.needsHost ? client.authority.host : "", method);
  }

  /** What went wrong in Bun or in our own code, after the request had been taken. */
  failed(error: unknown): Response {
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    // A file that went away, or may not be read, between our look at it and Bun's.
    if (code === "ENOENT") return this.#page(404, null, null, {});
    if (code === "EACCES" || code === "EPERM") return this.#page(403, null, null, {});
    if (code === "EMFILE" || code === "ENFILE") {
      this.#notices.warn(`no file can be opened any more (${code}). Raise the limit of open files.`, {});
      return this.#page(503, null, null, {});
    }
    // An error of the system's that Bun found has no stack.
    const what =
      error instanceof Error ? (error.stack ?? `${error.name} ${code ?? ""}: ${error.message}`) : error;
    this.#parts.log.error(`A request failed inside phprun: ${what}`);
    return this.#page(500, null, null, {});
  }

  // ---- what an exchange asks of us -------------------------------------------------------------

  refuse(exchange: Exchange, status: number, headers: Record<string, string> = {}): Response {
    return this.#page(
      status,
      exchange.asked.request.headers.get("accept"),
      exchange.asked.requestId,
      headers,
    );
  }

  done(exchange: Exchange, status: number, bytes: number): void {
    const { access, config } = this.#parts;
    if (!config.logging.access) return;
    const { asked } = exchange;
    const { headers } = asked.request;
    access.record({
      remoteAddr: asked.remoteAddr,
      method: asked.method,
      target: asked.uri,
      protocol: asked.protocol,
      status,
      bytes,
      durationMs: performance.now() - asked.startedMs,
      referer: headers.get("referer"),
      userAgent: headers.get("user-agent"),
      requestId: asked.requestId,
      pool: exchange.pool.name,
    });
  }

  shed(exchange: Exchange, why: Refusal): void {
    this.#floods.warn(`no worker for a request: ${why}`, { pool: exchange.pool.name, ...exchange.about });
  }

  warn(exchange: Exchange, message: string, fields: Record<string, string | number> = {}): void {
    this.#parts.log.warn(message, {
      pool: exchange.pool.name,
      script: exchange.asked.scriptFilename,
      uri: exchange.asked.uri,
      request_id: exchange.asked.requestId,
      ...fields,
    });
  }

  // ---- answers of our own ----------------------------------------------------------------------

  #error(status: number, incoming: Incoming, headers: Record<string, string> = {}): Response {
    const response = this.#page(status, incoming.headers["accept"] ?? null, incoming.requestId, headers);
    return this.#finish(incoming, response);
  }

  #page(
    status: number,
    accept: string | null,
    requestId: string | null,
    headers: Record<string, string>,
  ): Response {
    const ours = { ...headers };
    if (requestId !== null) ours["X-Request-Id"] = requestId;
    if (this.serverHeader !== null) ours["Server"] = this.serverHeader;
    return this.#parts.pages.respond(status, { accept, requestId }, ours);
  }

  #finish(incoming: Incoming, response: Response, bytes = () => lengthOf(response)): Response {
    const { access, config } = this.#parts;
    if (config.logging.access) {
      const { headers, method } = incoming;
      access.record({
        remoteAddr: incoming.remoteAddr,
        method,
        target: incoming.target.uri,
        protocol: PROTOCOL,
        status: response.status,
        bytes: method === "HEAD" ? 0 : bytes(),
        durationMs: performance.now() - incoming.startedMs,
        referer: headers["referer"] ?? null,
        userAgent: headers["user-agent"] ?? null,
        requestId: incoming.requestId,
        pool: null,
      });
    }
    return response;
  }
}

/** DOCUMENT_ROOT as scripts see it, as a byte string. */
export function documentRoot(config: Config): string {
  return Buffer.from(config.php.docroot).toString("latin1");
}

function bodyBytes(body: RequestBody): number {
  return body.kind === "memory" ? body.bytes.length : body.region.bytes;
}

function lengthOf(response: Response): number {
  return Number(response.headers.get("content-length") ?? 0);
}

/** For the access log: how much of a file an answer holds. Several ranges at once are not counted. */
function bytesOfFile(response: Response, route: FileRoute): number {
  const { headers, status } = response;
  if (status === 206) {
    const [, first, last] = /^bytes (\d+)-(\d+)\//.exec(headers.get("content-range") ?? "") ?? [];
    return first === undefined ? 0 : Number(last) - Number(first) + 1;
  }
  const isWholeFile = status === 200 && !headers.has("content-encoding");
  return lengthOf(response) || (isWholeFile ? route.stat.size : 0);
}
