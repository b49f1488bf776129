/**
 * What process and contract tests share: servers that are really started, clients that really connect.
 *
 * Nothing here sleeps for time to pass: everything waits for a condition and fails loudly when it does not come.
 */
import { test as bunTest } from "bun:test";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

import { ztsLibphp } from "./zts.ts";

export { Connection, curl, type HttpResponse, parseResponse, raw } from "./http-client.ts";

/** The two ways phprun is run: by Bun from its source, or as the built executable. */
export type Target = "source" | "binary";

const root = dirname(import.meta.dir);
const executable = join(root, "phprun");

/** `PHPRUN_TEST_TARGET` picks one; else the source, and the executable when it is built. */
export const targets: readonly Target[] = chooseTargets();

function chooseTargets(): Target[] {
  const wanted = process.env["PHPRUN_TEST_TARGET"];
  if (wanted === "source" || wanted === "binary") return [wanted];
  return existsSync(executable) ? ["source", "binary"] : ["source"];
}

/** The command line of a target, as a user would type it. */
export function command(target: Target, ...args: string[]): string[] {
  if (target === "binary") return [executable, ...args];
  return [process.execPath, "--max-http-header-size=65536", join(root, "src/main.ts"), ...args];
}

/** How workers are kept apart. */
export type Isolation = "process" | "thread";

/** `PHPRUN_TEST_ISOLATION` picks one for all servers of a run that do not say which they want. */
export const defaultIsolation: Isolation | undefined = chooseIsolation();

function chooseIsolation(): Isolation | undefined {
  const wanted = process.env["PHPRUN_TEST_ISOLATION"];
  return wanted === "process" || wanted === "thread" ? wanted : undefined;
}

/** The part of the configuration that makes workers threads or processes; threads need a thread-safe libphp. */
export function isolationConfig(isolation: Isolation | undefined): Tree {
  if (isolation === "thread") return { isolation, libphp: ztsLibphp ?? "auto" };
  return isolation === undefined ? {} : { isolation };
}

/** A thread crashes alone, or blocks for good, only by a call into C. */
const crashIni = (isolation: Isolation | undefined): Tree =>
  isolation === "thread" ? { "ffi.enable": "1" } : {};

export interface StartOptions {
  /** @default the first of `targets` */
  readonly target?: Target;
  /** @default `defaultIsolation`, else what phprun makes of the libphp it finds */
  readonly isolation?: Isolation;
  /** Folder to serve; else `files`, written to a temporary one. */
  readonly docroot?: string;
  readonly files?: Readonly<Record<string, string | Uint8Array>>;
  /** The tree of phprun.yaml. `server.port` is 0 and `php.docroot` is set unless it says otherwise. */
  readonly config?: Tree;
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

export interface Tree {
  readonly [key: string]: unknown;
}

/** Starts a server and waits until it says that it is ready. */
export async function start(options: StartOptions = {}): Promise<Server> {
  const server = launch(options);
  try {
    await server.ready();
  } catch (error) {
    await server[Symbol.asyncDispose]();
    throw error;
  }
  return server;
}

/** Starts a server without waiting: for those that are meant to fail. */
export function launch(options: StartOptions = {}): Server {
  const server = new Server(options);
  running.add(server);
  startedInTest.add(server);
  return server;
}

/** How long a condition may take. Below the runner's own limit, so that a failure can still tell the log. */
const PATIENCE_MS = 12_000;
const TEST_MS = 18_000;

export class Server implements AsyncDisposable {
  readonly target: Target;
  /** Temporary; holds the configuration, the records of scripts, and what a test puts there. */
  readonly folder: string;
  readonly docroot: string;
  readonly log = new CapturedLog();
  readonly exited: Promise<number>;
  /** Of the first listener. */
  url = "";
  urls: readonly string[] = [];
  readonly #process: Bun.Subprocess<"ignore", "pipe", "pipe">;

