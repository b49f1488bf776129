import { closeSync } from "node:fs";
import { PoolMemory } from "../../ffi/pool-memory.ts";
import { Phase, Outcome } from "../../ffi/layout.ts";
import { socketPair } from "../../ffi/system.ts";
import type { PoolConfig } from "../config/config.ts";
import { PhprunError } from "../errors.ts";
import type { Log } from "../log/log.ts";
import type { PhpReport } from "../php/report.ts";
import { connectFd } from "./connect-fd.ts";
import { HostProcess } from "./host-process.ts";
import type { Job } from "./job.ts";
import { LogChannel, type LogRecord } from "./log-channel.ts";
import { memoryOptions } from "./memory-options.ts";
import { Command, type Exit, type HostEvent, type HostOptions } from "./messages.ts";
import { Queue } from "./queue.ts";
import { Recycling } from "./recycling.ts";
import { Spool } from "./spool.ts";
import { Workers, describeExit } from "./workers.ts";

const SWEEP_MS = 50;
const MEMORY_SAMPLE_MS = 1000;
/** A host that does not report within this time is given up. */
const HOST_START_MS = 30_000;
const HOST_BACKOFF_MS = 500;
const HOST_BACKOFF_LIMIT_MS = 5000;
/** A host that ends sooner than this after its start counts as a failed start. */
const HOST_STEADY_MS = 5000;
/** So many failed starts of a host in a row end the pool. */
const HOST_FAILURES_LIMIT = 8;

export interface PoolOptions {
  readonly config: PoolConfig;
  readonly host: HostOptions;
  readonly env: Record<string, string | undefined>;
  readonly spoolDir: string;
  readonly clientMaxBodyBytes: number;
  readonly log: Log;
  /** The pool has been given up: it will serve nothing any more. */
  readonly onFailed?: () => void;
}

interface Running {
  readonly job: Job;
  readonly queuedAtMs: number;
  /** When a worker was first seen to have it; 0 while it waits in the ring. */
  runningSinceMs: number;
  stage: "running" | "asked-to-end" | "killed";
}

/** A pool: its shared memory, its host, its workers, and the requests that wait for them. */
export class Pool {
  readonly name: string;
  readonly config: PoolConfig;
  readonly memory: PoolMemory;
  readonly spool: Spool;
  readonly workers: Workers;
  report: PhpReport | undefined;

  readonly #options: PoolOptions;
  readonly #log: Log;
  readonly #free: number[] = [];
  readonly #running: (Running | undefined)[];
  readonly #queue = new Queue<{ job: Job; queuedAtMs: number }>();
  readonly #wakeFds: [number, number];
  readonly #logFds: [number, number];
  #host: HostProcess | undefined;
  /** Has the host reported, so that it takes commands? */
  #hostReady = false;
  #hostReadyAtMs = 0;
  #hostFailures = 0;
  #hostTimer: Timer | undefined;
  #generation = 0;
  /** What PHP complained of since its start began; null once it has started. */
  #complaints: string[] | null = null;
  #sweeper: Timer | undefined;
  #respawnTimer: Timer | undefined;
  #inFlight = 0;
  #stopping = false;
  #ended = false;
  #failed = false;
  #idle: (() => void) | undefined;
  readonly #recycling: Recycling;
  #memoryTimer: Timer | undefined;
  #wakesDue = 0;
  /** Two at most: each woken worker wakes the next, and two do not both wait for one busy processor. */
  readonly #wakeWorkers = (): void => {
    const wakes = Math.min(this.#wakesDue, 2);
    this.#wakesDue = 0;
    for (let i = 0; i < wakes; i++) this.memory.wakeWorker();
  };

