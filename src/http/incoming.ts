import type { Server } from "bun";
import type { Client, Clients, Peer } from "./client.ts";
import { nextRequestId } from "./request-id.ts";
import { type Target, parseTarget } from "./target.ts";

/** Where a request came in. */
export interface Entrance {
  readonly clients: Clients;
  readonly serverAddr: string;
}

/** Header names in lower case; values as byte strings. */
export type RequestHeaders = Readonly<Record<string, string>>;

/** One request as the front sees it. What costs something is worked out when it is first asked for. */
export class Incoming {
  readonly request: Request;
  readonly method: string;
  readonly target: Target;
  readonly entrance: Entrance;
  readonly requestId: string | null;
  readonly startedMs = performance.now();
  readonly #server: Server<unknown>;
  #headers: RequestHeaders | undefined;
  #held = false;
  #client: Client | null | undefined;

  constructor(request: Request, server: Server<unknown>, entrance: Entrance, withId: boolean) {
    this.request = request;
    this.method = request.method;
    this.target = parseTarget(request.url);
    this.entrance = entrance;
    this.requestId = withId ? nextRequestId() : null;
    this.#server = server;
  }

  get headers(): RequestHeaders {
    return (this.#headers ??= this.request.headers.toJSON() as RequestHeaders);
  }

  /** null: the request has no usable Host (400). */
  get client(): Client | null {
    if (this.#client === undefined) {
      const peer: Peer = this.#server.requestIP(this.request) ?? UNIX_PEER;
      this.#client = this.entrance.clients.identify(peer, this.headers) ?? null;
    }
    return this.#client;
  }

  /** For the log: the client, or who is at the other end when there is no telling. */
  get remoteAddr(): string | null {
    return this.client?.remoteAddr ?? this.#server.requestIP(this.request)?.address ?? null;
  }

  /** Bun closes a connection that is silent for so long; 0 turns that off. */
  setIdleTimeout(milliseconds: number): void {
    this.#server.timeout(this.request, milliseconds === 0 ? 0 : idleSeconds(milliseconds));
  }

  /** However long nothing is heard on its connection, it stays open until letIdle(). */
  holdOpen(): void {
    this.#held = true;
    this.setIdleTimeout(0);
  }

  /** From here on silence counts again. Two calls into Bun less for a request that nobody had to hold open. */
  letIdle(milliseconds: number): void {
    if (this.#held) this.setIdleTimeout(milliseconds);
    this.#held = false;
  }

  /** Something to call whenever bytes came, as often as one likes: the timeout begins anew, once a second at most. */
  renewing(milliseconds: number): () => void {
    let setAtMs = performance.now();
    return () => {
      const nowMs = performance.now();
      if (nowMs - setAtMs < RENEW_EVERY_MS) return;
      setAtMs = nowMs;
      this.setIdleTimeout(milliseconds);
    };
  }
}

/**
 * A timeout as Bun takes it, in whole seconds up to 255. It looks every four seconds, and counts the looks: without
 * another four a short timeout would be over at the next look, however lively the client is.
 */
export function idleSeconds(milliseconds: number): number {
  return Math.min(255, Math.ceil(milliseconds / 1000) + BUN_LOOKS_EVERY_S);
}

const BUN_LOOKS_EVERY_S = 4;
const RENEW_EVERY_MS = 1000;

const UNIX_PEER: Peer = { address: null, port: 0 };
