/** A real MariaDB for tests. */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventually, within } from "./harness.ts";

/** Why there can be none here; undefined when there can. */
export function whyNoDatabase(): string | undefined {
  for (const program of ["mariadbd", "mariadb-install-db", "my_print_defaults"]) {
    if (Bun.which(program) === null) return `no ${program}`;
  }
  return undefined;
}

/** A MariaDB server in a temporary folder, reachable through a unix socket alone: root, no password. */
export class Database {
  readonly folder: string;
  readonly socket: string;
  #process: Bun.Subprocess | undefined;

  private constructor(folder: string) {
    this.folder = folder;
    this.socket = join(folder, "db.sock");
  }

  /** `name`: of the database that it begins with. */
  static async start(name: string): Promise<Database> {
    const database = new Database(mkdtempSync(join(tmpdir(), "phprun-db-")));
    process.once("exit", database.#endNow);
    try {
      await database.#start(name);
      return database;
    } catch (error) {
      await database.stop();
      throw error;
    }
  }

  async stop(): Promise<void> {
    process.off("exit", this.#endNow);
    const running = this.#process;
    if (running !== undefined) {
      running.kill("SIGTERM");
      await within(running.exited, "MariaDB has stopped").catch(() => running.kill("SIGKILL"));
    }
    rmSync(this.folder, { recursive: true, force: true });
  }

  async #start(name: string): Promise<void> {
    const data = join(this.folder, "db");
    const log = join(this.folder, "db.log");
    const init = join(this.folder, "init.sql");
    writeFileSync(init, `CREATE DATABASE IF NOT EXISTS ${name};\n`);
    // It refuses to run as root unless told to.
    const user = process.getuid?.() === 0 ? ["--user=root"] : [];
    const place = ["--no-defaults", `--datadir=${data}`, ...user];
    const made = Bun.spawnSync([
      "mariadb-install-db",
      ...place,
      "--auth-root-authentication-method=normal",
      "--skip-test-db",
      "--skip-name-resolve",
    ]);
    if (made.exitCode !== 0) throw new Error(`mariadb-install-db: ${made.stdout}${made.stderr}`);
    // Nothing here has to survive a power cut.
    const careless = ["--innodb-flush-log-at-trx-commit=0", "--skip-log-bin", "--innodb-fast-shutdown=2"];
    const running = Bun.spawn(
      [
        "mariadbd",
        ...place,
        `--socket=${this.socket}`,
        "--skip-networking",
        `--init-file=${init}`,
        ...careless,
      ],
      { stdio: ["ignore", Bun.file(log), Bun.file(log)] },
    );
    this.#process = running;
    await eventually(
      "MariaDB takes connections",
      () => {
        if (running.exitCode !== null) throw new Error(`MariaDB ended with ${running.exitCode}`);
        return existsSync(this.socket) ? true : undefined;
      },
      () => `Its log is ${log}`,
    );
  }

  /** For the runner's own exit. */
  readonly #endNow = (): void => {
    this.#process?.kill("SIGKILL");
    rmSync(this.folder, { recursive: true, force: true });
  };
}
