import { constants } from "node:os";
import { Leaving, Phase, WorkerState } from "../../ffi/layout.ts";
import { PoolMemory } from "../../ffi/pool-memory.ts";
import type { PoolConfig } from "../config/config.ts";
import { PhprunError } from "../errors.ts";
import type { Log } from "../log/log.ts";
import type { PhpReport } from "../php/report.ts";
import { type BootActions, Booting, endedByItself } from "./booting.ts";
import type { RestartReason } from "./counters.ts";
import { crashScene } from "./crash-scene.ts";
import { stepDeadline, stepSlow } from "./deadlines.ts";
import { GenerationLog, startError, withComplaints } from "./generation-log.ts";
import { HostChannels } from "./host-channels.ts";
import { HostProcess } from "./host-process.ts";
import type { Loss } from "./job.ts";
import { memoryOptions } from "./memory-options.ts";
import { ANY_REQUEST, AppOption, Command, type Exit, type HostEvent, type HostOptions } from "./messages.ts";
import { type Probe, ProbeJob } from "./probe-job.ts";
import { Recycling } from "./recycling.ts";
import { type Running, Slots } from "./slots.ts";
import { killOrphan } from "./orphans.ts";
import { exitOf, lossFor, restartReason } from "./worker-end.ts";
import { Workers } from "./workers.ts";

/** A host that does not report within this time is given up. */
const HOST_START_MS = 30_000;
/** A host that has been told to end, and has not, is killed after this time. */
const HOST_END_MS = 2000;
/** A generation that has answered its probe takes over after this time, whether all its workers are there or not. */
const COMPLETE_MS = 2000;
/** Old workers end one by one: the end of a process costs milliseconds, which the new ones have better use for. */
const LEAVE_ONE_BY_ONE_MS = 20;
/** A live worker is between a ring entry and its claim for less than this, or is found to be late and loses it. */
const ORPHAN_MS = 100;

/** PHPRUN_DEADLINE_SIGNAL of ffi/php/shim.h: SIGRTMIN + 5, as glibc counts. */
const DEADLINE_SIGNAL = 39;

/** A child that a script has left behind may hold the host's log open for as long as it lives. */
const LAST_WORDS_MS = 200;

/** How a worker ends that is a process: by the kernel's hand. */
const ITS_HOST_DIED: Exit = { signal: constants.signals.SIGKILL };

/** What a generation is made from. A reload makes the next one from another. */
export interface PoolSetup {
  readonly config: PoolConfig;
  readonly host: HostOptions;
  readonly env: Record<string, string | undefined>;
  /** What a new generation must answer before it gets traffic. */
  readonly probe: Probe;
}

export interface GenerationHooks {
  served(running: Running): void;
  lost(running: Running, why: Loss): void;
  /** There is room in its slots. */
  freed(generation: Generation): void;
  /** A thread does not come back from its request: its host is to be replaced. */
  workerLost(generation: Generation, why: string): void;
  /** Its host asks to be replaced, because of this. */
  renew(generation: Generation, why: string): void;
  /** A worker has ended and is to be replaced, or not. */
  ended(generation: Generation, why: RestartReason, exit: Exit): void;
  slow(generation: Generation): void;
  /** Its workers end right after their start, and it has given up starting them. */
  barren(generation: Generation, starts: number): void;
  /**
   * Its host has ended by itself. What its workers had will be lost; the rest can be withdrawn. `crash`: one of its
   * threads brought that about.
   */
  gone(generation: Generation, crash: boolean): void;
}

/** One host with its workers, and the requests they have. Nothing in it is ever repaired: the next one takes over. */
export class Generation {
  readonly number: number;
  readonly setup: PoolSetup;
  readonly slots: Slots;
  readonly workers: Workers;
  readonly startedAtMs = performance.now();
  /** Its workers are threads of the host. */
  readonly threads: boolean;
  role: "candidate" | "current" | "draining" = "candidate";
  report: PhpReport | undefined;
  /** Has a worker of it finished a request? */
  answered = false;
  /** Has a worker begun with a request that was no probe? What its host dies of is then no failed start. */
  served = false;
  /** How its host ended by itself; null while it has not. */
  endedWith: string | null = null;

