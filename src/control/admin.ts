import { BlockList, isIP } from "node:net";
import { Elysia } from "elysia";
import type { AdminConfig, Listener } from "../config/config.ts";
import { formatListen } from "../config/listen.ts";
import { PhprunError } from "../errors.ts";
import { parseAuthority } from "../http/host-header.ts";
import { parseTarget } from "../http/target.ts";
import type { Log } from "../log/log.ts";
import { claimSocket, removeSocket } from "../unix-socket.ts";
import type { Controlled } from "./controlled.ts";
import { asciiJson } from "./json.ts";
import { publicStatus } from "./public-status.ts";
import { notReadyReason } from "./readiness.ts";
import { renderStatus } from "./render-status.ts";

export interface Admin {
  /** Without a path: `http://127.0.0.1:9090`, or `unix:/run/phprun/admin.sock`. */
  readonly url: string;
  stop(): Promise<void>;
}

/** Width of the table at `/-/status?text`. */
const TEXT_COLUMNS = 140;

const loopback = new BlockList();
loopback.addSubnet("127.0.0.0", 8, "ipv4");
loopback.addAddress("::1", "ipv6");

/**
 * Opens the listener for `/-/health`, `/-/ready` and `/-/status`; null when the configuration wants none. It never
 * asks PHP, so it answers while every worker is busy and the queues are full. There are no passwords: who reaches it
 * may read it.
 */
export async function startAdmin(
  { listener }: AdminConfig,
  controlled: Controlled,
  log: Log,
): Promise<Admin | null> {
  if (listener === null) return null;
  if (listener.kind === "unix") await claimSocket(listener.path);
  else if (!isLoopback(listener.host)) {
    log.warn("the admin listener is open beyond this machine, and asks for no password", {
      listen: formatListen(listener),
    });
  }
  const pages = new AdminPages(listener, controlled, log);
  const app = new Elysia()
    .onError(({ error }) => pages.failed(error))
    .all("/*", ({ request }) => pages.answer(request), { parse: "none" });
  const where =
    listener.kind === "tcp" ? { hostname: listener.host, port: listener.port } : { unix: listener.path };
  try {
    app.listen({
      ...where,
      development: false,
      reusePort: false,
      maxRequestBodySize: 0,
    } as Parameters<typeof app.listen>[0]);
  } catch (cause) {
    throw new PhprunError(
      "LISTEN",
      `Cannot open the admin listener on ${formatListen(listener)}: ${(cause as Error).message}`,
      { cause },
    );
  }
  const url = urlOf(listener, app.server?.port);
  // The port is news when the configuration says 0.
  log.info("the admin listener is open", { url });
  return {
    url,
    async stop() {
      await app.server?.stop(true);
      if (listener.kind === "unix") removeSocket(listener.path);
    },
  };
}

class AdminPages {
  readonly #host: string | null;
  readonly #controlled: Controlled;
  readonly #log: Log;

  constructor(listener: Listener, controlled: Controlled, log: Log) {
    this.#host = listener.kind === "tcp" ? listener.host.toLowerCase() : null;
    this.#controlled = controlled;
    this.#log = log;
  }

  async answer(request: Request): Promise<Response> {
    if (!this.#isAddressed(request.headers.get("host"))) {
      return text(403, "This name is not known here: ask by address, or by the name in admin.host.\n");
    }
    const { path, query } = parseTarget(request.url);
    const page = PAGES[path];
    if (page === undefined) return text(404, "There are /-/health, /-/ready and /-/status.\n");
    if (request.method !== "GET" && request.method !== "HEAD") {
      return text(405, "Only GET and HEAD are answered here.\n", { Allow: "GET, HEAD" });
    }
    const response = await page(this.#controlled, query);
    return request.method === "GET" ? response : withoutBody(response);
  }

  failed(error: unknown): Response {
    const reason = error instanceof Error ? error.message : String(error);
    this.#log.warn("a request to the admin listener failed", { reason });
    return json(503, { ready: false, reason: "the server cannot tell its state" });
  }

  /**
   * A page in somebody's browser can have its own name lead to this address (DNS rebinding), and read what we answer.
   * Its name is then in the Host header. Nothing but a browser leaves the header away.
   */
  #isAddressed(header: string | null): boolean {
    if (this.#host === null || header === null) return true;
    const host = parseAuthority(header)?.host.toLowerCase();
    if (host === undefined) return false;
    return host === "localhost" || host === this.#host || isIP(host.replace(/^\[(.*)\]$/, "$1")) !== 0;
  }
}

type Page = (controlled: Controlled, query: string) => Response | Promise<Response>;

const PAGES: Readonly<Partial<Record<string, Page>>> = Object.assign(Object.create(null), {
  // Whoever asks this kills a server that does not answer. One that fails in part, or that is stopping, is not
  // helped by that: so it is fine as long as it can say so.
  "/-/health": () => text(200, "ok\n"),
  async "/-/ready"(controlled) {
    const reason = notReadyReason(await controlled.status());
    return reason === null ? json(200, { ready: true }) : json(503, { ready: false, reason });
  },
  async "/-/status"(controlled, query) {
    const status = publicStatus(await controlled.status());
    const asText = query.split("&").some((part) => part === "text" || part.startsWith("text="));
    return asText
      ? text(200, renderStatus(status, { columns: TEXT_COLUMNS, color: false }))
      : json(200, status);
  },
} satisfies Record<string, Page>);

const HEADERS = { "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff" };

function text(status: number, body: string, headers: Record<string, string> = {}): Response {
  return new Response(body, {
    status,
    headers: { ...HEADERS, "Content-Type": "text/plain; charset=utf-8", ...headers },
  });
}

function json(status: number, body: unknown): Response {
  return new Response(`${asciiJson(body)}\n`, {
    status,
    headers: { ...HEADERS, "Content-Type": "application/json" },
  });
}

function withoutBody({ status, headers }: Response): Response {
  return new Response(null, { status, headers });
}

function isLoopback(host: string): boolean {
  const family = isIP(host);
  if (family === 0) return host.toLowerCase() === "localhost";
  return loopback.check(host, family === 6 ? "ipv6" : "ipv4");
}

function urlOf(listener: Listener, port: number | undefined): string {
  if (listener.kind === "unix") return `unix:${listener.path}`;
  const { host } = listener;
  return `http://${host.includes(":") ? `[${host}]` : host}:${port ?? listener.port}`;
}
