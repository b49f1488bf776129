import type { PoolConfig } from "../config/config.ts";
import type { Log } from "../log/log.ts";
import type { PhpReport } from "../php/report.ts";
import { Counters } from "./counters.ts";
import { Dispatcher } from "./dispatcher.ts";
import { Elastic } from "./elastic.ts";
import type { Generation, PoolSetup } from "./generation.ts";
import type { Job } from "./job.ts";
import type { Isolation } from "./messages.ts";
import { Spool } from "./spool.ts";
import { Supervisor } from "./supervisor.ts";

const SWEEP_MS = 50;

export interface PoolOptions {
  readonly setup: PoolSetup;
  readonly spoolDir: string;
  readonly clientMaxBodyBytes: number;
  readonly drainTimeoutMs: number;
  readonly log: Log;
  /** Have the processors no time left for a worker of this nice value? */
  readonly isSaturated: (nice: number) => boolean;
  /** The pool has been given up: it serves nothing until a reload. */
  readonly onFailed?: () => void;
}

/** A pool: its requests (Dispatcher), and the generations of processes that serve them (Supervisor). */
export class Pool {
  readonly name: string;
  readonly spool: Spool;
  readonly counters = new Counters();
  readonly spoolDir: string;
  readonly clientMaxBodyBytes: number;

  readonly #dispatcher: Dispatcher;
  readonly #supervisor: Supervisor;
  readonly #isSaturated: PoolOptions["isSaturated"];
  #elastic: Elastic;
  #timer: Timer | undefined;
  /** Requests whose body is on its way here. */
  #receiving = 0;
  #whenReceived: (() => void)[] = [];
  #ended: Promise<void> | undefined;

