/** What the process tests add to the harness: requests one by one, and a look at processes from outside. */
import { describe } from "bun:test";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import {
  Connection,
  defaultIsolation,
  eventually,
  type HttpResponse,
  type Isolation,
  raw,
  type Server,
  start,
  type StartOptions,
  targets,
  test,
  type Tree,
} from "../harness.ts";
import { ztsLibphp } from "../zts.ts";

/** Tests that run once for each way of keeping workers apart. */
export interface Under {
  readonly isolation: Isolation;
  readonly threads: boolean;
  /** Starts a server with workers of that kind; threads run in the executable when there is one. */
  readonly begin: (options?: StartOptions) => Promise<Server>;
}

const startedAs = new WeakMap<Server, Isolation>();

/** How its workers are kept apart; undefined when the test has left that to phprun. */
export function isolationOf(server: Server): Isolation | undefined {
  return startedAs.get(server) ?? defaultIsolation;
}

/** Describes what holds whether workers are processes or threads. `PHPRUN_TEST_ISOLATION` picks one of them. */
export function underEachIsolation(body: (under: Under) => void): void {
  const wanted: Isolation[] = defaultIsolation === undefined ? ["process", "thread"] : [defaultIsolation];
  for (const isolation of wanted) {
    const threads = isolation === "thread";
    describe(`isolation ${isolation}:`, () => {
      if (threads && ztsLibphp === null)
        return test.skip("skipped: no ZTS libphp (run ./setup.sh --zts)", () => undefined);
      const target = (threads ? targets.at(-1) : targets[0]) ?? "source";
      body({
        isolation,
        threads,
        begin: async (options) => {
          const server = await start({ isolation, target, ...options });
          startedAs.set(server, isolation);
          return server;
        },
      });
    });
  }
}

/** PHP for the id that the log and the status tell of a worker: of its process, or of its thread. */
export const WORKER_ID = "basename(readlink('/proc/thread-self'))";

/** One request on a connection of its own. */
export async function get(server: Server, path: string): Promise<HttpResponse> {
  return await raw(server.url, getBytes(path));
}

export function getBytes(path: string): string {
  return `GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`;
}

/** Sends a request and leaves the connection open; `response()` takes the answer. */
export async function ask(server: Server, path: string): Promise<Connection> {
  const connection = await Connection.open(server.url);
  await connection.send(getBytes(path));
  return connection;
}

/** A configuration with one pool; debug lines tell which workers start. */
export function onePool(pool: Tree, rest: Tree = {}): Tree {
  return { ...rest, pools: [{ name: "default", ...pool }], logging: { level: "debug", access: false } };
}

/** Pids of the workers in the order in which they started. */
export function startedPids(server: Server): number[] {
  return [...server.log.text.matchAll(/worker started .*worker=\d+ gen=\d+ pid=(\d+)/g)].map((match) =>
    Number(match[1]),
  );
}

export async function workerPids(server: Server, count: number): Promise<number[]> {
  return await eventually(`${count} workers have started`, () => {
    const pids = startedPids(server).filter(isRunning);
    return pids.length === count ? pids : undefined;
  });
}

/** Children of a process, by its id. */
export function childrenOf(pid: number): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && parentOf(Number(name)) === pid)
    .map(Number);
}

function parentOf(pid: number): number {
  return Number(/^PPid:\s+(\d+)/m.exec(statusOf(pid))?.[1] ?? 0);
}

export function statusOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/status`, "utf8");
  } catch {
    return "";
  }
}

/** A zombie has ended: whether its parent has looked is no concern of ours. */
export function isRunning(pid: number): boolean {
  return /^State:\s+[^ZX]/m.test(statusOf(pid));
}

export async function allGone(pids: readonly number[]): Promise<void> {
  await eventually(
    `the processes ${pids} are gone`,
    () => (pids.some(isRunning) ? undefined : true),
    () => pids.map((pid) => statusOf(pid).split("\n").slice(0, 3).join(" ")).join("; "),
  );
}

/** What a process has open: descriptor and what it leads to. */
export function descriptors(pid: number): Map<number, string> {
  const found = new Map<number, string>();
  for (const name of readdirSync(`/proc/${pid}/fd`)) {
    try {
      found.set(Number(name), readlinkSync(`/proc/${pid}/fd/${name}`));
    } catch {
      // Closed meanwhile.
    }
  }
  return found;
}

/** Kilobytes of one line in smaps_rollup. */
export function memoryKb(pid: number, ...names: string[]): number {
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
  return names.reduce(
    (sum, name) => sum + Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(rollup)?.[1] ?? 0),
    0,
  );
}

/** Waits in a script until the test makes the file `records/NAME.gate`. */
export const GATE = `
function gate(string $name): void {
  $file = getenv('RECORDS') . "/$name";
  file_put_contents($file, "here\\n", FILE_APPEND);
  while (!file_exists("$file.gate")) { usleep(1000); clearstatcache(); }
}
`;

/**
 * A script that waits in C with every signal blocked: nothing but the other end of the pipe brings it back. It needs
 * `ffi.enable`.
 */
export const STUCK = `<?php
$c = FFI::cdef('int sigfillset(void *); int pthread_sigmask(int, void *, void *); int open(const char *, int); int mkfifo(const char *, int);');
$set = FFI::new('char[128]');
$pipe = getenv('RECORDS') . '/' . $_GET['id'] . '.pipe';
$c->mkfifo($pipe, 0600);
$c->sigfillset(FFI::addr($set));
$c->pthread_sigmask(0, FFI::addr($set), null);
file_put_contents(getenv('RECORDS') . '/' . $_GET['id'], 'started');
$c->open($pipe, 0);
echo 'came back';`;

export interface Finished {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Runs a command that ends by itself, and takes what it says. */
export async function run(
  line: readonly string[],
  options: { cwd?: string; env?: Record<string, string> } = {},
): Promise<Finished> {
  const child = Bun.spawn([...line], {
    cwd: options.cwd ?? "/",
    env: { PATH: process.env["PATH"] ?? "", NO_COLOR: "1", ...options.env },
    stdio: ["ignore", "pipe", "pipe"],
    timeout: 12_000,
    killSignal: "SIGKILL",
  });
  const [out, err, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  return { code, out, err };
}

/** Only root may give a pool another user, who must be able to reach the libraries. */
export const mayChangeUser =
  process.getuid?.() === 0 &&
  Bun.spawnSync([
    "setpriv",
    "--reuid=nobody",
    "--clear-groups",
    "test",
    "-r",
    join(import.meta.dir, "../../build/lib"),
  ]).exitCode === 0;

/** A folder that is gone when the test is over. */
export class Scratch implements Disposable {
  readonly path: string;

  constructor(parent = tmpdir()) {
    this.path = realpathSync(mkdtempSync(join(parent, "phprun-scratch-")));
  }

  write(name: string, content: string | Uint8Array): string {
    const path = join(this.path, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content);
    return path;
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}
