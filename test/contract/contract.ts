import { afterAll, beforeAll, describe } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type Isolation,
  type Server,
  type StartOptions,
  type Target,
  type Tree,
  start,
  targets,
  test,
} from "../harness.ts";
import { ztsLibphp } from "../zts.ts";
import { exclude } from "./contract-test.ts";
import { badInput } from "./bad-input.ts";
import { bodies } from "./bodies.ts";
import { bunLimits } from "./bun-limits.ts";
import { endings } from "./endings.ts";
import { failures } from "./failures.ts";
import { http } from "./http.ts";
import { isolation } from "./isolation.ts";
import { logs } from "./logs.ts";
import { proxies } from "./proxies.ts";
import { responses } from "./responses.ts";
import { sessions } from "./sessions.ts";
import { superglobals } from "./superglobals.ts";
import { NOT_IN_WORKER_MODE } from "./worker-mode.ts";
import { timeLimits } from "./time-limits.ts";
import { uploads } from "./uploads.ts";

/** How PHP answers: each request from the top of a script, or all from one that has booted. */
export type Mode = "classic" | "worker";

/** What the contract is checked against. */
export interface Subject {
  /** undefined: what phprun chooses. */
  readonly isolation: Isolation | undefined;
  readonly mode: Mode;
  readonly url: string;
  /** Four workers and generous limits. */
  readonly server: Server;
  /** One worker, tight limits, and the options that the other one leaves alone. */
  readonly strict: Server;
  /** Starts another server of the same kind, for tests that need settings of their own. */
  start(options: StartOptions): Promise<Server>;
}

const PARTS = [
  superglobals,
  proxies,
  isolation,
  responses,
  endings,
  failures,
  timeLimits,
  sessions,
  uploads,
  bodies,
  http,
  badInput,
  logs,
  bunLimits,
];

/** What every way of serving PHP over HTTP must do. */
export function contract(name: string, subject: () => Subject, mode: Mode = "classic"): void {
  describe(name, () => {
    exclude(mode === "worker" ? NOT_IN_WORKER_MODE : new Map());
    for (const part of PARTS) part(subject);
  });
}

const fixtures = join(import.meta.dir, "../fixtures/contract");

/** Includes the script that a request's path names, from one that has booted before. */
export const workerScript = join(import.meta.dir, "../fixtures/contract-worker.php");

/** The same configuration in worker mode: every pool answers from the one script. */
function inMode(mode: Mode, config: Tree): Tree {
  if (mode === "classic") return config;
  const pools = (config["pools"] ?? [{ name: "contract" }]) as readonly Tree[];
  return { ...config, pools: pools.map((pool) => ({ worker_script: workerScript, ...pool })) };
}

/** Runs the contract against one pair of servers of this kind, shared by all tests of the file. */
export function testTarget(target: Target, workers?: Isolation, mode: Mode = "classic"): void {
  const kind = workers === undefined ? target : `${target}, isolation: ${workers}`;
  const name = mode === "classic" ? kind : `${kind}, worker mode`;
  if (!targets.includes(target)) {
    test.skip(`contract of the ${name}: not chosen, or not built`, () => {});
    return;
  }
  if (workers === "thread" && ztsLibphp === null) {
    test.skip(`contract of the ${name}: no ZTS libphp (run ./setup.sh --zts)`, () => {});
    return;
  }
  const folder = mkdtempSync(join(tmpdir(), "phprun-contract-"));
  const servers: Server[] = [];
  const startOne = (options: StartOptions) =>
    start({
      target,
      docroot: fixtures,
      ...(workers === undefined ? {} : { isolation: workers }),
      ...options,
      config: inMode(mode, options.config ?? {}),
    });
  beforeAll(async () => {
    const configs = [generous(folder), strict(folder)];
    servers.push(...(await Promise.all(configs.map((config) => startOne({ config })))));
  });
  afterAll(async () => {
    await Promise.all(servers.map((server) => server[Symbol.asyncDispose]()));
    rmSync(folder, { recursive: true });
  });
  contract(
    name,
    () => {
      const [server, second] = servers;
      if (server === undefined || second === undefined) throw new Error("The servers have not started");
      return { isolation: workers, mode, url: server.url, server, strict: second, start: startOne };
    },
    mode,
  );
}

const generous = (folder: string): Tree => ({
  server: { client_max_body_size: "80MiB", server_header: "contract" },
  php: {
    front_controller: null,
    ini: {
      memory_limit: "32M",
      upload_max_filesize: "100M",
      post_max_size: "100M",
      max_execution_time: "30",
      "session.save_path": folder,
    },
    env: { FROM_CONFIG: "configured" },
  },
  pools: [{ name: "contract", worker_count: 4, timeout_ms: 15_000 }],
});

const strict = (folder: string): Tree => ({
  server: { client_max_body_size: "1MiB", trusted_proxies: ["127.0.0.0/8"], request_id: false },
  php: {
    front_controller: null,
    sapi_name: "fpm-fcgi",
    json_post: true,
    ini: {
      post_max_size: "100K",
      upload_max_filesize: "50K",
      max_file_uploads: "3",
      max_input_vars: "20",
      variables_order: "EGPCS",
      output_buffering: "0",
      max_execution_time: "1",
      "session.save_path": folder,
    },
    env: { FROM_CONFIG: "configured" },
  },
  pools: [{ name: "strict", worker_count: 1, timeout_ms: 15_000 }],
  logging: { access_format: "json" },
});