  constructor(options: PoolOptions) {
    const { config } = options.setup;
    this.name = config.name;
    this.spoolDir = options.spoolDir;
    this.clientMaxBodyBytes = options.clientMaxBodyBytes;
    this.spool = new Spool(options.spoolDir, options.clientMaxBodyBytes);
    this.#isSaturated = options.isSaturated;
    this.#elastic = elasticOf(config);
    this.#dispatcher = new Dispatcher(config, this.counters);
    this.#supervisor = new Supervisor({
      setup: options.setup,
      spoolFd: this.spool.fd,
      dispatcher: this.#dispatcher,
      counters: this.counters,
      log: options.log.child({ pool: this.name }),
      drainTimeoutMs: options.drainTimeoutMs,
      onFailed: () => {
        this.#dispatcher.close("pool-failed");
        this.#dispatcher.refuseWaiting("pool-failed");
        options.onFailed?.();
      },
      onServed: () => {
        this.counters.served++;
      },
    });
  }

  get config(): PoolConfig {
    return this.#supervisor.setup.config;
  }

  get isolation(): Isolation {
    return this.#supervisor.setup.host.isolation;
  }

  get report(): PhpReport | undefined {
    return this.#supervisor.current?.report;
  }

  /** Why the pool has been given up; null while it has not. */
  get failure(): string | null {
    return this.#supervisor.failure;
  }

  get generations(): readonly Generation[] {
    return this.#supervisor.generations;
  }

  /** The one that gets the traffic. */
  get generation(): number {
    return this.#supervisor.current?.number ?? 0;
  }

  /** Requests that no worker has yet. */
  get waiting(): number {
    return this.#dispatcher.waiting;
  }

  get longestWaitMs(): number {
    return this.#dispatcher.longestWaitMs(performance.now());
  }

  /** Has a worker answered, and is there one that can? */
  get ready(): boolean {
    const current = this.#supervisor.current;
    return this.failure === null && current !== null && current.answered && current.workers.running > 0;
  }

  /** Brings the first generation up. Resolves when PHP has started and its workers have been asked for. */
  async start(): Promise<PhpReport> {
    this.#look();
    return await this.#supervisor.start();
  }

  /** A request's body comes: until the returned function is called the pool takes it, and its spool stays. */
  receive(): () => void {
    this.#receiving++;
    return () => {
      if (--this.#receiving === 0) for (const resolve of this.#whenReceived.splice(0)) resolve();
    };
  }

  async #received(): Promise<void> {
    if (this.#receiving > 0) await new Promise<void>((resolve) => this.#whenReceived.push(resolve));
  }

  /** Hands a job to a worker, or lets it wait, or refuses it. */
  dispatch(job: Job): void {
    this.#dispatcher.dispatch(job);
  }

  // ---- reload --------------------------------------------------------------------------------------

  /** Brings up the next generation and has it answer. Throws with the reason when it is not fit to serve. */
  async prepare(setup: PoolSetup, known: readonly string[]): Promise<void> {
    this.#look();
    await this.#supervisor.prepare(setup, known);
  }

  /** Throws when what was prepared has ended since. */
  check(): void {
    this.#supervisor.check();
  }

  /** What was prepared takes over. */
  commit(drainTimeoutMs?: number): void {
    const workers = this.#supervisor.current?.workers.wanted;
    this.#supervisor.commit(drainTimeoutMs);
    this.#elastic = elasticOf(this.config, workers);
  }

  /** What was prepared is not wanted after all. */
  async abandon(): Promise<void> {
    await this.#supervisor.abandon();
  }

  /** Replaces the current generation by one of the same setup. */
  roll(why: string): void {
    this.#supervisor.roll(why);
  }

  // ---- stop ----------------------------------------------------------------------------------------

  /** Takes no more jobs, and waits for those it has, as long as the time allows. Returns whether it came to rest. */
  async drain(timeoutMs: number): Promise<boolean> {
    this.#supervisor.stopping();
    let timer: Timer | undefined;
    const late = new Promise<boolean>((resolve) => {
      timer = setTimeout(() => resolve(false), timeoutMs);
    });
    const rested = this.#received()
      .then(() => {
        this.#dispatcher.close("stopping");
        return this.#dispatcher.rest();
      })
      .then(() => this.#supervisor.rest())
      .then(() => true);
    return await Promise.race([rested, late]).finally(() => clearTimeout(timer));
  }

  /** Ends every host and its workers at once. */
  end(): Promise<void> {
    return (this.#ended ??= this.#end());
  }

  async #end(): Promise<void> {
    this.#dispatcher.close("stopping");
    this.#dispatcher.refuseWaiting("stopping");
    await this.#supervisor.end();
    void this.#received().then(() => this.spool.close());
    // Readers of answers that are complete may be slow: they are looked after to the end.
    void this.#supervisor.disposed().then(() => clearInterval(this.#timer));
  }

  #look(): void {
    this.#timer ??= setInterval(() => this.#sweep(performance.now()), SWEEP_MS);
  }

  #sweep(nowMs: number): void {
    this.#dispatcher.sweep(nowMs);
    this.#supervisor.sweep(nowMs, SWEEP_MS);
    this.#resize(nowMs);
  }

  #resize(nowMs: number): void {
    const current = this.#supervisor.current;
    if (current === null) return;
    const waiting = this.#dispatcher.waiting;
    if (waiting > this.counters.mostWaiting) this.counters.mostWaiting = waiting;
    const busy = current.slots.inFlight - current.slots.waiting;
    if (busy > this.counters.mostRunning) this.counters.mostRunning = busy;
    const { workers, nice } = this.config;
    if (workers.min === workers.max) return;
    const load = {
      running: current.workers.alive,
      busy,
      waiting,
      longestWaitMs: waiting === 0 ? 0 : this.#dispatcher.longestWaitMs(nowMs),
      cpuSaturated: this.#isSaturated(nice),
    };
    current.resize(this.#elastic.wanted(load, nowMs));
  }
}

function elasticOf({ workers, idleTimeoutMs }: PoolConfig, start = workers.min): Elastic {
  return new Elastic({ ...workers, idleTimeoutMs }, start);
}