  constructor(options: StartOptions) {
    this.target = options.target ?? targets[0] ?? "source";
    this.folder = realpathSync(mkdtempSync(join(tmpdir(), "phprun-test-")));
    this.docroot = options.docroot ?? join(this.folder, "public");
    mkdirSync(join(this.folder, "records"));
    // The host may run as root, its scripts not always.
    if (options.docroot === undefined) mkdirSync(this.docroot);
    for (const [name, content] of Object.entries(options.files ?? {})) {
      mkdirSync(dirname(join(this.docroot, name)), { recursive: true });
      writeFileSync(join(this.docroot, name), content);
    }
    const config = this.write("phprun.yaml", JSON.stringify(this.#config(options)));
    this.#process = Bun.spawn(command(this.target, "serve", "--config", config, ...(options.args ?? [])), {
      cwd: this.folder,
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, NO_COLOR: "1", RECORDS: join(this.folder, "records"), ...options.env },
      // A process group of its own, so that the whole tree can be ended.
      detached: true,
    });
    const closed = [this.log.follow(this.#process.stdout), this.log.follow(this.#process.stderr)];
    this.exited = Promise.all([this.#process.exited, ...closed]).then(([code]) => code);
    void this.exited.then(() => this.log.end());
  }

  get pid(): number {
    return this.#process.pid;
  }

  get port(): number {
    return Number(new URL(this.url).port);
  }

  /** Waits for the banner, which tells the URLs. */
  async ready(): Promise<void> {
    await this.waitForLog(/^ {2}ready .*\n(?! {2}ready)/m).catch((error: Error) => {
      throw new Error(`The server did not get ready\n${error.message}`);
    });
    this.urls = [...this.log.text.matchAll(/^ {2}ready {4}(\S+)$/gm)].map((match) => match[1] ?? "");
    this.url = this.urls[0] ?? "";
  }

  /** Waits until the log, from `from` on, matches. */
  async waitForLog(pattern: RegExp, from = 0): Promise<RegExpExecArray> {
    return await this.log.wait(pattern, from);
  }

  signal(name: NodeJS.Signals): void {
    this.#process.kill(name);
  }

  /** SIGTERM and wait for the end. Returns the exit code. */
  async stop(): Promise<number> {
    this.signal("SIGTERM");
    return await within(this.exited, "the server has stopped");
  }

  write(name: string, content: string | Uint8Array): string {
    const path = join(this.folder, name);
    writeFileSync(path, content);
    return path;
  }

  /** Lets a script go on that waits in `wait_for($name)` (fixtures/contract/_lib.php). */
  openGate(name: string): void {
    this.write(`records/${name}.gate`, "");
  }

  /** Waits until what a script recorded under this name matches. */
  async record(name: string, pattern: RegExp): Promise<string> {
    const path = join(this.folder, "records", name);
    const read = () => (existsSync(path) ? readFileSync(path, "utf8") : "");
    return await eventually(
      `the record "${name}" matches ${pattern}`,
      () => {
        const text = read();
        return pattern.test(text) ? text : undefined;
      },
      () => `It is: ${JSON.stringify(read())}`,
    );
  }

  /** Processes of the tree that still live, as `pid name`. */
  processes(): string[] {
    const listed = Bun.spawnSync(["ps", "-o", "pid=,comm=", "-g", String(this.pid)]).stdout.toString();
    return listed
      .split("\n")
      .map((line) => line.trim())
      .filter((line) => line !== "" && !line.includes("<defunct>"));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    running.delete(this);
    const graceful = this.#process.exitCode !== null || (await this.#end());
    rmSync(this.folder, { recursive: true, force: true });
    if (!graceful) throw new Error(`The server did not stop when asked to\n${this.log.tail()}`);
  }

  /** Ends everything at once; for the runner's own exit. */
  killTree(): void {
    try {
      process.kill(-this.pid, "SIGKILL");
    } catch {
      // All gone already.
    }
  }

  async #end(): Promise<boolean> {
    // The first asks it to finish what runs, the second not to wait for that.
    for (const patienceMs of [1500, 5000]) {
      this.signal("SIGTERM");
      if (await settles(this.exited, patienceMs)) return true;
    }
    this.killTree();
    await settles(this.exited, 2000);
    return false;
  }

  #config({ config = {}, isolation = defaultIsolation }: StartOptions): Tree {
    const server = (config["server"] ?? {}) as Tree;
    const php = (config["php"] ?? {}) as Tree;
    const ini = (php["ini"] ?? {}) as Tree;
    const place = "listen" in server ? {} : { host: "127.0.0.1", port: 0 };
    return {
      ...config,
      server: { ...place, ...server },
      php: {
        docroot: this.docroot,
        ...isolationConfig(isolation),
        ...php,
        // The default is a folder that outlives the test.
        ini: { ...crashIni(isolation), "session.save_path": join(this.folder, "records"), ...ini },
      },
    };
  }
}

/** Everything a server has printed, on both streams. */
export class CapturedLog {
  text = "";
  #ended = false;
  #waiting: (() => void)[] = [];

