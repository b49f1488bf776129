import { afterAll, beforeAll, describe } from "bun:test";
import { join } from "node:path";
import { type Server, type StartOptions, type Target, start, targets, test } from "../harness.ts";
import { superglobals } from "./superglobals.ts";

/** What the contract is checked against. */
export interface Subject {
  readonly url: string;
  readonly server: Server;
  /** Starts another server of the same kind, for tests that need settings of their own. */
  start(options: StartOptions): Promise<Server>;
}

export const fixtures = join(import.meta.dir, "../fixtures/contract");

/** What every way of serving PHP over HTTP must do. */
export function contract(name: string, subject: () => Subject): void {
  describe(name, () => {
    for (const part of [superglobals]) part(subject);
  });
}

/** Runs the contract against one server of this kind, shared by all tests of the file. */
export function testTarget(target: Target): void {
  if (!targets.includes(target)) {
    test.skip(`contract of the ${target}: not chosen, or not built`, () => {});
    return;
  }
  let server: Server | undefined;
  beforeAll(async () => {
    server = await start({ target, docroot: fixtures, config: sharedConfig });
  });
  afterAll(async () => {
    await server?.[Symbol.asyncDispose]();
  });
  contract(target, () => {
    if (server === undefined) throw new Error("The server has not started");
    const shared = server;
    return { url: shared.url, server: shared, start: (options) => start({ target, docroot: fixtures, ...options }) };
  });
}

const sharedConfig = {
  server: { client_max_body_size: "80MiB" },
  php: {
    front_controller: null,
    ini: { memory_limit: "32M", upload_max_filesize: "100M", post_max_size: "100M", max_execution_time: "30" },
    env: { FROM_CONFIG: "configured" },
  },
  pools: [{ name: "contract", worker_count: 4, timeout_ms: 15_000 }],
};
