import { networkInterfaces } from "node:os";
import { Elysia } from "elysia";
import type { Server } from "bun";
import { raiseOpenFiles } from "../ffi/system.ts";
import { banner } from "./banner.ts";
import type { Config, Listener } from "./config/config.ts";
import { PhprunError } from "./errors.ts";
import { Clients } from "./http/client.ts";
import { ErrorPages } from "./http/error-page.ts";
import { Front } from "./http/front.ts";
import type { Entrance } from "./http/incoming.ts";
import { createAccessLog } from "./log/access.ts";
import type { Log } from "./log/log.ts";
import { hostEnvironment, hostOptions } from "./pool/host-options.ts";
import { Pool } from "./pool/pool.ts";
import { PoolPatterns } from "./route/pool-patterns.ts";
import { Router } from "./route/router.ts";
import { currentTurn } from "./route/turn.ts";
import { StaticFiles } from "./static/static-files.ts";
import { claimSocket, removeSocket } from "./unix-socket.ts";

export interface RunningServer {
  readonly urls: readonly string[];
  /** What to tell the user at start. */
  readonly banner: string;
  /** Stops accepting, finishes what runs (bounded by server.stop_timeout_ms), ends every process. */
  stop(): Promise<void>;
  /** Ends everything now. */
  stopNow(): Promise<void>;
  reopenLogs(): void;
  /** Rejects when the server can no longer serve anything. */
  readonly failed: Promise<never>;
}

/** How long a client may take for the error page that a request cut off by the stop is answered with. */
const LAST_ANSWERS_MS = 200;

/** Brings PHP up, then opens the listeners. */
export async function startServer(config: Config, log: Log): Promise<RunningServer> {
  const openFiles = raiseOpenFiles();
  const failure = Promise.withResolvers<never>();
  failure.promise.catch(() => undefined);
  let failedPools = 0;
  const access = createAccessLog(config.logging);
  const pools = config.pools.map(
    (pool) =>
      new Pool({
        config: pool,
        host: hostOptions(config, pool),
        env: hostEnvironment(config, pool),
        spoolDir: config.server.spoolDir,
        clientMaxBodyBytes: config.server.clientMaxBodyBytes,
        log,
        onFailed: () => {
          if (++failedPools < config.pools.length) return;
          failure.reject(
            new PhprunError("POOLS_FAILED", "Cannot go on: every pool has been given up, see the log"),
          );
        },
      }),
  );
  const pages = new ErrorPages(config.errorPages, (status, file) => {
    log.warn(`Cannot read the error page for ${status}: ${file}; the built-in page stands in`);
  });
  const front = new Front({
    config,
    router: new Router(config.php, { serveFiles: config.static.enabled, turn: currentTurn }),
    files: new StaticFiles(config.static, {
      refuse: (status, headers) => pages.respond(status, { accept: null }, headers),
    }),
    pages,
    patterns: new PoolPatterns(config.pools),
    pools,
    log,
    access,
  });

  const listening: { app: Elysia; listener: Listener }[] = [];
  const end = async (): Promise<void> => {
    await Promise.all(pools.map((pool) => pool.end()));
    access.close();
  };
  try {
    await Promise.all(pools.map((pool) => pool.start()));
    // PHP complains alike in every pool, unless they have settings of their own.
    for (const message of new Set(pools.flatMap(({ report }) => report?.startupErrors ?? []))) {
      log.warn(message, { source: "php start" });
    }
    for (const listener of config.server.listeners) {
      if (listener.kind === "unix") await claimSocket(listener.path);
      listening.push({ app: open(listener, config, front), listener });
    }
  } catch (error) {
    for (const { app, listener } of listening) {
      void app.server?.stop(true);
      if (listener.kind === "unix") removeSocket(listener.path);
    }
    await end();
    throw error;
  }

  const close = async (now: boolean): Promise<void> => {
    // Resolves when the last answer has been handed to the system: a slow reader still gets all of it.
    const answered = Promise.all(listening.map(({ app }) => app.server?.stop(now)));
    const { stopTimeoutMs } = config.server;
    if (!now) {
      const deadline = Bun.sleep(stopTimeoutMs);
      await Promise.all(pools.map((pool) => pool.drain(stopTimeoutMs)));
      await Promise.race([answered, deadline]);
    }
    await end();
    // The answers to requests that were just cut off are on their way.
    await Promise.race([answered, Bun.sleep(LAST_ANSWERS_MS)]);
    for (const { app, listener } of listening) {
      void app.server?.stop(true);
      if (listener.kind === "unix") removeSocket(listener.path);
    }
  };
  let closing: Promise<void> | undefined;
  const urls = listening.map(({ app, listener }) => urlOf(listener, app.server));
  return {
    urls,
    banner: banner({ config, pools, urls, openFiles, asRoot: process.getuid?.() === 0 }),
    stop: () => (closing ??= close(false)),
    stopNow: () => close(true),
    reopenLogs: () => {
      log.reopen();
      access.reopen();
    },
    failed: failure.promise,
  };
}

