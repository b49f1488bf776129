/**
 * One host with its workers, driven by the test itself in place of a front: requests go in as blocks, answers come
 * out as they lie in the slot. For what the C shim does by itself, without HTTP, routing or deadlines around it.
 */
import { closeSync, existsSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { Phase } from "../../ffi/layout.ts";
import { PoolMemory } from "../../ffi/pool-memory.ts";
import { socketPair } from "../../ffi/system.ts";
import { REQUEST_FIELDS } from "../../src/http/request-block.ts";
import { libphpCandidates } from "../../src/php/locate.ts";
import type { PhpReport } from "../../src/php/report.ts";
import { connectFd } from "../../src/pool/connect-fd.ts";
import { HostProcess } from "../../src/pool/host-process.ts";
import { LogChannel, type LogRecord } from "../../src/pool/log-channel.ts";
import { Command, type HostEvent } from "../../src/pool/messages.ts";
import { Spool } from "../../src/pool/spool.ts";
import { eventually, within } from "../harness.ts";
import { ztsLibphp } from "../zts.ts";

export interface RigOptions {
  readonly workers?: number;
  readonly slots?: number;
  readonly requestBytes?: number;
  readonly responseBytes?: number;
  readonly ini?: Readonly<Record<string, string>>;
  readonly jsonPost?: boolean;
  readonly slowLog?: boolean;
  /** What a worker is. Threads need `ztsLibphp`, which is then used. */
  readonly isolation?: "process" | "thread";
  /** Of a worker that is a thread; 16 MiB when not given. */
  readonly threadStackBytes?: number;
  /** Over our own. */
  readonly env?: Readonly<Record<string, string>>;
}

export interface Ask {
  /** Over those that a plain GET has. */
  readonly fields?: Partial<Record<(typeof REQUEST_FIELDS)[number], string>>;
  readonly pairs?: readonly [string, string][];
  readonly body?: string;
  /** In place of the block that fields and pairs make. */
  readonly block?: { readonly text: string; readonly values: number };
}

export interface Answer {
  readonly status: number;
  readonly outcome: number;
  readonly headers: readonly [string, string][];
  readonly body: string;
  /** The worker died: nothing else here means anything. */
  readonly lost: boolean;
}

/** A request on its way. */
interface Asked {
  readonly resolve: (answer: Answer) => void;
  parts: Buffer[];
  position: number;
  /** So far. */
  headers: readonly [string, string][];
  outcome: number;
}

type ExitedEvent = Extract<HostEvent, { kind: "exited" }>;

export class Rig implements AsyncDisposable {
  readonly folder = realpathSync(mkdtempSync(join(tmpdir(), "phprun-rig-")));
  readonly memory: PoolMemory;
  readonly log: LogRecord[] = [];
  /** What the host and its workers print. */
  readonly lines: string[] = [];
  readonly exits: ExitedEvent[] = [];
  readonly pids: (number | undefined)[] = [];
  report: PhpReport | undefined;
  /** How the host ended, once it has. */
  end: { readonly code: number | null; readonly signal: string | number | null } | undefined;

  readonly #spool: Spool;
  readonly #asked = new Map<number, Asked>();
  readonly #free: number[];
  readonly #options: RigOptions;
  readonly #sockets: { end(): void }[] = [];
  #host: HostProcess | undefined;
  #changed = Promise.withResolvers<void>();

  private constructor(options: RigOptions) {
    this.#options = options;
    const slots = options.slots ?? 8;
    this.memory = new PoolMemory({
      slots,
      workers: options.workers ?? 1,
      requestBytes: options.requestBytes ?? 64 * 1024,
      responseBytes: options.responseBytes ?? 64 * 1024,
    });
    this.#free = Array.from({ length: slots }, (_, slot) => slot);
    this.#spool = new Spool(this.folder, 1 << 20);
  }

  /** Brings PHP up and forks the workers. */
  static async start(options: RigOptions = {}): Promise<Rig> {
    const rig = new Rig(options);
    try {
      await rig.#start();
    } catch (error) {
      await rig[Symbol.asyncDispose]();
      throw error;
    }
    return rig;
  }

  async #start(): Promise<void> {
    const [wakeOurs, wakeTheirs] = socketPair();
    const [logOurs, logTheirs] = socketPair();
    const channel = new LogChannel();
    this.#sockets.push(
      await connectFd(wakeOurs, { data: () => this.drain() }),
      await connectFd(logOurs, {
        data: (_socket, bytes) => {
          this.log.push(...channel.read(bytes));
          this.#change();
        },
      }),
    );
    const { isolation = "process", threadStackBytes = 16 << 20 } = this.#options;
    this.#host = await HostProcess.start(
      {
        libphp: (isolation === "thread" ? ztsLibphp : libphpCandidates("auto")[0]) ?? "",
        ini: Object.entries(this.#options.ini ?? {})
          .map(([name, value]) => `${name}=${value}\n`)
          .join(""),
        sapiName: "phprun",
        poolName: "rig",
        jsonPost: this.#options.jsonPost ?? false,
        frankenphp: false,
        app: null,
        isolation,
        threadStackBytes,
        slowLog: this.#options.slowLog ?? false,
        runAs: null,
        nice: 0,
        cpuAffinity: [],
        inspectOnly: false,
      },
      { ...process.env, ...this.#options.env },
      { pool: this.memory.fd, wake: wakeTheirs, spool: this.#spool.fd, log: logTheirs },
      {
        line: (text) => this.lines.push(text),
        event: (event) => this.#event(event),
        gone: (code, signal) => this.#gone({ code, signal }),
      },
    );
    closeSync(wakeTheirs);
    closeSync(logTheirs);
    await this.until("PHP has started", () => this.report !== undefined);
    for (let worker = 0; worker < (this.#options.workers ?? 1); worker++) this.spawn(worker);
    await this.until(
      "the workers have started",
      () => this.pids.filter((pid) => pid !== undefined).length === (this.#options.workers ?? 1),
    );
  }

  get hostPid(): number {
    return this.#host?.pid ?? 0;
  }

  spawn(worker: number): void {
    this.#host?.send(Command.spawn, worker, 1);
  }

  /** The deadline of a request has passed: marks its slot, and has the worker told. */
  deadline(slot: number): void {
    this.memory.deadline(slot);
    this.#host?.send(Command.deadline, this.memory.owner(slot));
  }

  /** Tells the host to end, whatever its workers do. */
  sendEnd(): void {
    this.#host?.send(Command.end);
  }

  /** Writes a script; its name is its path below the rig's folder. */
  script(name: string, code: string): string {
    const path = join(this.folder, name);
    writeFileSync(path, code);
    return path;
  }

  /** Runs PHP code (without `<?php`) as the script of one request. */
  async run(code: string, ask: Ask = {}): Promise<Answer> {
    const script = this.script(`script-${this.#scripts++}.php`, `<?php ${code}`);
    return await within(this.ask(script, ask).answer, "the request is answered");
  }
  #scripts = 0;

  /** Submits a request for PHP code (without `<?php`). */
  askFor(code: string): { slot: number; answer: Promise<Answer> } {
    return this.ask(this.script(`script-${this.#scripts++}.php`, `<?php ${code}`));
  }

  /** Submits a request for a script. */
  ask(script: string, ask: Ask = {}): { slot: number; answer: Promise<Answer> } {
    const slot = this.#free.shift();
    if (slot === undefined) throw new Error("No free slot");
    const { promise, resolve } = Promise.withResolvers<Answer>();
    this.#asked.set(slot, { resolve, parts: [], position: 0, headers: [], outcome: 0 });
    const block = ask.block ?? makeBlock(script, this.folder, ask);
    const at = this.memory.requestAt(slot);
    const blockBytes = this.memory.bytes.latin1Write(block.text, at, this.memory.requestBytes);
    const bodyBytes = this.memory.bytes.latin1Write(
      ask.body ?? "",
      at + blockBytes,
      this.memory.requestBytes,
    );
    this.memory.describe(slot, {
      id: slot + 1,
      blockBytes,
      blockValues: block.values,
      bodyInline: true,
      bodyBytes,
      bodyOffset: blockBytes,
      options: 0,
    });
    this.memory.submit(slot);
    this.memory.wakeWorker();
    return { slot, answer: promise };
  }

  drain(): void {
    this.memory.beginDrain();
    for (let slot = this.memory.nextCompleted(); slot >= 0; slot = this.memory.nextCompleted()) {
      const asked = this.#asked.get(slot);
      if (asked !== undefined) this.#news(slot, asked);
    }
    this.#change();
  }

  /** What has come of a request's body so far. */
  soFar(slot: number): string {
    return Buffer.concat(this.#asked.get(slot)?.parts ?? []).toString("latin1");
  }

  /** Waits for a file that a script makes. */
  async exists(path: string): Promise<void> {
    await eventually(`${path} is there`, () => existsSync(path) || undefined);
  }

  /** Waits for a condition; looks whenever anything has happened. */
  async until(what: string, condition: () => boolean): Promise<void> {
    const wait = async (): Promise<void> => {
      while (!condition()) await this.#changed.promise;
    };
    await within(wait(), what).catch((error: Error) => {
      throw new Error(
        `${error.message}\n${[...this.lines, ...this.log.map((record) => record.text)].join("\n")}`,
      );
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#host?.send(Command.end);
    if (this.#host !== undefined)
      await within(this.#host.exited, "the host has ended").catch(() => this.#host?.kill());
    for (const socket of this.#sockets) socket.end();
    this.#spool.close();
    closeSync(this.memory.fd);
    rmSync(this.folder, { recursive: true, force: true });
  }

  #news(slot: number, asked: Asked): void {
    const { memory } = this;
    const { phase, used, outcome } = memory.news(slot);
    if (memory.bodySize(slot) > 0 && outcome !== 0) {
      asked.headers = pairsOf(memory.head(slot));
      this.#takeBody(slot, asked, used);
    }
    if (phase !== Phase.ended) return;
    this.#answer(slot, asked, { status: memory.status(slot), outcome, lost: false });
  }

  #takeBody(slot: number, asked: Asked, used: number): void {
    const start = this.memory.bodyAt(slot);
    const size = this.memory.bodySize(slot);
    for (let left = used; left > 0;) {
      const part = Math.min(left, size - asked.position);
      asked.parts.push(
        Buffer.from(this.memory.bytes.subarray(start + asked.position, start + asked.position + part)),
      );
      asked.position = (asked.position + part) % size;
      left -= part;
    }
    this.memory.consume(slot, used);
  }

  #answer(slot: number, asked: Asked, answer: Pick<Answer, "status" | "outcome" | "lost">): void {
    this.#asked.delete(slot);
    this.memory.release(slot);
    this.#free.push(slot);
    asked.resolve({ ...answer, headers: asked.headers, body: Buffer.concat(asked.parts).toString("latin1") });
  }

  #event(event: HostEvent): void {
    if (event.kind === "report") {
      if (event.result.ok) this.report = event.result.report;
      else this.lines.push(event.result.message);
    }
    if (event.kind === "spawned") this.pids[event.worker] = event.pid;
    if (event.kind === "exited") {
      this.pids[event.worker] = undefined;
      this.exits.push(event);
      this.drain();
      const slot = this.memory.bury(event.worker);
      this.drain();
      const asked = this.#asked.get(slot);
      if (asked !== undefined) this.#answer(slot, asked, { status: 0, outcome: 0, lost: true });
      this.memory.resubmitOrphans();
    }
    this.#change();
  }

  #gone(end: NonNullable<Rig["end"]>): void {
    this.end = end;
    this.drain();
    for (const [slot, asked] of this.#asked) this.#answer(slot, asked, { status: 0, outcome: 0, lost: true });
    this.#change();
  }

  #change(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers<void>();
  }
}

function makeBlock(script: string, root: string, ask: Ask): { text: string; values: number } {
  const values: Partial<Record<(typeof REQUEST_FIELDS)[number], string>> = {
    REQUEST_METHOD: "GET",
    REQUEST_URI: "/",
    SCRIPT_FILENAME: script,
    SCRIPT_NAME: script.slice(root.length),
    DOCUMENT_ROOT: root,
    SERVER_PROTOCOL: "HTTP/1.1",
    REQUEST_SCHEME: "http",
    SERVER_NAME: "localhost",
    HTTP_HOST: "localhost",
    ...ask.fields,
  };
  const all = [...REQUEST_FIELDS.map((field) => values[field] ?? ""), ...(ask.pairs ?? []).flat()];
  return { text: all.map((value) => `${value}\0`).join(""), values: all.length };
}

function pairsOf(head: string): [string, string][] {
  const parts = head.split("\0").slice(0, -1);
  return Array.from({ length: parts.length / 2 }, (_, i) => [parts[2 * i] ?? "", parts[2 * i + 1] ?? ""]);
}