  constructor(options: PoolOptions) {
    this.#options = options;
    this.config = options.config;
    this.name = options.config.name;
    this.#log = options.log.child({ pool: this.name });
    const { slots, workers, ...buffers } = memoryOptions(options.config);
    this.memory = new PoolMemory({ slots, workers, ...buffers });
    this.#running = Array.from({ length: slots });
    for (let slot = slots - 1; slot >= 0; slot--) this.#free.push(slot);
    this.workers = new Workers(workers);
    this.#recycling = new Recycling(options.config, (worker, why) => {
      this.#log.info(`replacing a worker: it ${why}`, this.#nameOf(worker));
      this.memory.retire(worker);
    });
    this.spool = new Spool(options.spoolDir, options.clientMaxBodyBytes);
    this.#wakeFds = socketPair();
    this.#logFds = socketPair();
  }

  /** Brings the host up. Resolves when PHP has started and its workers have been asked for. */
  async start(): Promise<PhpReport> {
    await connectFd(this.#wakeFds[0], { data: () => this.#drain() });
    const channel = new LogChannel();
    await connectFd(this.#logFds[0], {
      data: (_socket, bytes) => {
        for (const record of channel.read(bytes)) this.#logRecord(record);
      },
    });
    this.#sweeper = setInterval(() => this.#sweep(performance.now()), SWEEP_MS);
    this.#memoryTimer = setInterval(() => this.#recycling.sampleMemory(), MEMORY_SAMPLE_MS);
    return await this.#startHost();
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  get queued(): number {
    return this.#queue.length;
  }

  /** Hands a job to a worker, or lets it wait, or refuses it. */
  dispatch(job: Job): void {
    if (this.#stopping) return job.refused("stopping");
    if (this.#failed) return job.refused("pool-failed");
    const slot = this.#free.pop();
    if (slot !== undefined) {
      this.#submit(slot, job, performance.now());
    } else if (this.#queue.length < this.config.queue.max) {
      this.#queue.push({ job, queuedAtMs: performance.now() });
    } else {
      job.refused("queue-full");
    }
  }

  /** A job that kept its slot has no further use for it. */
  release(slot: number): void {
    this.#recycling.served(this.memory.owner(slot));
    this.memory.release(slot);
    this.#running[slot] = undefined;
    this.#inFlight--;
    for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift()) {
      if (next.job.settled) continue;
      this.#submit(slot, next.job, next.queuedAtMs);
      return;
    }
    this.#free.push(slot);
    if (this.#inFlight === 0) this.#idle?.();
  }

  /** Waits until nothing runs or waits any more, or the time is over. */
  async drain(timeoutMs: number): Promise<boolean> {
    this.#stopping = true;
    if (this.#inFlight === 0 && this.#queue.length === 0) return true;
    const { promise, resolve } = Promise.withResolvers<boolean>();
    this.#idle = () => resolve(true);
    const timer = setTimeout(() => resolve(false), timeoutMs);
    const whole = await promise;
    clearTimeout(timer);
    return whole;
  }

  /** Ends the host and its workers at once. */
  async end(): Promise<void> {
    this.#stopping = true;
    this.#ended = true;
    clearInterval(this.#sweeper);
    clearInterval(this.#memoryTimer);
    clearTimeout(this.#respawnTimer);
    clearTimeout(this.#hostTimer);
    const host = this.#host;
    if (host !== undefined) {
      host.send(Command.end);
      const timer = setTimeout(() => host.kill(), 2000);
      await host.exited;
      clearTimeout(timer);
    }
    for (const running of this.#running) running?.job.lost({ kind: "stopped" });
    this.spool.close();
    closeSync(this.memory.fd);
  }

  #submit(slot: number, job: Job, queuedAtMs: number): void {
    this.#running[slot] = { job, queuedAtMs, runningSinceMs: 0, stage: "running" };
    this.#inFlight++;
    job.start(slot);
    this.memory.submit(slot);
    // Once for all requests that came in with the same look at the sockets.
    if (this.#wakesDue++ === 0) setImmediate(this.#wakeWorkers);
  }

  #drain(): void {
    this.memory.beginDrain();
    for (let slot = this.memory.nextCompleted(); slot >= 0; slot = this.memory.nextCompleted()) {
      const running = this.#running[slot];
      if (running === undefined) continue;
      const news = this.memory.news(slot);
      const ended = news.phase === Phase.ended;
      if (news.outcome & Outcome.timedOut && running.stage === "running") running.stage = "asked-to-end";
      if (running.job.news(news) && ended) this.release(slot);
    }
  }

  // ---- deadlines -------------------------------------------------------------------------------

  #sweep(nowMs: number): void {
    this.#sweepQueue(nowMs);
    if (this.#inFlight === 0) return;
    for (const [slot, running] of this.#running.entries()) {
      if (running === undefined) continue;
      running.job.tick(nowMs);
      this.#sweepSlot(slot, running, nowMs);
    }
  }

  #sweepQueue(nowMs: number): void {
    const { timeoutMs } = this.config.queue;
    for (let next = this.#queue.peek(); next !== undefined; next = this.#queue.peek()) {
      const overdue = timeoutMs > 0 && nowMs - next.queuedAtMs > timeoutMs;
      if (!overdue && !next.job.settled) break;
      this.#queue.shift();
      if (overdue && !next.job.settled) next.job.refused("queue-timeout");
    }
    for (const { job } of this.#queue) job.tick(nowMs);
  }

  #sweepSlot(slot: number, running: Running, nowMs: number): void {
    const phase = this.memory.phase(slot);
    if (phase === Phase.queued) {
      const { timeoutMs } = this.config.queue;
      if (!running.job.settled && timeoutMs > 0 && nowMs - running.queuedAtMs > timeoutMs) {
        this.memory.clientGone(slot);
        running.job.refused("queue-timeout");
      }
      return;
    }
    if (phase === Phase.ended || this.config.timeoutMs === 0) return;
    // A sweep's worth of time that the worker spent waiting for a slow client is not the script's.
    if (running.runningSinceMs === 0) running.runningSinceMs = nowMs;
    else if (running.job.stalled) running.runningSinceMs += SWEEP_MS;
    const ranMs = nowMs - running.runningSinceMs;
    const worker = this.memory.owner(slot);
    if (running.stage === "running" && ranMs > this.config.timeoutMs) {
      running.stage = "asked-to-end";
      this.memory.deadline(slot);
      this.#host?.send(Command.deadline, worker);
    } else if (running.stage === "asked-to-end" && ranMs > this.config.timeoutMs + this.config.killAfterMs) {
      running.stage = "killed";
      const message = `killed a worker: its request did not end within ${this.config.killAfterMs} ms after its deadline`;
      this.#log.warn(message, { ...this.#nameOf(worker), ...running.job.about });
      // By the time it gets there the worker may have another request, whose death it must not be.
      this.#host?.send(Command.kill, worker, this.memory.requestId(slot));
    }
  }

  // ---- host and workers ------------------------------------------------------------------------

  async #startHost(): Promise<PhpReport> {
    const { promise, resolve, reject } = Promise.withResolvers<PhpReport>();
    // A rejection before anybody waits for it is not unhandled.
    promise.catch(() => undefined);
    const timer = setTimeout(() => {
      reject(
        new PhprunError("HOST_START", `Cannot start PHP: no answer from it within ${HOST_START_MS / 1000} s`),
      );
      this.#host?.kill();
    }, HOST_START_MS);
    const generation = ++this.#generation;
    const complaints: string[] = [];
    this.#complaints = complaints;
    try {
      this.#host = await HostProcess.start(
        this.#options.host,
        this.#options.env,
        {
          pool: this.memory.fd,
          wake: this.#wakeFds[1],
          spool: this.spool.fd,
          log: this.#logFds[1],
        },
        {
          line: (text) => this.#stderrLine(text),
          gone: (code, signal) => {
            reject(
              new PhprunError(
                "HOST_START",
                `Cannot start PHP: its host ended with ${signal ?? `exit code ${code}`}`,
              ),
            );
            if (generation === this.#generation) this.#hostGone(code, signal);
          },
          event: (event) => {
            // What a host that has ended still had to say of workers that are buried by now.
            if (generation !== this.#generation || (event.kind !== "report" && !this.#hostReady)) return;
            if (event.kind !== "report") return this.#workerEvent(event);
            if (event.result.ok) resolve(event.result.report);
            else reject(new PhprunError(event.result.code, event.result.message));
          },
        },
      );
      const report = await promise;
      // Complaints come on other sockets, and were sent before the report: they have arrived, but may not have been read.
      await Bun.sleep(1);
      this.report = { ...report, startupErrors: [...new Set(complaints)] };
    } catch (error) {
      throw withComplaints(error, complaints);
    } finally {
      clearTimeout(timer);
      this.#complaints = null;
    }
    this.#hostReady = true;
    this.#hostReadyAtMs = performance.now();
    this.#topUp();
    return this.report;
  }

  #stderrLine(text: string): void {
    if (this.#complaints === null) this.#log.warn(text, { source: "stderr" });
    else this.#complaints.push(text.trim());
  }

  #topUp(): void {
    clearTimeout(this.#respawnTimer);
    if (!this.#hostReady || (this.#stopping && this.#inFlight === 0)) return;
    const nowMs = performance.now();
    for (const worker of this.workers.takeDue(nowMs))
      this.#host?.send(Command.spawn, worker.number, this.#generation);
    const nextMs = this.workers.nextDueMs();
    if (Number.isFinite(nextMs)) this.#respawnTimer = setTimeout(() => this.#topUp(), nextMs - nowMs + 1);
  }

  #workerEvent(event: Exclude<HostEvent, { kind: "report" }>): void {
    const { worker } = event;
    switch (event.kind) {
      case "spawned":
        this.workers.apply(event, performance.now());
        this.#recycling.started(worker, event.pid);
        this.#log.debug("worker started", { worker, gen: event.generation, pid: event.pid });
        break;
      case "spawn-failed":
        this.workers.apply(event, performance.now());
        this.#log.error("cannot fork a worker", { worker, gen: this.#generation, errno: event.errno });
        break;
      case "exited": {
        this.#recycling.ended(worker);
        const { requests } = this.memory.worker(worker);
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
    this.#drain();
    const slot = this.memory.bury(worker);
    this.#drain();
    const running = slot < 0 ? undefined : this.#running[slot];
    // A kill of ours has been logged with its reason.
    if (running?.stage !== "killed" && (running !== undefined || !("code" in exit && exit.code === 0))) {
      const name = { ...this.#nameOf(worker), pid };
      this.#log.error(`a worker died: ${describeExit(exit)}`, { ...name, ...running?.job.about });
    }
    if (running !== undefined) {
      running.job.lost(running.stage === "killed" ? { kind: "killed-by-deadline" } : { kind: "died", exit });
      this.release(slot);
    }
    setTimeout(() => this.memory.resubmitOrphans(), 100);
    return running !== undefined;
  }

  #hostGone(code: number | null, signal: string | number | null): void {
    this.#host = undefined;
    // Before it was ready, who started it hears of it.
    if (!this.#hostReady || this.#ended) return;
    this.#hostReady = false;
    this.#log.error(`host ended with ${signal ?? `exit code ${code}`}; starting another`, {
      gen: this.#generation,
    });
    this.#buryAll();
    if (performance.now() - this.#hostReadyAtMs > HOST_STEADY_MS) this.#hostFailures = 0;
    // When we are stopping, for what still waits.
    if (!this.#stopping || this.#inFlight > 0) this.#startHostLater();
  }

  /** The workers of a dead host die with it. */
  #buryAll(): void {
    for (const worker of this.workers.all) {
      if (worker.state === "running") this.#bury(worker.number, worker.pid, { signal: 9 });
    }
    this.workers.allGone();
  }

  #startHostLater(): void {
    if (this.#hostFailures >= HOST_FAILURES_LIMIT) {
      return this.#fail(`its host ended or did not start ${this.#hostFailures} times in a row`);
    }
    const waitMs = Math.min(HOST_BACKOFF_LIMIT_MS, HOST_BACKOFF_MS * 2 ** this.#hostFailures++);
    this.#hostTimer = setTimeout(() => {
      // One that was still dying when its host was buried may have taken one more request.
      for (const { number } of this.workers.all) this.#buryLate(number);
      this.#startHost().catch((error: unknown) => {
        if (this.#ended) return;
        this.#log.error(error instanceof Error ? error.message : String(error), { gen: this.#generation });
        this.#startHostLater();
      });
    }, waitMs);
  }

  #buryLate(worker: number): void {
    const slot = this.memory.bury(worker);
    const running = slot < 0 ? undefined : this.#running[slot];
    if (running === undefined) return;
    running.job.lost({ kind: "died", exit: { signal: 9 } });
    this.release(slot);
  }

  #fail(why: string): void {
    if (this.#failed) return;
    this.#failed = true;
    this.#log.error(`the pool is given up: ${why}. Requests to it get 503 until phprun is started again.`);
    for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift())
      next.job.refused("pool-failed");
    for (const [slot, running] of this.#running.entries()) {
      if (running === undefined || this.memory.phase(slot) !== Phase.queued) continue;
      if (!running.job.settled) running.job.refused("pool-failed");
      this.release(slot);
    }
    this.#options.onFailed?.();
  }

  /** How a worker is named in the log. Its record stays until its successor is started. */
  #nameOf(worker: number): { worker: number; gen: number; pid: number } {
    const { generation, pid } = this.memory.worker(worker);
    return { worker, gen: generation, pid };
  }

  #logRecord(record: LogRecord): void {
    if (this.#complaints !== null && record.worker === null) {
      this.#complaints.push(record.text.trim());
      return;
    }
    const fields = {
      ...(record.worker === null ? {} : this.#nameOf(record.worker)),
      ...(record.script === "" ? {} : { script: record.script }),
    };
    this.#log[record.level](record.text, fields);
  }
}

/** The error with what PHP itself had to say. */
function withComplaints(error: unknown, complaints: readonly string[]): unknown {
  if (!(error instanceof PhprunError) || complaints.length === 0) return error;
  return new PhprunError(error.code, [error.message, ...new Set(complaints)].join("\n  "), {
    exitCode: error.exitCode,
    cause: error,
  });
}
