import { mkdtempSync, openSync, closeSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export type Child = Bun.Subprocess<"ignore", number, number>;

/** A temporary folder and the processes started in it. Nothing of either is left when it is disposed of. */
export class Scratch implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), "phprun-bench-"));
  readonly #children = new Set<Child>();
  readonly #over = new AbortController();
  #number = 0;

  /** For short-lived tools: ends them with everything else. */
  get signal(): AbortSignal {
    return this.#over.signal;
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  /** A name that has not been given out before. */
  fresh(prefix: string): string {
    return `${prefix}-${++this.#number}`;
  }

  /** Starts a server with nothing in its environment but a PATH and a TMPDIR: the same for all of them. */
  start(name: string, command: string[], env: Record<string, string> = {}): Child {
    const log = openSync(this.path(`${name}.log`), "a");
    const child = Bun.spawn(command, {
      cwd: this.folder,
      env: { ...plainEnvironment(this.folder), ...env },
      stdio: ["ignore", log, log],
    });
    closeSync(log);
    this.#children.add(child);
    return child;
  }

  log(name: string): string {
    return readFileSync(this.path(`${name}.log`), "utf8").slice(-3000);
  }

  async end(child: Child): Promise<void> {
    if (!this.#children.delete(child)) return;
    if (child.exitCode === null) child.kill("SIGTERM");
    const overdue = setTimeout(() => child.kill("SIGKILL"), 5000);
    await child.exited;
    clearTimeout(overdue);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#over.abort();
    await Promise.all([...this.#children].map((child) => this.end(child)));
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export function plainEnvironment(folder: string): Record<string, string> {
  return { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", TMPDIR: folder };
}

export function freePort(): number {
  const probe = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const { port } = probe;
  probe.stop(true);
  return port;
}