function open(listener: Listener, config: Config, front: Front): Elysia {
  const serverAddr = listener.kind === "tcp" ? serverAddress(listener.host) : "";
  const clientsOf = (port: number | null) => new Clients(config.server.trustedProxies, port);
  let entrance: Entrance = { clients: clientsOf(null), serverAddr };
  const handle: Front["handle"] =
    config.server.keepAliveTimeoutMs > 0
      ? (...request) => front.handle(...request)
      : async (...request) => closingAfter(await front.handle(...request));
  const app = new Elysia()
    .onError(({ error }) => front.failed(error))
    .all("/*", ({ request, server }) => handle(request, server as Server<unknown>, entrance), {
      parse: "none",
    });
  const where =
    listener.kind === "tcp" ? { hostname: listener.host, port: listener.port } : { unix: listener.path };
  try {
    app.listen({
      ...where,
      development: false,
      // Elysia's default would let a second server share the port in silence.
      reusePort: false,
      // Bun counts in whole seconds and knows at most 255.
      idleTimeout: Math.min(255, Math.ceil(front.idleTimeoutMs / 1000)),
      // Ours is checked while the body comes, with a page; Bun's own answer would be a bare status.
      maxRequestBodySize: Number.MAX_SAFE_INTEGER,
      error: (error: unknown) => front.failed(error),
    } as Parameters<typeof app.listen>[0]);
    // With port 0 it is known only now; no request can have come in between.
    if (listener.kind === "tcp")
      entrance = { clients: clientsOf(app.server?.port ?? listener.port), serverAddr };
  } catch (cause) {
    const place = listener.kind === "tcp" ? `${listener.host}:${listener.port}` : listener.path;
    throw new PhprunError("LISTEN", `Cannot listen on ${place}: ${listenReason(cause)}`, { cause });
  }
  return app as unknown as Elysia;
}

/** Bun closes the connection after a response that says so. */
function closingAfter(response: Response): Response {
  response.headers.set("Connection", "close");
  return response;
}

function listenReason(cause: unknown): string {
  const code = cause instanceof Error && "code" in cause ? cause.code : undefined;
  if (code === "EADDRINUSE")
    return "the address is in use. Stop what uses it, or choose another with --port.";
  if (code === "EACCES") return "not permitted. Ports below 1024 need root or CAP_NET_BIND_SERVICE.";
  return cause instanceof Error ? cause.message : String(cause);
}

function urlOf(listener: Listener, server: Server<unknown> | null): string {
  if (listener.kind === "unix") return `unix:${listener.path}`;
  const host = listener.host === "0.0.0.0" || listener.host === "::" ? "localhost" : listener.host;
  return `http://${host.includes(":") ? `[${host}]` : host}:${server?.port ?? listener.port}`;
}

/** SERVER_ADDR. Bun does not tell the local address of a connection, so a wildcard becomes the first one there is. */
function serverAddress(host: string): string {
  if (host !== "0.0.0.0" && host !== "::") return host;
  const addresses = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  return addresses.find((entry) => entry.family === "IPv4" && !entry.internal)?.address ?? "127.0.0.1";
}
