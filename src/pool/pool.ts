import { closeSync } from "node:fs";
import { PoolMemory } from "../../ffi/pool-memory.ts";
import { Phase } from "../../ffi/layout.ts";
import { socketPair } from "../../ffi/system.ts";
import type { PoolConfig } from "../config/config.ts";
import type { Log } from "../log/log.ts";
import type { PhpReport } from "../php/report.ts";
import { connectFd } from "./connect-fd.ts";
import { stepDeadline } from "./deadlines.ts";
import { Dispatcher } from "./dispatcher.ts";
import type { Job } from "./job.ts";
import { LogChannel } from "./log-channel.ts";
import { memoryOptions } from "./memory-options.ts";
import type { HostOptions } from "./messages.ts";
import { Recycling } from "./recycling.ts";
import { Spool } from "./spool.ts";
import { Supervisor } from "./supervisor.ts";

const SWEEP_MS = 50;
const MEMORY_SAMPLE_MS = 1000;

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

/** A pool: the shared memory, the requests in it (Dispatcher), and the processes that serve them (Supervisor). */
export class Pool {
  readonly name: string;
  readonly config: PoolConfig;
  readonly memory: PoolMemory;
  readonly spool: Spool;
  report: PhpReport | undefined;

  readonly #log: Log;
  readonly #dispatcher: Dispatcher;
  readonly #supervisor: Supervisor;
  readonly #recycling: Recycling;
  readonly #wakeFd: number;
  readonly #logFd: number;
  #timers: Timer[] = [];

  constructor(options: PoolOptions) {
    this.config = options.config;
    this.name = options.config.name;
    this.#log = options.log.child({ pool: this.name });
    this.memory = new PoolMemory(memoryOptions(options.config));
    this.spool = new Spool(options.spoolDir, options.clientMaxBodyBytes);
    this.#recycling = new Recycling(options.config, (worker, why) => {
      this.#log.info(`replacing a worker: it ${why}`, this.#supervisor.nameOf(worker));
      this.memory.retire(worker);
    });
    this.#dispatcher = new Dispatcher(this.memory, options.config.queue, (worker) =>
      this.#recycling.served(worker),
    );
    const [wakeOurs, wakeTheirs] = socketPair();
    const [logOurs, logTheirs] = socketPair();
    this.#wakeFd = wakeOurs;
    this.#logFd = logOurs;
    this.#supervisor = new Supervisor({
      host: options.host,
      env: options.env,
      descriptors: { pool: this.memory.fd, wake: wakeTheirs, spool: this.spool.fd, log: logTheirs },
      memory: this.memory,
      dispatcher: this.#dispatcher,
      recycling: this.#recycling,
      workers: options.config.workers.max,
      log: this.#log,
      onFailed: () => {
        this.#dispatcher.close("pool-failed");
        this.#dispatcher.refuseWaiting("pool-failed");
        options.onFailed?.();
      },
    });
  }

  /** Brings the host up. Resolves when PHP has started and its workers have been asked for. */
  async start(): Promise<PhpReport> {
    await connectFd(this.#wakeFd, { data: () => this.#dispatcher.drain() });
    const channel = new LogChannel();
    await connectFd(this.#logFd, {
      data: (_socket, bytes) => {
        for (const record of channel.read(bytes)) this.#supervisor.logRecord(record);
      },
    });
    this.#timers = [
      setInterval(() => this.#sweep(performance.now()), SWEEP_MS),
      setInterval(() => this.#recycling.sampleMemory(), MEMORY_SAMPLE_MS),
    ];
    this.report = await this.#supervisor.start();
    return this.report;
  }

  /** Hands a job to a worker, or lets it wait, or refuses it. */
  dispatch(job: Job): void {
    this.#dispatcher.dispatch(job);
  }

  /** A job that kept its slot has no further use for it. */
  release(slot: number): void {
    this.#dispatcher.release(slot);
  }

  /** Takes no more jobs, and waits for those it has, as long as the time allows. */
  async drain(timeoutMs: number): Promise<boolean> {
    this.#supervisor.stopping();
    this.#dispatcher.close("stopping");
    return await this.#dispatcher.rest(timeoutMs);
  }

  /** Ends the host and its workers at once. */
  async end(): Promise<void> {
    this.#dispatcher.close("stopping");
    for (const timer of this.#timers) clearInterval(timer);
    await this.#supervisor.end();
    for (const [, { job }] of this.#dispatcher.running()) job.lost({ kind: "stopped" });
    this.spool.close();
    closeSync(this.memory.fd);
  }

  #sweep(nowMs: number): void {
    this.#dispatcher.sweep(nowMs);
    for (const [slot, running] of this.#dispatcher.running()) {
      const phase = this.memory.phase(slot);
      if (phase === Phase.queued || phase === Phase.ended) continue;
      const due = stepDeadline(running, this.config, nowMs, SWEEP_MS);
      if (due === "nothing") continue;
      const worker = this.memory.owner(slot);
      if (due === "ask-to-end") {
        this.memory.deadline(slot);
        this.#supervisor.askToEnd(worker);
        continue;
      }
      const message = `killed a worker: its request did not end within ${this.config.killAfterMs} ms after its deadline`;
      this.#log.warn(message, { ...this.#supervisor.nameOf(worker), ...running.job.about });
      this.#supervisor.kill(worker, this.memory.requestId(slot));
    }
  }
}
