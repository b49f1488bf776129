/** One of the applications in test/fixtures/apps, as a server with a folder of its own, and those who visit it. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { Connection, eventually, type Isolation, type Server, start, targets } from "../harness.ts";
import { Visitor } from "./visitor.ts";

// One of the two ways to run phprun is enough here: that they do the same is the contract's business.
const target = targets.at(-1) ?? "source";
export const FIXTURES = join(import.meta.dir, "../fixtures/apps");

export interface Application {
  readonly name: "plain" | "slim" | "symfony" | "laravel";
  /** Where it is, when not in test/fixtures/apps: only its worker mode is of interest then. */
  readonly folder?: string;
  /** Of the script for worker mode, in the application's folder. */
  readonly workerScript: string;
  /** Environment in worker mode. */
  readonly workerEnv?: Readonly<Record<string, string>>;
  /** Does the loop of php/ leave nothing at all behind, by the judgement of `serve --paranoid`? */
  readonly leavesNothing?: boolean;
  /** Files of Debian's packages that it needs, below /usr/share/php, with the package of each. */
  readonly needs: Readonly<Record<string, string>>;
}

export interface Mode {
  readonly name: string;
  readonly worker: boolean;
  readonly isolation?: Isolation;
  readonly missing?: string | undefined;
  /** How many at once. In classic mode nothing survives a request that one could get from another. */
  readonly visitors: number;
  /** How often what could disturb the next request is done again. */
  readonly rounds: number;
}

/** An application that is being served, with a folder for what it writes. */
export class Running {
  readonly #application: Application;
  readonly #mode: Mode;
  #state = "";
  #server: Server | undefined;

  constructor(application: Application, mode: Mode) {
    this.#application = application;
    this.#mode = mode;
  }

  get name(): string {
    return this.#application.name;
  }

  get url(): string {
    return this.server.url;
  }

  get server(): Server {
    if (this.#server === undefined) throw new Error("The application was not started");
    return this.#server;
  }

  async start(workerCount = 4, ...args: string[]): Promise<void> {
    this.#state = mkdtempSync(join(tmpdir(), "phprun-app-"));
    process.once("exit", this.#removeState);
    const folder = this.#application.folder ?? join(FIXTURES, this.#application.name);
    const { worker, isolation } = this.#mode;
    const script = worker ? { worker_script: join(folder, this.#application.workerScript) } : {};
    this.#server = await start({
      target,
      ...(isolation === undefined ? {} : { isolation }),
      docroot: join(folder, "public"),
      config: {
        // Debian's own PHP looks there; one that somebody has built need not.
        php: { ini: { include_path: ".:/usr/share/php", display_errors: "0", log_errors: "1" } },
        pools: [{ name: "default", worker_count: workerCount, ...script }],
      },
      args,
      env: { APP_STATE_DIR: this.#state, ...(worker ? this.#application.workerEnv : {}) },
    });
  }

  async stop(): Promise<void> {
    if (this.#state === "") return;
    await this.#server?.[Symbol.asyncDispose]();
    process.off("exit", this.#removeState);
    this.#removeState();
  }

  visitor(): Person {
    return new Person(this.url);
  }

  openGate(name: string): void {
    writeFileSync(join(this.#state, `${name}.gate`), "");
  }

  /** How the script that answered /abort has heard that its client is gone. */
  async aborted(id: string): Promise<string> {
    const path = join(this.#state, `aborted-${id}`);
    return await eventually(`${path} is there`, () => {
      const text = existsSync(path) ? readFileSync(path, "utf8") : "";
      return text === "" ? undefined : text;
    });
  }

  /** Somebody who asks for something endless, and leaves. */
  async abort(id: string): Promise<void> {
    using connection = await Connection.open(this.url);
    await connection.send(`GET /abort?id=${id} HTTP/1.1\r\nHost: x\r\n\r\n`);
    await connection.until(/\.{1000}/);
  }

  readonly #removeState = (): void => rmSync(this.#state, { recursive: true, force: true });
}

/** One who can log in, and says what the answer was. */
export class Person extends Visitor {
  constructor(url: string) {
    super(url, { accept: "application/json" });
  }

  async logIn(user: string, password = `secret-of-${user}`): Promise<Answer> {
    return await answer(await this.post("/login", new URLSearchParams({ user, password })));
  }

  async me(): Promise<Answer> {
    return await answer(await this.get("/me"));
  }

  async addNote(text: string): Promise<Answer> {
    return await answer(await this.post("/notes", new URLSearchParams({ text })));
  }

  async notes(): Promise<string[]> {
    const { data } = await answer(await this.get("/notes"));
    return (data["notes"] as { text: string }[]).map((note) => note.text);
  }

  async visits(): Promise<unknown> {
    return (await answer(await this.get("/json"))).data["visits"];
  }

  async upload(content: string): Promise<Answer> {
    const form = new FormData();
    form.set("file", new File([content], "notes.txt", { type: "text/plain" }));
    form.append("more[]", new File([content, content], "a.bin", { type: "application/octet-stream" }));
    form.append("more[]", new File([""], "empty.bin", { type: "application/octet-stream" }));
    return await answer(await this.post("/upload", form));
  }
}

export interface Answer {
  readonly status: number;
  readonly data: Readonly<Record<string, unknown>>;
}

export async function answer(response: Response): Promise<Answer> {
  const text = await response.text();
  const json = response.headers.get("content-type")?.startsWith("application/json") === true;
  return { status: response.status, data: json ? (JSON.parse(text) as Answer["data"]) : { text } };
}