  /** The probe, until a worker is there to have it. */
  #unsentProbe: ProbeJob | null = null;
  /** The worker that answered our probe. */
  #probedPid = 0;
  readonly #log: Log;
  readonly #says: GenerationLog;
  readonly #hooks: GenerationHooks;
  readonly #memory: PoolMemory;
  readonly #recycling: Recycling;
  readonly #spoolFd: number;
  #channels: HostChannels | undefined;
  #host: HostProcess | undefined;
  /** Worker mode; undefined in classic mode, where there is nothing to wait for. */
  readonly #booting: Booting | undefined;
  /** Has the host reported, so that it takes commands? */
  #ready = false;
  #ending = false;
  readonly #disposed = Promise.withResolvers<void>();
  #respawnTimer: Timer | undefined;

  constructor(number: number, setup: PoolSetup, spoolFd: number, log: Log, hooks: GenerationHooks) {
    this.number = number;
    this.setup = setup;
    this.#spoolFd = spoolFd;
    this.#log = log;
    this.#hooks = hooks;
    const { config } = setup;
    this.#memory = new PoolMemory(memoryOptions(config));
    this.#memory.setMemoryLimit(config.memoryLimitBytes);
    this.threads = setup.host.isolation === "thread";
    // A thread is not killed from outside: it ends the request itself.
    if (this.threads) this.#memory.setHardMemoryLimit(config.memoryKillBytes);
    this.workers = new Workers(config.workers.max, config.workers.min);
    const { app } = setup.host;
    if (app !== null)
      this.#booting = new Booting(app, config, this.#memory, this.workers, this.#bootActions());
    const reforks = ((setup.host.app?.options ?? 0) & AppOption.refork) !== 0;
    this.#recycling = new Recycling(
      { maxRequests: config.maxRequests, reforkAfter: reforks ? config.worker.reforkAfter : 0 },
      (worker, why) => this.retire(worker, "max_requests", why),
      (worker) => this.#host?.send(Command.promote, worker),
    );
    this.slots = new Slots(this.#memory, {
      served: (worker, running) => {
        this.#recycling.served(worker);
        this.answered = true;
        if (running.job.isProbe) this.#probedPid = this.#memory.worker(worker).pid;
        else this.served = true;
        hooks.served(running);
      },
      lost: hooks.lost,
      freed: () => hooks.freed(this),
    });
    this.#says = new GenerationLog(log, number, this.slots, (why) => hooks.renew(this, why));
  }

  /** Worker mode: its application has connections open, so that copies of it cannot be made. */
  get hasConnections(): boolean {
    return this.#booting?.hasConnections === true;
  }

  /** Resolves when nobody reads from its memory any more, which may be long after its host has ended. */
  get disposed(): Promise<void> {
    return this.#disposed.promise;
  }

  get hostPid(): number | null {
    return this.#host?.pid ?? null;
  }

  /** Has PHP started, and is its host there? */
  get isUp(): boolean {
    return this.#ready && !this.#ending;
  }

  // ---- its life ----------------------------------------------------------------------------------

  /** Starts the host. Resolves when PHP has started and the workers have been asked for. */
  async start(): Promise<PhpReport> {
    const { promise, resolve, reject } = Promise.withResolvers<PhpReport>();
    // A rejection before anybody waits for it is not unhandled.
    promise.catch(() => undefined);
    const timer = setTimeout(() => {
      reject(startError(`no answer from it within ${HOST_START_MS / 1000} s`));
      this.#host?.kill();
    }, HOST_START_MS);
    const complaints: string[] = [];
    this.#says.collect(complaints);
    try {
      if (this.#ending) throw startError("it is not wanted any more");
      const channels = await HostChannels.open({
        woken: () => this.slots.drain(),
        record: (record) => this.#says.record(record),
      });
      this.#channels = channels;
      const descriptors = { pool: this.#memory.fd, spool: this.#spoolFd, ...channels.theirs };
      try {
        this.#host = await HostProcess.start(this.setup.host, this.setup.env, descriptors, {
          line: (text) => this.#says.line(text),
          gone: (code, signal) => {
            const how = String(signal ?? `exit code ${code}`);
            reject(startError(`its host ended with ${how}`));
            this.#gone(how, exitOf(code, signal));
          },
          event: (event) => {
            if (event.kind !== "report") return this.#workerEvent(event);
            if (event.result.ok) resolve(event.result.report);
            else reject(new PhprunError(event.result.code, event.result.message));
          },
        });
        if (this.#ending) throw startError("it is not wanted any more");
      } finally {
        channels.closeTheirs();
      }
      const report = await promise;
      // Complaints come on other sockets, and were sent before the report: they have arrived, but may not have been read.
      await Bun.sleep(1);
      if (this.endedWith !== null) {
        // PHP has started: it is the application that has not.
        throw this.#booting?.hasTemplate
          ? this.#booting.error(this.endedWith)
          : startError(`its host ended with ${this.endedWith}`);
      }
      if (this.#ending) throw startError("it is not wanted any more");
      this.#ready = true;
      this.#says.silent = false;
      this.report = { ...report, startupErrors: [...new Set(complaints)] };
      this.#booting?.hostStarted(performance.now());
      this.#topUp();
      return this.report;
    } catch (error) {
      this.#host?.kill();
      // Whoever hears of the failure may end the whole server: nothing is to stay behind.
      await Promise.race([this.#host?.exited, Bun.sleep(HOST_END_MS)]);
      void this.#dispose();
      throw withComplaints(error, complaints);
    } finally {
      clearTimeout(timer);
      this.#says.collect(null);
    }
  }

  /**
   * Worker mode: resolves when the application has booted and a worker can take requests. Throws with the reason and
   * what PHP says of it when the first boot fails.
   */
  async booted(): Promise<void> {
    const booting = this.#booting;
    if (booting === undefined) return;
    const complaints: string[] = [];
    this.#says.collect(complaints);
    try {
      while (!booting.hasBooted()) {
        if (booting.hasFailed || this.endedWith !== null || this.#ending) {
          // What PHP logged about it comes on another socket.
          await (this.endedWith === null ? Bun.sleep(5) : this.#channels?.drained(LAST_WORDS_MS));
          throw withComplaints(booting.error(this.endedWith), complaints);
        }
        await Bun.sleep(1);
      }
    } finally {
      this.#says.collect(null);
    }
  }

  /** Has one request answered, before any other gets here. Throws with the reason when it is not answered well. */
  async probe(): Promise<void> {
    const complaints: string[] = [];
    // Of one that serves already, others have what is logged meanwhile.
    this.#says.collect(this.role === "candidate" ? complaints : null);
    const job = new ProbeJob(this.setup.probe);
    try {
      this.#unsentProbe = job;
      this.#sendProbe();
      const timer = setTimeout(() => job.giveUp(this.#whyNoAnswer()), this.setup.probe.timeoutMs);
      await job.answered.finally(() => {
        clearTimeout(timer);
        this.#unsentProbe = null;
      });
    } catch (error) {
      // What PHP logged about it comes on another socket.
      await Bun.sleep(5);
      throw withComplaints(error, complaints);
    } finally {
      this.#says.collect(null);
    }
  }

  /** Resolves when every worker that is wanted is there, so that it can do at once what the one before it did. */
  async complete(): Promise<void> {
    const { bootTimeoutMs } = this.setup.config.worker;
    const deadlineMs = performance.now() + (this.#booting === undefined ? COMPLETE_MS : bootTimeoutMs);
    while (this.#able() < this.workers.wanted && performance.now() < deadlineMs) {
      if (this.#ending) return;
      await Bun.sleep(1);
    }
  }

  /** Workers that are there, and have booted. */
  #able(): number {
    return this.#booting?.able ?? this.workers.running;
  }

  /** It waits for the first worker, and comes before all that others ask of it. */
  #sendProbe(): void {
    const job = this.#unsentProbe;
    if (job === null) return;
    if (this.#ending) job.giveUp(this.#whyNoAnswer());
    else if (this.workers.running > 0 && this.slots.submit({ job, queuedAtMs: performance.now() }))
      this.#unsentProbe = null;
  }

  /** So many workers are wanted from now on. */
  resize(wanted: number): void {
    if (wanted === this.workers.wanted) return;
    this.workers.wanted = wanted;
    // With fewer wanted, the starts that have failed so far may be enough to give up; no event would tell.
    if (this.workers.failed) this.#hooks.barren(this, this.workers.failedStarts);
    this.#topUp();
    this.#shed();
  }

  #shed(): void {
    const isIdle = (worker: number) => this.#memory.worker(worker).state === WorkerState.idle;
    for (const { number } of this.workers.takeExcess(isIdle)) this.retire(number, "idle", null);
  }

  /** Asks a worker to end after its request. `why` is for the log; null: it is no news. */
  retire(worker: number, reason: RestartReason, why: string | null): void {
    if (!this.workers.retire(worker, reason)) return;
    if (why !== null) this.#says.replaced(worker, why);
    this.#memory.retire(worker);
    this.#countWorkers();
  }

  /**
   * Takes no more requests, lets those it has end, then ends. After `timeoutMs` it ends all the same. What no
   * worker had begun with has been withdrawn by then.
   */
  async drain(timeoutMs: number): Promise<void> {
    this.role = "draining";
    this.workers.wanted = 0;
    let timer: Timer | undefined;
    const late = new Promise<boolean>((resolve) => {
      timer = setTimeout(() => resolve(true), timeoutMs);
    });
    const rested = this.#dismiss().then(() => this.slots.empty());
    const cut = await Promise.race([rested.then(() => false), late]);
    clearTimeout(timer);
    if (cut) {
      this.#log.warn(`requests of the old generation did not end within ${timeoutMs} ms and are cut off`, {
        gen: this.number,
        requests: this.slots.inFlight,
      });
    }
    await this.end();
  }

  async #dismiss(): Promise<void> {
    for (const { number } of this.workers.all) {
      if (this.#ending) return;
      if (!this.workers.retire(number, "idle")) continue;
      this.#memory.retire(number);
      await Bun.sleep(LEAVE_ONE_BY_ONE_MS);
    }
  }

  /** Ends the host and its workers at once. What they had is lost. */
  async end(): Promise<void> {
    if (this.#ending) return;
    this.#ending = true;
    this.#sendProbe();
    clearTimeout(this.#respawnTimer);
    const host = this.#host;
    if (host !== undefined) {
      host.send(Command.end);
      const timer = setTimeout(() => host.kill(), HOST_END_MS);
      await host.exited;
      clearTimeout(timer);
    }
    // What one of them completed and could not report any more is still good.
    for (const { number } of this.workers.all) this.#memory.bury(number);
    this.slots.drain();
    for (const [slot] of this.slots.running()) {
      // It has been answered, and waits for its reader: see `disposed`.
      if (this.#memory.phase(slot) !== Phase.ended) this.slots.lose(slot, { kind: "stopped" });
    }
    this.slots.takeBackAbandoned();
    void this.#dispose();
  }

  // ---- what its requests need ----------------------------------------------------------------------

  /** Lets every job look at its client, and kills what is overdue. */
  sweep(nowMs: number, stepMs: number): void {
    if (this.isUp) this.#booting?.sweep(nowMs);
    if (this.slots.inFlight === 0) return;
    // A worker stopped between completing something and waking us would hold up everybody's answers.
    this.slots.drain();
    for (const [slot, running] of this.slots.running()) {
      running.job.tick(nowMs);
      const phase = this.#memory.phase(slot);
      if (phase === Phase.queued || phase === Phase.ended) continue;
      this.#stepDeadline(slot, running, nowMs, stepMs);
    }
  }

  /** Kills a busy worker for what it holds, unless by then it has another request. */
  killForMemory(worker: number, why: string): void {
    if (this.threads) return;
    const slot = this.#memory.workerSlot(worker);
    const running = this.slots.at(slot);
    // Between two requests its record may still name a slot that has gone to another worker.
    if (running === undefined || this.#memory.owner(slot) !== worker || running.stage === "killed") return;
    const phase = this.#memory.phase(slot);
    if (phase !== Phase.running && phase !== Phase.responded) return;
    // Should the request end just before it is killed, the worker goes all the same.
    this.retire(worker, "memory_kill", null);
    running.stage = "killed";
    running.killedFor = "memory";
    this.#says.killed(worker, `it ${why}`, running);
    this.#host?.send(Command.kill, worker, this.#memory.requestId(slot));
  }

  #bootActions(): BootActions {
    return {
      askToEnd: (worker) => this.#host?.send(Command.deadline, worker),
      kill: (worker, what) => {
        if (this.threads) return this.#loseThread(worker, `the ${what} of its script`);
        this.#says.killed(
          worker,
          `its script did not ${what} within ${this.setup.config.worker.bootTimeoutMs} ms`,
        );
        this.#host?.send(Command.kill, worker, ANY_REQUEST);
      },
      askTemplateToEnd: () => this.#host?.signal(DEADLINE_SIGNAL),
      killTemplate: () => this.#host?.kill(),
      first: () => this.#topUp(),
    };
  }

  #stepDeadline(slot: number, running: Running, nowMs: number, stepMs: number): void {
    const { config } = this.setup;
    const worker = this.#memory.owner(slot);
    switch (stepDeadline(running, config, nowMs, stepMs)) {
      case "ask-to-end":
        this.#memory.deadline(slot);
        this.#host?.send(Command.deadline, worker);
        break;
      case "ask-again":
        this.#host?.send(Command.deadline, worker);
        break;
      case "kill": {
        running.killedFor = "deadline";
        if (this.threads) {
          this.#loseWorker(worker, slot, running);
          break;
        }
        const why = `its request did not end within ${config.killAfterMs} ms after its deadline`;
        this.#says.killed(worker, why, running);
        this.#host?.send(Command.kill, worker, this.#memory.requestId(slot));
        break;
      }
      case "nothing":
        break;
    }
    switch (stepSlow(running, config, nowMs)) {
      case "ask":
        this.#hooks.slow(this);
        this.#memory.look(worker, this.#memory.requestId(slot));
        break;
      case "tell":
        this.#says.slow(running, worker, "");
        break;
      case "nothing":
        break;
    }
  }

  /** A thread cannot be killed: its client is answered, and it is left where it is until its host ends. */
  #loseWorker(worker: number, slot: number, running: Running): void {
    this.#loseThread(
      worker,
      running.job.facts.script,
      () => this.slots.abandon(slot, { kind: "killed-by-deadline", stuck: true }),
      running,
    );
  }

  #loseThread(worker: number, from: string, abandon?: () => void, running?: Running): void {
    // Whose slot it is stands in memory that scripts can write to.
    if (!this.workers.lose(worker)) this.#hooks.renew(this, "its shared memory is damaged");
    this.#says.lost(worker, from, running);
    // Should it come back, it ends.
    this.#memory.retire(worker);
    abandon?.();
    // In a pool that may grow another place is free.
    this.#topUp();
    this.#countWorkers();
    this.#hooks.workerLost(this, `a worker does not come back from ${from}`);
  }

  // ---- workers -------------------------------------------------------------------------------------

  #topUp(): void {
    clearTimeout(this.#respawnTimer);
    if (!this.#ready || this.#ending) return;
    const nowMs = performance.now();
    for (const { number } of this.workers.takeDue(nowMs, this.#booting?.mayStart))
      this.#host?.send(Command.spawn, number, this.number);
    // Those that wait for the first to boot are started when it has.
    if (this.#booting?.mayStart === 0) return;
    const nextMs = this.workers.nextDueMs();
    if (Number.isFinite(nextMs)) this.#respawnTimer = setTimeout(() => this.#topUp(), nextMs - nowMs + 1);
  }

  #countWorkers(): void {
    this.#sendProbe();
    this.slots.workers = this.workers.running;
  }

  #workerEvent(event: Exclude<HostEvent, { kind: "report" }>): void {
    // It may have booted before we were done with its report.
    if (event.kind === "booted") {
      this.#booting?.templateBooted();
      return;
    }
    // What a host that is ending still has to say of workers that nobody waits for.
    if (!this.#ready) return;
    const { worker } = event;
    switch (event.kind) {
      case "promoted":
        this.workers.promoted(worker);
        this.#recycling.ended(worker);
        this.#log.info("a warm worker has become the template of further ones", {
          worker,
          gen: this.number,
          pid: event.pid,
        });
        void this.#renewWorkers();
        break;
      case "spawned":
        this.workers.apply(event, performance.now());
        this.#recycling.started(worker);
        this.#log.debug("worker started", { worker, gen: event.generation, pid: event.pid });
        break;
      case "spawn-failed":
        this.workers.apply(event, performance.now());
        this.#log.error(`cannot ${this.threads ? "start the thread of" : "fork"} a worker`, {
          worker,
          gen: this.number,
          errno: event.errno,
        });
        break;
      case "exited":
        this.#exited(worker, event.pid, event.exit);
        break;
      default:
        event satisfies never;
    }
    if (this.workers.failed) this.#hooks.barren(this, this.workers.failedStarts);
    this.#topUp();
    // One that was on its way when fewer were wanted is there now. Of a draining generation they leave one by one.
    if (this.role !== "draining") this.#shed();
    this.#countWorkers();
  }

  /** Those from before give way to copies of the new template, one at a time. */
  async #renewWorkers(): Promise<void> {
    const old = this.workers.all
      .filter(({ state }) => state === "running")
      .map(({ number, pid }) => ({ number, pid }));
    for (const { number, pid } of old) {
      while (!this.#ending && this.role === "current" && this.#able() < this.workers.wanted)
        await Bun.sleep(LEAVE_ONE_BY_ONE_MS);
      if (this.#ending || this.role !== "current") return;
      if (this.workers.all[number]?.pid === pid) this.retire(number, "refork", null);
    }
  }

  #exited(worker: number, pid: number, exit: Exit): void {
    this.#recycling.ended(worker);
    const { requests, leaving, ownBytes } = this.#memory.worker(worker);
    const neverBooted = this.#booting?.workerEnded(worker, exit) ?? false;
    const retiredFor = this.workers.all[worker]?.retiredFor ?? null;
    const running = this.#bury(worker, pid, exit);
    this.workers.apply(
      { kind: "exited", worker, pid, exit },
      performance.now(),
      // It may have died before it counted our probe.
      Math.max(0, requests - (pid === this.#probedPid ? 1 : 0)) +
        (running === undefined || running.job.isProbe ? 0 : 1),
      neverBooted,
    );
    if (leaving === Leaving.memory) {
      this.#says.replaced(worker, `held ${Math.round(ownBytes / 1048576)} MiB after its request`);
    }
    this.#says.ended(worker, leaving);
    if (leaving === Leaving.user) this.#says.replaced(worker, "has another user now");
    if (retiredFor === "lost") this.#says.cameBack(worker, pid);
    this.#hooks.ended(this, restartReason(exit, running, leaving, retiredFor), exit);
  }

  /** Answers the request a dead worker was running, and returns it. */
  #bury(worker: number, pid: number, exit: Exit): Running | undefined {
    // What it completed before it died is still good.
    this.slots.drain();
    const { lastFunction } = this.#memory.worker(worker);
    const slot = this.#memory.bury(worker);
    this.slots.drain();
    const running = slot < 0 ? undefined : this.slots.at(slot);
    // A kill of ours has been logged with its reason.
    const killedFor = running?.killedFor ?? null;
    if (killedFor === null && (running !== undefined || !endedByItself(exit))) {
      this.#says.died(worker, pid, exit, running, lastFunction);
    }
    if (slot >= 0) this.slots.lose(slot, lossFor(killedFor, exit));
    this.#resubmitLater();
    return running;
  }

  #resubmitLater(): void {
    setTimeout(() => {
      this.#memory.resubmitOrphans();
      // The ring may have had no room for all of them.
      if (this.slots.waiting > 0) this.#resubmitLater();
    }, ORPHAN_MS);
  }

  // ---- host ------------------------------------------------------------------------------------------

  #gone(how: string, exit: Exit): void {
    const wasReady = this.#ready;
    this.#ready = false;
    clearTimeout(this.#respawnTimer);
    if (this.#ending) return;
    this.endedWith = how;
    this.#booting?.hostEnded(exit);
    // Before it was ready, who started it hears of it.
    if (!wasReady) return;
    this.#ending = true;
    this.#sendProbe();
    // That it did not boot, or that it cannot be forked from, is told by whoever waits for it.
    if (this.#booting?.hasFailed !== true && !this.hasConnections)
      this.#log.error(`host ended with ${how}`, { gen: this.number });
    this.slots.workers = 0;
    const loss: Loss = { kind: "died", exit: this.threads ? exit : ITS_HOST_DIED };
    if (this.threads) this.#buryThreads(exit, loss);
    else this.#buryProcesses();
    this.slots.drain();
    this.workers.allGone();
    for (const [slot] of this.slots.running()) {
      if (this.#memory.phase(slot) !== Phase.ended) this.slots.lose(slot, loss);
    }
    this.slots.takeBackAbandoned();
    void this.#dispose();
  }

  #buryProcesses(): void {
    // Workers die with their host. One that has changed its user may not have been told to.
    for (const { pid } of this.workers.all) if (pid !== 0) killOrphan(pid);
    // Takes the requests back that nobody has begun with.
    this.#hooks.gone(this, false);
    for (const worker of this.workers.all) {
      if (worker.pid !== 0) this.#bury(worker.number, worker.pid, ITS_HOST_DIED);
      // One that we have not heard of yet may have ended a request and died before it reported it.
      else this.#memory.bury(worker.number);
    }
  }

  #buryThreads(exit: Exit, loss: Loss): void {
    // What they completed before the crash is still good.
    this.slots.drain();
    const scene = crashScene(this.workers, this.slots);
    for (const { job } of scene.requests.values()) if (!job.isProbe) this.served = true;
    this.#hooks.gone(this, scene.culprit !== null);
    this.#says.crashed(scene, exit);
    for (const { number } of this.workers.all) {
      const slot = this.#memory.bury(number);
      this.slots.drain();
      if (slot >= 0) this.slots.lose(slot, loss);
    }
  }

  /** The sockets and the memory go when nobody reads from a slot any more. */
  async #dispose(): Promise<void> {
    await this.slots.empty();
    // What a dead host had to say may not have been read yet.
    await this.#channels?.drained(LAST_WORDS_MS);
    this.#channels?.end();
    this.#memory.close();
    this.#disposed.resolve();
  }

  #whyNoAnswer(): string {
    const { failedStarts } = this.workers;
    if (this.endedWith !== null) return `its host ended with ${this.endedWith}`;
    if (this.#ending) return "it is not wanted any more";
    if (failedStarts > 0) return `its workers end right after their start, ${failedStarts} times in a row`;
    return `no answer within ${this.setup.probe.timeoutMs} ms`;
  }
}