  /** A place in the log, to look only at what comes after it. */
  mark(): number {
    return this.text.length;
  }

  async wait(pattern: RegExp, from: number): Promise<RegExpExecArray> {
    const deadline = AbortSignal.timeout(PATIENCE_MS);
    deadline.addEventListener("abort", () => this.#changed());
    for (;;) {
      const match = pattern.exec(this.text.slice(from));
      if (match !== null) return match;
      if (this.#ended) throw new Error(`The server ended before its log had ${pattern}\n${this.tail(from)}`);
      if (deadline.aborted) throw new Error(`The log does not have ${pattern}\n${this.tail(from)}`);
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  async follow(stream: ReadableStream<Uint8Array>): Promise<void> {
    const decoder = new TextDecoder();
    for await (const bytes of stream) {
      this.text += decoder.decode(bytes, { stream: true });
      this.#changed();
    }
  }

  end(): void {
    this.#ended = true;
    this.#changed();
  }

  tail(from = 0): string {
    const lines = this.text.slice(from).trimEnd().split("\n");
    return `--- log of the server ---\n${lines.slice(-100).join("\n")}\n--- end of log ---`;
  }

  #changed(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }
}

const running = new Set<Server>();
const startedInTest = new Set<Server>();
process.on("exit", () => {
  for (const server of running) {
    server.killTree();
    rmSync(server.folder, { recursive: true, force: true });
  }
});

/** A test that prints what its servers logged when it fails. */
export function test(name: string, body: () => Promise<void> | void): void {
  bunTest(name, () => toldWithLogs(body), TEST_MS + 2000);
}

test.skip = (name: string, body: () => Promise<void> | void): void => bunTest.skip(name, body);
test.skipIf = (condition: boolean) => (condition ? test.skip : test);

async function toldWithLogs(body: () => Promise<void> | void): Promise<void> {
  startedInTest.clear();
  const marks = [...running].map((server) => [server, server.log.mark()] as const);
  try {
    await within(Promise.resolve(body()), "the test is over", TEST_MS);
  } catch (error) {
    for (const [server, mark] of marks) console.error(server.log.tail(mark));
    for (const server of startedInTest) console.error(server.log.tail());
    throw error;
  }
}

/** Polls until `probe` returns something other than undefined. For conditions that nobody announces. */
export async function eventually<T>(
  what: string,
  probe: () => T | undefined | Promise<T | undefined>,
  detail: () => string = () => "",
): Promise<T> {
  const deadline = performance.now() + PATIENCE_MS;
  for (;;) {
    const found = await probe();
    if (found !== undefined) return found;
    if (performance.now() > deadline)
      throw new Error(`Not so after ${PATIENCE_MS / 1000} s: ${what}. ${detail()}`);
    await Bun.sleep(3);
  }
}

export async function within<T>(promise: Promise<T>, what: string, ms = PATIENCE_MS): Promise<T> {
  let timer: Timer | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`Not so after ${ms / 1000} s: ${what}`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

async function settles(promise: Promise<unknown>, ms: number): Promise<boolean> {
  return await within(
    promise.then(() => true),
    "",
    ms,
  ).catch(() => false);
}

/** The size of a file, 0 when it is not there. */
export function sizeOf(path: string): number {
  return existsSync(path) ? statSync(path).size : 0;
}
