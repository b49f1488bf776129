/** A server to be hard on: started in a folder of its own, looked at from outside, and gone afterwards. */
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { processTree } from "../../bench/processes.ts";
import { childrenOf, isRunning } from "../process/support.ts";
import type { Setup } from "./program.ts";

export interface Tree {
  readonly [key: string]: unknown;
}

export interface PhprunOptions {
  /** What starts phprun: the executable, or Bun and the source. */
  readonly command: readonly string[];
  readonly pools: readonly Tree[];
  readonly server?: Tree;
  readonly ini?: Tree;
  /** Isolation and libphp; all else phprun chooses. */
  readonly php?: Setup["php"];
  /** @default test/soak/docroot */
  readonly docroot?: string;
  readonly rest?: Tree;
}

const START_MS = 20_000;
const STOP_MS = 20_000;
const docroot = join(import.meta.dir, "docroot");

export class Phprun implements AsyncDisposable {
  readonly hostname = "127.0.0.1";
  port = 0;
  readonly folder = realpathSync(mkdtempSync(join(tmpdir(), "phprun-soak-")));
  readonly configFile = join(this.folder, "phprun.yaml");
  readonly command: readonly string[];
  /** Are its workers threads of their hosts? */
  readonly threads: boolean;
  readonly #process: Bun.Subprocess<"ignore", number, number>;

  private constructor(options: PhprunOptions) {
    this.command = options.command;
    this.threads = options.php?.isolation === "thread";
    for (const name of ["spool", "tmp"]) mkdirSync(join(this.folder, name));
    const { server = {}, ini = {}, rest = {} } = options;
    const config = {
      server: { host: this.hostname, port: 0, spool_dir: join(this.folder, "spool"), ...server },
      php: { docroot: options.docroot ?? docroot, ini, ...options.php },
      pools: options.pools,
      logging: { access: false },
      ...rest,
    };
    // JSON is YAML.
    writeFileSync(this.configFile, JSON.stringify(config));
    const log = openSync(this.logFile, "a");
    this.#process = Bun.spawn([...this.command, "serve", "--config", this.configFile], {
      cwd: this.folder,
      env: { ...process.env, NO_COLOR: "1", TMPDIR: join(this.folder, "tmp") },
      // In our own session: the kernel shares processors among sessions first, whatever the nice values in them.
      stdio: ["ignore", log, log],
    });
    closeSync(log);
    running.add(this);
  }

  /** Resolves when it serves. */
  static async start(options: PhprunOptions): Promise<Phprun> {
    const server = new Phprun(options);
    try {
      const port = await until(START_MS, () => {
        if (server.#process.exitCode !== null)
          throw new Error(`The server did not start\n${server.logTail()}`);
        return /^ {2}ready .*:(\d+)$/m.exec(server.log)?.[1];
      });
      if (port === undefined) throw new Error(`The server did not get ready\n${server.logTail()}`);
      server.port = Number(port);
      return server;
    } catch (error) {
      await server[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The front's. */
  get pid(): number {
    return this.#process.pid;
  }

  get alive(): boolean {
    return this.#process.exitCode === null && this.#process.signalCode === null;
  }

  get logFile(): string {
    return join(this.folder, "server.log");
  }

  get log(): string {
    return readFileSync(this.logFile, "utf8");
  }

  logTail(lines = 20): string {
    return this.log.trimEnd().split("\n").slice(-lines).join("\n");
  }

  hosts(): number[] {
    return childrenOf(this.pid).filter(isRunning);
  }

  /** The processes that run PHP: workers, or hosts whose threads are the workers. */
  workers(): number[] {
    if (this.threads) return this.hosts();
    return this.hosts().flatMap((host) => childrenOf(host).filter(isRunning));
  }

  signal(name: NodeJS.Signals): void {
    this.#process.kill(name);
  }

  /** Runs one of its commands; what it prints, or null when it fails. */
  run(...args: string[]): string | null {
    const { exitCode, stdout } = Bun.spawnSync([...this.command, ...args], { cwd: this.folder });
    return exitCode === 0 ? stdout.toString() : null;
  }

  /** SIGTERM, and wait. Returns what it did not do as it should. */
  async stop(): Promise<string[]> {
    const tree = [this.pid, ...this.hosts(), ...this.workers()];
    this.signal("SIGTERM");
    const code = await Promise.race([this.#process.exited, Bun.sleep(STOP_MS)]);
    const faults: string[] = [];
    if (code === undefined) faults.push(`it still runs ${STOP_MS / 1000} s after SIGTERM`);
    else if (code !== 0) faults.push(`exit code ${code}`);
    await until(1000, () => (tree.some(isRunning) ? undefined : true));
    for (const pid of tree.filter(isRunning)) faults.push(`process ${pid} is still there`);
    return faults;
  }

  killTree(): void {
    if (!this.alive) return;
    for (const pid of processTree([this.pid])) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // Gone already.
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.alive) {
      this.signal("SIGTERM");
      await Promise.race([this.#process.exited, Bun.sleep(2000)]);
    }
    this.killTree();
    await this.#process.exited;
    running.delete(this);
    rmSync(this.folder, { recursive: true, force: true });
  }
}

const running = new Set<Phprun>();
process.on("exit", () => {
  for (const server of running) {
    server.killTree();
    rmSync(server.folder, { recursive: true, force: true });
  }
});

/** Polls until `probe` returns something; undefined when it has not by then. */
export async function until<T>(ms: number, probe: () => T | undefined): Promise<T | undefined> {
  const deadline = performance.now() + ms;
  for (;;) {
    const found = probe();
    if (found !== undefined || performance.now() > deadline) return found;
    await Bun.sleep(5);
  }
}
