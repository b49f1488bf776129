import { PhprunError } from "../errors.ts";
import type { Log } from "../log/log.ts";
import type { PhpReport } from "../php/report.ts";
import type { Counters, RestartReason } from "./counters.ts";
import { CrashBurst } from "./crash-burst.ts";
import type { Dispatcher } from "./dispatcher.ts";
import { Generation, type GenerationHooks, type PoolSetup } from "./generation.ts";
import { HostStarts } from "./host-starts.ts";
import type { Exit } from "./messages.ts";
import { type RollReason, Rolls } from "./rolls.ts";
import { withoutTemplate } from "./without-template.ts";

const BOOT_BACKOFF_FIRST_MS = 200;
const BOOT_BACKOFF_LIMIT_MS = 5000;

export interface SupervisorOptions {
  readonly setup: PoolSetup;
  readonly spoolFd: number;
  readonly dispatcher: Dispatcher;
  readonly counters: Counters;
  readonly log: Log;
  /** How long an old generation may take to finish its requests. */
  readonly drainTimeoutMs: number;
  /** The pool is given up: it serves nothing until a reload. */
  readonly onFailed: () => void;
  /** A worker has answered, so PHP runs. */
  readonly onServed: () => void;
}

/** The generations of a pool: which one serves, which comes next, which are on their way out. */
export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #log: Log;
  readonly #hooks: GenerationHooks;
  #setup: PoolSetup;
  #drainTimeoutMs: number;
  #current: Generation | null = null;
  #candidate: Generation | null = null;
  readonly #draining = new Map<Generation, Promise<void>>();
  /** All that have memory: those above, and those whose host has ended while a client still reads. */
  readonly #undisposed = new Set<Generation>();
  /** What PHP complained of when the generation started that serves, or served last. */
  #known: readonly string[] = [];
  #number = 0;
  #crashes: CrashBurst;
  /** What a roll that is under way has prepared. It is no candidate any more when a reload has come in between. */
  #rolling: Generation | null = null;
  /** A roll without a canary is under way. It has no candidate. */
  #replacing = false;
  readonly #rolls = new Rolls();
  readonly #hostStarts = new HostStarts();
  #hostTimer: Timer | undefined;
  #stopping = false;
  /** Settles when the candidate that was of no use any more has ended. */
  #abandoned: Promise<void> | undefined;
  #ended = false;
  /** Why the pool has been given up. */
  #failure: string | null = null;

  constructor(options: SupervisorOptions) {
    this.#options = options;
    this.#log = options.log;
    this.#setup = options.setup;
    this.#drainTimeoutMs = options.drainTimeoutMs;
    this.#crashes = new CrashBurst(options.setup.config.emergencyRestart);
    this.#hooks = {
      served: (running) => {
        if (!running.job.isProbe) options.onServed();
      },
      lost: (running, why) => {
        if (running.job.isProbe) running.job.lost(why);
        else options.dispatcher.lost(running, why);
      },
      freed: (generation) => {
        if (generation === this.#current) options.dispatcher.fill();
      },
      ended: (generation, why, exit) => this.#workerEnded(generation, why, exit),
      workerLost: (generation, why) => {
        // One that comes or goes ends with its host anyway.
        if (generation !== this.#current) return;
        options.counters.restarts.lost++;
        this.#askForRoll("lost", why);
      },
      // A candidate that asks for it has just been started, and would at each start; others are on their way out.
      renew: (generation, why) => {
        if (generation === this.#current) this.#askForRoll("renew", why);
      },
      slow: () => {
        options.counters.slow++;
      },
      barren: (generation, starts) => {
        if (generation !== this.#current) return;
        this.#fail(`its workers end right after their start, ${starts} times in a row`);
      },
      gone: (generation, crash) => this.#hostGone(generation, crash),
    };
  }

  get setup(): PoolSetup {
    return this.#setup;
  }

  get current(): Generation | null {
    return this.#current;
  }

  get failure(): string | null {
    return this.#failure;
  }

  /** Every generation that has a host. */
  get generations(): Generation[] {
    const live = [this.#candidate, this.#current, ...this.#draining.keys()];
    return live.filter((generation) => generation !== null);
  }

  /** Starts the first generation. Resolves when PHP has started and its workers have been asked for. */
  async start(): Promise<PhpReport> {
    const { generation, report } = await this.#bringUp(this.#setup, () => !this.#ended);
    this.#setup = generation.setup;
    this.#become(generation);
    this.#probeCurrent(generation);
    return report;
  }

  /**
   * Starts a generation; in worker mode until its application has booted, with several attempts. `begun` hears of each
   * and says whether it is still wanted.
   */
  async #bringUp(
    setup: PoolSetup,
    isWanted: (generation: Generation) => boolean,
    begun: (generation: Generation) => Promise<void> | void = () => undefined,
  ): Promise<{ generation: Generation; report: PhpReport }> {
    const { bootAttempts } = setup.config.worker;
    for (let attempt = 1, use = setup; ; attempt++) {
      const generation = this.#next(use);
      try {
        await begun(generation);
        const report = await generation.start();
        await generation.booted();
        return { generation, report };
      } catch (error) {
        await generation.end();
        if (!isWanted(generation) || !(error instanceof PhprunError)) throw error;
        if (error.code === "BOOT_CONNECTIONS") {
          // What its application has open has been told.
          use = withoutTemplate(setup);
          attempt--;
          continue;
        }
        if (error.code !== "BOOT") throw error;
        if (attempt >= bootAttempts) throw bootRefused(error, bootAttempts);
        const waitMs = Math.min(BOOT_BACKOFF_LIMIT_MS, BOOT_BACKOFF_FIRST_MS * 2 ** (attempt - 1));
        this.#log.warn(
          `boot ${attempt} of ${bootAttempts} failed, the next one in ${waitMs} ms: ${error.message}`,
          {
            gen: generation.number,
          },
        );
        await Bun.sleep(waitMs);
        if (!isWanted(generation)) throw error;
      }
    }
  }

  /**
   * Starts the next generation from another setup and has it answer its probe. Throws with the reason when it is
   * not fit to serve; nothing has changed then. Else `commit` or `abandon` must follow. What PHP complains of when
   * it starts is such a reason, unless other pools (`known`) or this one serve with it already.
   */
  async prepare(setup: PoolSetup, known: readonly string[] = []): Promise<Generation> {
    const before = this.abandon();
    let generation: Generation | undefined;
    try {
      const { generation: started, report } = await this.#bringUp(
        setup,
        (attempt) => this.#candidate === attempt && !this.#ended,
        (attempt) => {
          generation = attempt;
          // At once: whoever prepares another meanwhile has to see that this one is there.
          this.#candidate = attempt;
          return before;
        },
      );
      generation = started;
      const borne = new Set([...known, ...this.#known]);
      const fresh = report.startupErrors.filter((message) => !borne.has(message));
      if (fresh.length > 0) {
        throw new PhprunError("PHP_START", `PHP complains when it starts:\n  ${fresh.join("\n  ")}`);
      }
      await generation.probe();
      // A pool that has grown does not begin anew with its least workers.
      const grown = this.#current?.workers.wanted ?? 0;
      if (grown > generation.workers.wanted) generation.resize(grown);
      await generation.complete();
      return generation;
    } catch (error) {
      if (this.#candidate === generation) this.#candidate = null;
      // In a hurry it has taken over before it was done with its probe: see #rollIfDue.
      if (generation?.role === "candidate") await generation.end();
      throw error;
    }
  }

  /** Throws when what was prepared has ended since: other pools may have taken long. */
  check(): void {
    const how = this.#candidate === null ? "nobody's wish" : this.#candidate.endedWith;
    if (how !== null) {
      throw new PhprunError(
        "HOST_START",
        `Cannot use the new generation of pool ${this.#setup.config.name}: its host ended with ${how}`,
      );
    }
  }

  /** The prepared generation takes over; the one before finishes what it has. */
  commit(drainTimeoutMs = this.#drainTimeoutMs): void {
    const generation = this.#candidate;
    if (generation === null || this.#ended) return;
    this.#candidate = null;
    this.#drainTimeoutMs = drainTimeoutMs;
    clearTimeout(this.#hostTimer);
    this.#setup = generation.setup;
    this.#crashes = new CrashBurst(generation.setup.config.emergencyRestart);
    this.#hostStarts.reset();
    this.#failure = null;
    const old = this.#current;
    this.#options.dispatcher.rules = generation.setup.config;
    this.#options.dispatcher.open();
    this.#become(generation);
    if (old !== null) this.#retire(old);
  }

  /** The prepared generation is not wanted after all. */
  async abandon(): Promise<void> {
    const generation = this.#candidate;
    this.#candidate = null;
    await generation?.end();
  }

  /** Replaces the current generation by one from the same setup: what its workers share is not to be trusted. */
  roll(why: string): void {
    if (this.#rolling !== null || this.#candidate !== null || this.#stopping || this.#current === null)
      return;
    this.#options.counters.restarts.emergency++;
    this.#log.warn(`replacing the whole generation: ${why}`, { gen: this.#current.number });
    this.#prepareRoll();
  }

  /** The server is stopping: what runs may finish, and is still looked after. */
  stopping(): void {
    this.#stopping = true;
    this.#abandoned ??= this.abandon();
  }

  sweep(nowMs: number, stepMs: number): void {
    for (const generation of this.#undisposed) generation.sweep(nowMs, stepMs);
    if (this.#rolls.next !== null) this.#rollIfDue(nowMs);
  }

  /** Resolves once no generation has a request any more. */
  async rest(): Promise<void> {
    await Promise.all(this.generations.map((generation) => generation.slots.empty()));
  }

  /** Ends every host and its workers at once. */
  async end(): Promise<void> {
    this.stopping();
    this.#ended = true;
    clearTimeout(this.#hostTimer);
    // One that is still being brought up for the first time is no candidate.
    await Promise.all([this.#abandoned, ...[...this.#undisposed].map((generation) => generation.end())]);
  }

  /** Resolves when nobody reads from any generation any more. After `end`. */
  async disposed(): Promise<void> {
    await Promise.all([...this.#undisposed].map((generation) => generation.disposed));
  }

  #next(setup: PoolSetup): Generation {
    const generation = new Generation(++this.#number, setup, this.#options.spoolFd, this.#log, this.#hooks);
    this.#undisposed.add(generation);
    void generation.disposed.then(() => this.#undisposed.delete(generation));
    return generation;
  }

  #become(generation: Generation): void {
    generation.role = "current";
    this.#current = generation;
    this.#rolls.replaced(generation.startedAtMs);
    this.#known = generation.report?.startupErrors ?? [];
    this.#options.dispatcher.use(generation.slots);
  }

  /** Nobody waits for it: an application that is broken is served all the same, as any server does. */
  #probeCurrent(generation: Generation): void {
    generation.probe().catch((error: unknown) => {
      if (this.#stopping || generation !== this.#current) return;
      this.#log.warn(error instanceof Error ? error.message : String(error), { gen: generation.number });
    });
  }

  #retire(generation: Generation): void {
    const drained = generation.drain(this.#drainTimeoutMs).finally(() => this.#draining.delete(generation));
    this.#draining.set(generation, drained);
  }

  #workerEnded(generation: Generation, why: RestartReason, exit: Exit): void {
    // One that comes or goes is not what the pool serves with.
    // One that was lost was counted then.
    if (generation.role !== "current" || why === "lost") return;
    this.#options.counters.restarts[why]++;
    if (generation === this.#current && this.#crashes.note(exit, performance.now())) {
      const { threshold, intervalMs } = this.#setup.config.emergencyRestart;
      this.roll(`${threshold} workers crashed within ${intervalMs / 1000} s`);
    }
  }

  // ---- while it serves -------------------------------------------------------------------------------

  #askForRoll(reason: RollReason, why: string): void {
    const nowMs = performance.now();
    this.#rolls.ask(reason, why, nowMs);
    this.#rollIfDue(nowMs);
  }

  #rollIfDue(nowMs: number): void {
    const current = this.#current;
    // Of a host that has died the next one is on its way.
    if (current === null || this.#stopping || this.#failure !== null) return;
    if (current.workers.lost === 0) this.#rolls.withdraw("lost");
    const urgent = current.workers.tooFew;
    // One that is on its way already takes over as soon as it runs, proven or not.
    const coming = this.#rolling;
    if (urgent && coming !== null && coming === this.#candidate && coming.isUp) {
      this.#log.warn("too few workers are left: the next generation takes over before it has proven itself", {
        gen: coming.number,
      });
      return this.commit();
    }
    const { next } = this.#rolls;
    if (next === null || this.#rolling !== null || this.#replacing) return;
    if (nowMs < this.#rolls.dueMs(urgent)) return;
    if (urgent) {
      this.#rolls.begun(nowMs);
      this.#log.error(`replacing the host at once: ${next.why}, and too few workers are left`, {
        gen: current.number,
      });
      return void this.#replaceAtOnce(current);
    }
    // A reload is under way: if it is refused, our time comes.
    if (this.#candidate !== null) return;
    this.#rolls.begun(nowMs);
    if (next.reason === "renew") this.#options.counters.restarts.renew++;
    this.#log[next.reason === "renew" ? "info" : "warn"](`replacing the whole generation: ${next.why}`, {
      gen: current.number,
    });
    this.#prepareRoll();
  }

  #prepareRoll(): void {
    const preparing = this.prepare(this.#setup);
    const prepared = this.#candidate;
    this.#rolling = prepared;
    preparing
      .then((generation) => {
        if (generation !== this.#candidate) return;
        this.check();
        this.commit();
      })
      .catch((error: unknown) => {
        const why = error instanceof Error ? error.message : String(error);
        if (this.#candidate === prepared) void this.abandon();
        // It serves already, for want of workers.
        if (prepared?.role !== "candidate") return this.#log.warn(why, { gen: prepared?.number });
        // A reload, or a stop, has come in between.
        if (this.#stopping || this.#candidate !== null) return;
        this.#rolls.failed(performance.now(), false);
        this.#log.error(`the generation was not replaced: ${why}`);
      })
      .finally(() => {
        this.#rolling = null;
      });
  }

  /** As after the death of a host, but what the old one still runs may finish. */
  async #replaceAtOnce(old: Generation): Promise<void> {
    this.#replacing = true;
    const generation = this.#next(this.#setup);
    try {
      await generation.start();
      // A reload may have been quicker, or what was to be replaced has died meanwhile.
      const before = this.#current;
      if (this.#ended || (before !== old && before !== null)) return await generation.end();
      this.#takeOver(generation);
      if (before !== null) this.#retire(old);
    } catch (error) {
      this.#rolls.failed(performance.now(), true);
      this.#log.error(error instanceof Error ? error.message : String(error), { gen: generation.number });
    } finally {
      this.#replacing = false;
    }
  }

  #takeOver(generation: Generation): void {
    this.#log.info("a new host has taken over", { gen: generation.number });
    this.#become(generation);
    this.#probeCurrent(generation);
  }

  // ---- hosts that end by themselves ----------------------------------------------------------------

  #hostGone(generation: Generation, crash: boolean): void {
    if (generation !== this.#current || this.#ended) return;
    const { restarts } = this.#options.counters;
    restarts.host++;
    if (crash) restarts.crash++;
    this.#current = null;
    this.#options.dispatcher.use(null);
    if (generation.hasConnections) this.#setup = withoutTemplate(this.#setup);
    // A process that crashes does not take its host with it: that is only said of threads.
    const served = generation.threads && generation.served;
    this.#hostStarts.ended(performance.now() - generation.startedAtMs, served);
    // When we are stopping, for what still waits.
    if (!this.#stopping || this.#options.dispatcher.waiting > 0) this.#startAnother();
  }

  #startAnother(): void {
    if (this.#hostStarts.failed) {
      return this.#fail(`its host ended or did not start ${this.#hostStarts.failures} times in a row`);
    }
    this.#hostTimer = setTimeout(() => void this.#tryAnother(), this.#hostStarts.next(performance.now()));
  }

  async #tryAnother(): Promise<void> {
    try {
      const generation = this.#next(this.#setup);
      await generation.start();
      // A reload may have been quicker.
      if (this.#ended || this.#current !== null) return await generation.end();
      this.#takeOver(generation);
    } catch (error) {
      if (this.#ended || this.#current !== null) return;
      this.#log.error(error instanceof Error ? error.message : String(error), { gen: this.#number });
      this.#startAnother();
    }
  }

  #fail(why: string): void {
    if (this.#failure !== null) return;
    this.#failure = why;
    this.#log.error(
      `the pool is given up: ${why}. Requests to it get 503 until phprun is reloaded or started again.`,
    );
    this.#options.onFailed();
  }
}

function bootRefused(error: PhprunError, attempts: number): PhprunError {
  const times = attempts === 1 ? "" : `, ${attempts} times in a row`;
  const [first = "", ...rest] = error.message.split("\n");
  return new PhprunError(error.code, [`${first}${times}`, ...rest].join("\n"), { cause: error });
}
