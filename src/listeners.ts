import { networkInterfaces } from "node:os";
import { Elysia } from "elysia";
import type { Server } from "bun";
import type { Config, Listener } from "./config/config.ts";
import { PhprunError } from "./errors.ts";
import { Clients } from "./http/client.ts";
import type { Front } from "./http/front.ts";
import { type Entrance, idleSeconds } from "./http/incoming.ts";
import type { ActivatedSocket } from "./system/activation.ts";
import { adoptListener, type Place, placeholder } from "./system/adopt-listener.ts";
import { claimSocket, removeSocket } from "./unix-socket.ts";

/** A listener and the server Bun runs on it. */
class OpenListener {
  readonly listener: Listener;
  readonly url: string;
  readonly #app: Elysia;
  readonly #serverAddr: string;
  /** The socket file of a service manager is not ours to remove. */
  readonly #isOurs: boolean;
  #entrance: Entrance;

  constructor(listener: Listener, config: Config, front: Front, socket: ActivatedSocket | null) {
    this.listener = listener;
    this.#isOurs = socket === null;
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
    if (socket === null) listen(this.#app, placeOf(listener), listener, front);
    else this.#adopt(socket, front);
    // With port 0 it is known only now; no request can have come in between.
    this.trust(config.server.trustedProxies);
    this.url = urlOf(listener, this.#app.server);
  }

  /** Whose word is taken for who the client is. */
  trust(proxies: readonly string[]): void {
    const { listener } = this;
    const port = listener.kind === "tcp" ? listener.port || (this.#app.server?.port ?? 0) : null;
    this.#entrance = { clients: new Clients(proxies, port), serverAddr: this.#serverAddr };
  }

  #adopt(socket: ActivatedSocket, front: Front): void {
    const place = placeholder(socket.address);
    listen(this.#app, place, this.listener, front);
    if (this.#app.server !== null) adoptListener(this.#app.server, place, socket);
  }

  async stop(now: boolean): Promise<void> {
    await this.#app.server?.stop(now);
  }

  remove(): void {
    if (this.#isOurs && this.listener.kind === "unix") removeSocket(this.listener.path);
  }
}

/** Where requests come in. Opened once; a reload changes only whom they believe. */
export class Listeners {
  readonly #open: OpenListener[] = [];

  /** `sockets`: open already, by the service manager; then those of the configuration are left alone. */
  async open(config: Config, front: Front, sockets: readonly ActivatedSocket[]): Promise<void> {
    for (const socket of sockets) this.#open.push(new OpenListener(socket.address, config, front, socket));
    if (sockets.length > 0) return;
    for (const listener of config.server.listeners) {
      if (listener.kind === "unix") await claimSocket(listener.path);
      this.#open.push(new OpenListener(listener, config, front, null));
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

function placeOf(listener: Listener): Place {
  return listener.kind === "tcp" ? { hostname: listener.host, port: listener.port } : { unix: listener.path };
}

function listen(app: Elysia, where: Place, listener: Listener, front: Front): void {
  try {
    app.listen({
      ...where,
      development: false,
      // Elysia's default would let a second server share the port in silence.
      reusePort: false,
      idleTimeout: idleSeconds(front.idleTimeoutMs),
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
  return `http://${host.includes(":") ? `[${host}]` : host}:${listener.port || server?.port}`;
}

/** SERVER_ADDR. Bun does not tell the local address of a connection, so a wildcard becomes the first one there is. */
function serverAddress(host: string): string {
  if (host !== "0.0.0.0" && host !== "::") return host;
  const addresses = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  return addresses.find((entry) => entry.family === "IPv4" && !entry.internal)?.address ?? "127.0.0.1";
}
