import type { PoolMemory } from "../../ffi/pool-memory.ts";
import { PhprunError } from "../errors.ts";
import type { Log } from "../log/log.ts";
import type { PhpReport } from "../php/report.ts";
import type { Dispatcher } from "./dispatcher.ts";
import { type HostDescriptors, HostProcess } from "./host-process.ts";
import type { LogRecord } from "./log-channel.ts";
import { Command, type Exit, type HostEvent, type HostOptions } from "./messages.ts";
import type { Recycling } from "./recycling.ts";
import { Workers, describeExit } from "./workers.ts";

/** A host that does not report within this time is given up. */
const HOST_START_MS = 30_000;
const HOST_BACKOFF_MS = 500;
const HOST_BACKOFF_LIMIT_MS = 5000;
/** A host that ends sooner than this after its start counts as a failed start. */
const HOST_STEADY_MS = 5000;
/** So many failed starts of a host in a row end the pool. */
const HOST_FAILURES_LIMIT = 8;
/** A live worker is between a ring entry and its claim for less than this, or is found to be late and loses it. */
const ORPHAN_MS = 100;

export interface SupervisorOptions {
  readonly host: HostOptions;
  readonly env: Record<string, string | undefined>;
  readonly descriptors: HostDescriptors;
  readonly memory: PoolMemory;
  readonly dispatcher: Dispatcher;
  readonly recycling: Recycling;
  readonly workers: number;
  readonly log: Log;
  /** The pool is given up: it will serve nothing any more. */
  readonly onFailed: () => void;
}

/** Keeps a pool's host and workers running: starts them, hears of their ends, and starts them again. */
export class Supervisor {
  readonly workers: Workers;
  readonly #options: SupervisorOptions;
  readonly #log: Log;
  readonly #memory: PoolMemory;
  readonly #dispatcher: Dispatcher;
  #host: HostProcess | undefined;
  /** Has the host reported, so that it takes commands? */
  #hostReady = false;
  #hostReadyAtMs = 0;
  #hostFailures = 0;
  #hostTimer: Timer | undefined;
  #respawnTimer: Timer | undefined;
  #generation = 0;
  /** What PHP complained of since its start began; null once it has started. */
  #complaints: string[] | null = null;
  #stopping = false;
  #ended = false;
  #failed = false;

  constructor(options: SupervisorOptions) {
    this.#options = options;
    this.#log = options.log;
    this.#memory = options.memory;
    this.#dispatcher = options.dispatcher;
    this.workers = new Workers(options.workers);
  }

  /** Starts a host, the next generation. Resolves when PHP has started and its workers have been asked for. */
  async start(): Promise<PhpReport> {
    const { promise, resolve, reject } = Promise.withResolvers<PhpReport>();
    // A rejection before anybody waits for it is not unhandled.
    promise.catch(() => undefined);
    const timer = setTimeout(() => {
      reject(startError(`no answer from it within ${HOST_START_MS / 1000} s`));
      this.#host?.kill();
    }, HOST_START_MS);
    const generation = ++this.#generation;
    const complaints: string[] = [];
    this.#complaints = complaints;
    try {
      this.#host = await HostProcess.start(this.#options.host, this.#options.env, this.#options.descriptors, {
        line: (text) => this.#stderrLine(text),
        gone: (code, signal) => {
          reject(startError(`its host ended with ${signal ?? `exit code ${code}`}`));
          if (generation === this.#generation) this.#hostGone(code, signal);
        },
        event: (event) => {
          // What a host that has ended still had to say of workers that are buried by now.
          if (generation !== this.#generation || (event.kind !== "report" && !this.#hostReady)) return;
          if (event.kind !== "report") return this.#workerEvent(event);
          if (event.result.ok) resolve(event.result.report);
          else reject(new PhprunError(event.result.code, event.result.message));
        },
      });
      const report = await promise;
      // Complaints come on other sockets, and were sent before the report: they have arrived, but may not have been read.
      await Bun.sleep(1);
      this.#hostReady = true;
      this.#hostReadyAtMs = performance.now();
      this.#topUp();
      return { ...report, startupErrors: [...new Set(complaints)] };
    } catch (error) {
      throw withComplaints(error, complaints);
    } finally {
      clearTimeout(timer);
      this.#complaints = null;
    }
  }

  /** The server is stopping: what runs may finish, and is still looked after. */
  stopping(): void {
    this.#stopping = true;
  }

