/** A server seen from outside while things go wrong in it: its status page, and peers that never answer. */
import { readFileSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import type { PoolStatus, ServerStatus } from "../../src/control/status.ts";
import { type HttpResponse, raw, type Server, type Tree } from "../harness.ts";
import { descriptors, onePool } from "./support.ts";

/** One pool, and the status pages on a free port. */
export function observedPool(pool: Tree, rest: Tree = {}): Tree {
  return onePool(pool, { ...rest, admin: { enabled: true, port: 0 } });
}

/** A page of the admin listener. */
export async function adminPage(server: Server, path: string): Promise<HttpResponse> {
  const [, url = ""] = await server.waitForLog(/admin listener is open.*url=(http:\S+)/);
  return await raw(url, `GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`);
}

export async function statusPage(server: Server): Promise<ServerStatus> {
  return JSON.parse((await adminPage(server, "/-/status")).text) as ServerStatus;
}

/** What is told of one pool, the first one unless it is named. */
export async function poolPage(server: Server, name?: string): Promise<PoolStatus> {
  const { pools } = await statusPage(server);
  const pool = pools.find((each) => name === undefined || each.name === name);
  if (pool === undefined) throw new Error(`The status page has no pool ${name}`);
  return pool;
}

/** Lines of the log that match. */
export function logLines(server: Server, pattern: RegExp): string[] {
  return server.log.text.split("\n").filter((line) => pattern.test(line));
}

/** What the front holds that belongs to pools: mappings of their memory, and descriptors of any kind. */
export function heldByFront(server: Server): { mappings: number; descriptors: number } {
  const maps = readFileSync(`/proc/${server.pid}/maps`, "utf8");
  return {
    mappings: maps.split("\n").filter((line) => line.includes("phprun-pool")).length,
    descriptors: descriptors(server.pid).size,
  };
}

/** A peer that takes connections and says nothing. */
export class SilentPeer implements Disposable {
  readonly port: number;
  readonly #close: () => void;

  private constructor(port: number, close: () => void) {
    this.port = port;
    this.#close = close;
  }

  get address(): string {
    return `tcp://127.0.0.1:${this.port}`;
  }

  static async listen(): Promise<SilentPeer> {
    const taken: Socket[] = [];
    const server = createServer((socket) => {
      socket.on("error", () => undefined);
      taken.push(socket);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as { port: number };
    return new SilentPeer(port, () => {
      for (const socket of taken) socket.destroy();
      server.close();
    });
  }

  [Symbol.dispose](): void {
    this.#close();
  }
}
