import { networkInterfaces } from "node:os";
import { Elysia } from "elysia";
import type { Server } from "bun";
import type { Config, Listener } from "./config/config.ts";
import { PhprunError } from "./errors.ts";
import { Clients } from "./http/client.ts";
import type { Front } from "./http/front.ts";
import type { Entrance } from "./http/incoming.ts";
import { claimSocket, removeSocket } from "./unix-socket.ts";

/** A listener and the server Bun runs on it. */
class OpenListener {
  readonly listener: Listener;
  readonly url: string;
  readonly #app: Elysia;
  readonly #serverAddr: string;
  #entrance: Entrance;

  constructor(listener: Listener, config: Config, front: Front) {
    this.listener = listener;
    this.#serverAddr = listener.kind === "tcp" ? serverAddress(listener.host) : "";
    this.#entrance = {
      clients: new Clients(config.server.trustedProxies, null),
      serverAddr: this.#serverAddr,
    };
    const handle: Front["handle"] =
      config.server.keepAliveTimeoutMs > 0
        ? (...request) => front.handle(...request)
        : async (...request) => closingAfter(await front.handle(...request));
    this.#app = new Elysia()
      .onError(({ error }) => front.failed(error))
      .all("/*", ({ request, server }) => handle(request, server as Server<unknown>, this.#entrance), {
        parse: "none",
      }) as unknown as Elysia;
    listen(this.#app, listener, front);
    // With port 0 it is known only now; no request can have come in between.
    this.trust(config.server.trustedProxies);
    this.url = urlOf(listener, this.#app.server);
  }

  /** Whose word is taken for who the client is. */
  trust(proxies: readonly string[]): void {
    const { listener } = this;
    const port = listener.kind === "tcp" ? (this.#app.server?.port ?? listener.port) : null;
    this.#entrance = { clients: new Clients(proxies, port), serverAddr: this.#serverAddr };
  }

  async stop(now: boolean): Promise<void> {
    await this.#app.server?.stop(now);
  }

  remove(): void {
    if (this.listener.kind === "unix") removeSocket(this.listener.path);
  }
}

/** Where requests come in. Opened once; a reload changes only whom they believe. */
export class Listeners {
  readonly #open: OpenListener[] = [];

  async open(config: Config, front: Front): Promise<void> {
    for (const listener of config.server.listeners) {
      if (listener.kind === "unix") await claimSocket(listener.path);
      this.#open.push(new OpenListener(listener, config, front));
    }
  }

  get urls(): string[] {
    return this.#open.map(({ url }) => url);
  }

  trust(proxies: readonly string[]): void {
    for (const listener of this.#open) listener.trust(proxies);
  }

  /** Resolves when the last answer has been handed to the system: a slow reader still gets all of it. */
  async stop(now: boolean): Promise<void> {
    await Promise.all(this.#open.map((listener) => listener.stop(now)));
  }

  /** Ends what is left of them. */
  close(): void {
    for (const listener of this.#open) {
      void listener.stop(true);
      listener.remove();
    }
  }
}

function listen(app: Elysia, listener: Listener, front: Front): void {
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
  } catch (cause) {
    const place = listener.kind === "tcp" ? `${listener.host}:${listener.port}` : listener.path;
    throw new PhprunError("LISTEN", `Cannot listen on ${place}: ${listenReason(cause)}`, { cause });
  }
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