  /** Ends the host and its workers at once. */
  async end(): Promise<void> {
    this.#stopping = true;
    this.#ended = true;
    clearTimeout(this.#respawnTimer);
    clearTimeout(this.#hostTimer);
    const host = this.#host;
    if (host === undefined) return;
    host.send(Command.end);
    const timer = setTimeout(() => host.kill(), 2000);
    await host.exited;
    clearTimeout(timer);
  }

  /** The soft deadline of the request a worker runs. */
  askToEnd(worker: number): void {
    this.#host?.send(Command.deadline, worker);
  }

  /** Kills a worker, unless by then it has another request, whose death it must not be. */
  kill(worker: number, requestId: number): void {
    this.#host?.send(Command.kill, worker, requestId);
  }

  /** How a worker is named in the log. Its record stays until its successor is started. */
  nameOf(worker: number): { worker: number; gen: number; pid: number } {
    const { generation, pid } = this.#memory.worker(worker);
    return { worker, gen: generation, pid };
  }

  logRecord(record: LogRecord): void {
    if (this.#complaints !== null && record.worker === null) {
      this.#complaints.push(record.text.trim());
      return;
    }
    const fields = {
      ...(record.worker === null ? {} : this.nameOf(record.worker)),
      ...(record.script === "" ? {} : { script: record.script }),
    };
    this.#log[record.level](record.text, fields);
  }

  #stderrLine(text: string): void {
    if (this.#complaints === null) this.#log.warn(text, { source: "stderr" });
    else this.#complaints.push(text.trim());
  }

  // ---- workers ---------------------------------------------------------------------------------

  #topUp(): void {
    clearTimeout(this.#respawnTimer);
    if (!this.#hostReady || (this.#stopping && this.#dispatcher.inFlight === 0)) return;
    const nowMs = performance.now();
    for (const { number } of this.workers.takeDue(nowMs)) {
      this.#host?.send(Command.spawn, number, this.#generation);
    }
    const nextMs = this.workers.nextDueMs();
    if (Number.isFinite(nextMs)) this.#respawnTimer = setTimeout(() => this.#topUp(), nextMs - nowMs + 1);
  }

  #workerEvent(event: Exclude<HostEvent, { kind: "report" }>): void {
    const { worker } = event;
    switch (event.kind) {
      case "spawned":
        this.workers.apply(event, performance.now());
        this.#options.recycling.started(worker, event.pid);
        this.#log.debug("worker started", { worker, gen: event.generation, pid: event.pid });
        break;
      case "spawn-failed":
        this.workers.apply(event, performance.now());
        this.#log.error("cannot fork a worker", { worker, gen: this.#generation, errno: event.errno });
        break;
      case "exited": {
        this.#options.recycling.ended(worker);
        const { requests } = this.#memory.worker(worker);
        const died = this.#bury(worker, event.pid, event.exit);
        this.workers.apply(event, performance.now(), requests + (died ? 1 : 0));
        break;
      }
      default:
        event satisfies never;
    }
    if (this.workers.failed) {
      this.#fail(`its workers end right after their start, ${this.workers.failedStarts} times in a row`);
    }
    this.#topUp();
  }

  /** Answers the request a dead worker was running. Returns whether there was one. */
  #bury(worker: number, pid: number, exit: Exit): boolean {
    // What it completed before it died is still good.
    this.#dispatcher.drain();
    const slot = this.#memory.bury(worker);
    this.#dispatcher.drain();
    const running = slot < 0 ? undefined : this.#dispatcher.at(slot);
    const killed = running?.stage === "killed";
    // A kill of ours has been logged with its reason.
    if (!killed && (running !== undefined || !("code" in exit && exit.code === 0))) {
      const name = { ...this.nameOf(worker), pid };
      this.#log.error(`a worker died: ${describeExit(exit)}`, { ...name, ...running?.job.about });
    }
    this.#dispatcher.lose(slot, killed ? { kind: "killed-by-deadline" } : { kind: "died", exit });
    setTimeout(() => this.#memory.resubmitOrphans(), ORPHAN_MS);
    return running !== undefined;
  }

  // ---- host ------------------------------------------------------------------------------------

  #hostGone(code: number | null, signal: string | number | null): void {
    this.#host = undefined;
    // Before it was ready, who started it hears of it.
    if (!this.#hostReady || this.#ended) return;
    this.#hostReady = false;
    const how = signal ?? `exit code ${code}`;
    this.#log.error(`host ended with ${how}; starting another`, { gen: this.#generation });
    // Its workers die with it.
    for (const worker of this.workers.all) {
      if (worker.state === "running") this.#bury(worker.number, worker.pid, { signal: 9 });
    }
    this.workers.allGone();
    if (performance.now() - this.#hostReadyAtMs > HOST_STEADY_MS) this.#hostFailures = 0;
    // When we are stopping, for what still waits.
    if (!this.#stopping || this.#dispatcher.inFlight > 0) this.#startLater();
  }

  #startLater(): void {
    if (this.#hostFailures >= HOST_FAILURES_LIMIT) {
      return this.#fail(`its host ended or did not start ${this.#hostFailures} times in a row`);
    }
    const waitMs = Math.min(HOST_BACKOFF_LIMIT_MS, HOST_BACKOFF_MS * 2 ** this.#hostFailures++);
    this.#hostTimer = setTimeout(() => {
      // One that was still dying when its host was buried may have taken one more request.
      for (const { number } of this.workers.all) {
        this.#dispatcher.lose(this.#memory.bury(number), { kind: "died", exit: { signal: 9 } });
      }
      this.start().catch((error: unknown) => {
        if (this.#ended) return;
        this.#log.error(error instanceof Error ? error.message : String(error), { gen: this.#generation });
        this.#startLater();
      });
    }, waitMs);
  }

  #fail(why: string): void {
    if (this.#failed) return;
    this.#failed = true;
    this.#log.error(`the pool is given up: ${why}. Requests to it get 503 until phprun is started again.`);
    this.#options.onFailed();
  }
}

function startError(why: string): PhprunError {
  return new PhprunError("HOST_START", `Cannot start PHP: ${why}`);
}

/** The error with what PHP itself had to say. */
function withComplaints(error: unknown, complaints: readonly string[]): unknown {
  if (!(error instanceof PhprunError) || complaints.length === 0) return error;
  return new PhprunError(error.code, [error.message, ...new Set(complaints)].join("\n  "), {
    exitCode: error.exitCode,
    cause: error,
  });
}
