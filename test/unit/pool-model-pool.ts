import { Phase } from "../../ffi/layout.ts";
import { Counters } from "../../src/pool/counters.ts";
import { Dispatcher } from "../../src/pool/dispatcher.ts";
import type { Refusal } from "../../src/pool/job.ts";
import type { Slots } from "../../src/pool/slots.ts";
import { ModelGeneration, MOST_WORKERS, SLOTS } from "./pool-model-generation.ts";
import { JobDouble, must, type ScriptKind } from "./pool-model-job.ts";

const SWEEP_MS = 50;
const QUEUE_MAX = 3;
const MOST_RUNS = 2;
const NO_RUSH = { timeoutMs: 0, killAfterMs: 0 };

/** A pool with its dispatcher, slots, worker tables and shared memory, and with everything else in a test's hands. */
export class ModelPool {
  readonly counters = new Counters();
  readonly jobs: JobDouble[] = [];
  readonly generations: ModelGeneration[] = [];
  readonly dispatcher: Dispatcher;
  current: ModelGeneration | null = null;
  #retry = true;
  #closed: Refusal | null = null;
  #nowMs = 1000;
  #queueTimeoutMs = 2000;
  #lastStarted: JobDouble | undefined;
  /** The last job that was started came back: that may have been for want of room in the ring. */
  #ringMayBeFull = false;
  #limits = { timeoutMs: 1000, killAfterMs: 200 };
  /** What the event loop would do next. */
  #immediates: (() => void)[] = [];
  readonly #real = { setImmediate: globalThis.setImmediate, now: performance.now };

  /** `threads`: what the workers of its first generation are. */
  constructor(threads: boolean) {
    globalThis.setImmediate = ((run: () => void) => this.#immediates.push(run)) as never;
    // Never twice the same, as the real one.
    performance.now = () => (this.#nowMs += 0.000_1);
    this.dispatcher = new Dispatcher(this.#rules(), this.counters);
    this.reload(2, threads);
  }

  dispose(): void {
    globalThis.setImmediate = this.#real.setImmediate;
    performance.now = this.#real.now;
    for (const generation of this.generations) generation.dispose();
  }

  generation(pick: number): ModelGeneration {
    return this.generations[this.generations.length - 1 - (pick % this.generations.length)]!;
  }

  // ---- what may happen -------------------------------------------------------------------------------

  dispatch(kind: ScriptKind, safe: boolean, eager: boolean): void {
    const job = new JobDouble(this.jobs.length + 1, kind, safe, eager, {
      starting: (starting, slots, slot) => this.#starting(starting, slots, slot),
      returned: (returned) => {
        if (returned === this.#lastStarted) this.#ringMayBeFull = true;
      },
    });
    this.jobs.push(job);
    const before = this.#queued;
    this.dispatcher.dispatch(job);
    must(this.#queued <= Math.max(before, QUEUE_MAX), "the queue holds no more than it may");
    must(this.#closed === null || job.how === "refused", "a closed pool takes nothing");
  }

  turnEventLoop(): void {
    for (const run of this.#immediates.splice(0)) run();
  }

  /** Time goes by, then the pool looks. */
  sweep(afterMs: number): void {
    this.#nowMs += afterMs;
    const nowMs = performance.now();
    this.dispatcher.sweep(nowMs);
    for (const generation of this.generations) {
      // Nobody sweeps one whose host is gone.
      if (!generation.ended) generation.sweep(nowMs, SWEEP_MS, this.#limits);
      generation.topUp();
      generation.dismissOne();
    }
    if (this.#queueTimeoutMs === 0) return;
    for (const { settled, place, dispatchedAtMs, lostItsTurn } of this.jobs) {
      if (settled || lostItsTurn || nowMs - dispatchedAtMs <= this.#queueTimeoutMs) continue;
      const inRing =
        place?.slots === this.current?.slots && place?.slots.memory.phase(place.slot) === Phase.queued;
      must(place !== undefined && !inRing, "none waits longer than it may");
    }
    must(
      this.dispatcher.longestWaitMs(nowMs) <= this.#queueTimeoutMs,
      "the longest wait is within the limit",
    );
  }

  reload(wanted: number, threads: boolean): void {
    const old = this.current;
    this.#open();
    this.#become(wanted, threads);
    old?.drain();
  }

  newHost(): void {
    if (this.current === null) this.#become(2, this.generations.at(-1)!.threads);
  }

  hostDies(): void {
    this.current?.gone(() => {
      this.current = null;
      this.dispatcher.use(null);
    });
  }

  cutDrain(pick: number): void {
    const generation = this.generation(pick);
    if (generation.role === "draining") generation.end();
  }

  setRetry(retry: boolean): void {
    this.#retry = retry;
    this.dispatcher.rules = this.#rules();
  }

  close(why: Refusal): void {
    this.#closed ??= why;
    this.dispatcher.close(why);
  }

  open(): void {
    // One that was given up is opened by a reload alone.
    if (this.#closed !== "pool-failed") this.#open();
  }

  refuseWaiting(): void {
    this.dispatcher.refuseWaiting("stopping");
    must(this.dispatcher.waiting === 0, "none waits after all that wait were refused");
  }

  /** Clients that come and leave while every worker is busy, as often as the ring has places. */
  comeAndLeave(times: number): void {
    for (let i = 0; i < times; i++) {
      this.dispatch("w", true, true);
      this.jobs.at(-1)!.leave();
      this.sweep(0);
    }
  }

  /** What a broken extension does to workers. The pool is given up in the end. */
  workersEndAtTheirStart(rounds: number): void {
    for (let round = 0; round < rounds; round++) {
      const { current } = this;
      if (current === null) return;
      for (let worker = 0; worker < MOST_WORKERS; worker++) current.die(worker, { signal: 11 });
      current.hearAll();
      this.sweep(5100);
    }
  }

  // ---- what must hold --------------------------------------------------------------------------------

  check(): void {
    for (const generation of this.generations) generation.closeWhenEmpty();
    const placed = new Set<JobDouble>();
    for (const { slots, memory, workers, ended, closed } of this.generations) {
      let count = 0;
      for (const [slot, { job }] of slots.running()) {
        count++;
        must(job instanceof JobDouble && !placed.has(job), "a job has one slot");
        must(job.place?.slots === slots && job.place.slot === slot, "a job knows its slot");
        if (!closed) must(memory.phase(slot) !== Phase.free, "a slot with a job is in use");
        placed.add(job);
      }
      must(slots.inFlight === count, "the slots in flight are those with a job");
      must(count + slots.abandoned.size <= SLOTS, "an abandoned slot is nobody's");
      for (const slot of slots.abandoned.keys()) {
        must(slots.at(slot) === undefined, "an abandoned slot has no job");
        must(closed || memory.phase(slot) !== Phase.free, "an abandoned slot is its thread's");
      }
      must(count <= SLOTS, "there are so many slots");
      must(workers.alive <= MOST_WORKERS, "there are no more workers than there may be");
      must(workers.running <= workers.alive, "who runs is alive");
      if (!ended) {
        const pids = workers.all.filter(({ pid }) => pid !== 0).map(({ pid }) => pid);
        must(new Set(pids).size === pids.length, "no worker is counted twice");
      }
    }
    let waiting = 0;
    let left = 0;
    for (const job of this.jobs) {
      must(job.place === undefined || placed.has(job), "a job that thinks it has a slot has it");
      if (job.place === undefined && !job.settled) waiting++;
      if (job.place === undefined && job.how === "left") left++;
    }
    must(this.#queued >= waiting, "no request is lost");
    must(this.#queued <= waiting + left, "none that has been answered waits");
    if (waiting > 0 && !this.#ringMayBeFull)
      must(this.current?.slots.hasRoom !== true, "none waits while there is room for it");
    const refused = Object.values(this.counters.refused).reduce((sum, n) => sum + n, 0);
    must(refused === this.jobs.filter(({ how }) => how === "refused").length, "each refusal is counted");
  }

  /** Nothing bad happens any more: now all must come to an end. */
  finish(): void {
    this.#limits = NO_RUSH;
    this.#queueTimeoutMs = 0;
    this.dispatcher.rules = this.#rules();
    for (const generation of this.generations) {
      generation.hearAll();
      generation.forksToFail = 0;
      generation.hearAll();
    }
    this.newHost();
    this.current?.resize(2);
    if (this.#closed === "pool-failed" || this.current?.workers.failed === true) this.reload(2, false);
    const old = () =>
      this.generations.some((generation) => generation !== this.current && !generation.closed);
    for (
      let round = 0;
      this.#unfinished.length > 0 ||
      old() ||
      this.dispatcher.waiting > 0 ||
      this.current?.workers.running === 0 ||
      (this.current?.workers.lost ?? 0) > 0;
      round++
    ) {
      must(round < 100, `no request is lost: ${this.#describe()}`);
      this.turnEventLoop();
      for (const generation of this.generations) {
        for (let worker = 0; worker < MOST_WORKERS; worker++) generation.step(worker, 50);
        generation.hearAll();
        if (!generation.closed) generation.slots.drain();
      }
      for (const job of this.jobs) job.read();
      this.sweep(100);
      this.check();
    }
    const { current } = this;
    must(current !== null, "a pool has a generation in the end");
    must(this.dispatcher.waiting === 0, "nothing waits in the end");
    for (const generation of this.generations) {
      must(generation === current || generation.closed, "an old generation ends");
      if (generation.closed) generation.callLate();
    }
    this.open();
    this.#fillAllSlots(current);
  }

  #open(): void {
    this.#closed = null;
    this.dispatcher.open();
  }

  #become(wanted: number, threads: boolean): void {
    const generation = new ModelGeneration(this.generations.length + 1, wanted, threads, {
      freed: (freed) => {
        if (freed === this.current) this.dispatcher.fill();
      },
      lost: (running, why) => {
        this.#lastStarted = undefined;
        this.dispatcher.lost(running, why);
      },
      begun: (begun, slot) => this.#begun(begun, slot),
      failed: (failed) => {
        if (failed !== this.current) return;
        this.close("pool-failed");
        this.dispatcher.refuseWaiting("pool-failed");
      },
      nowMs: () => performance.now(),
    });
    this.generations.push(generation);
    // It has been probed, so it has a worker.
    generation.hear();
    this.current = generation;
    this.dispatcher.use(generation.slots);
  }

  #starting(job: JobDouble, slots: Slots, slot: number): void {
    must(slots === this.current?.slots, "only the current generation takes requests");
    must(slots.at(slot) === undefined, "a slot is given to one job");
    must(this.current.workers.running > 0, "without workers nothing is taken in");
    this.#lastStarted = job;
    this.#ringMayBeFull = false;
    if (job.lostItsTurn) return;
    for (const other of this.jobs) {
      if (other === job) break;
      const waits = other.place === undefined && !other.settled && !other.lostItsTurn;
      must(!waits, `first come, first served: job ${job.number} before ${other.number}`);
    }
  }

  #begun({ slots, ended }: ModelGeneration, slot: number): void {
    const running = slots.at(slot);
    // One that outlives its host does what it likes, and so does a thread that was given up.
    if (ended || slots.abandoned.has(slot)) return;
    must(running !== undefined, "a worker runs what was given to it");
    const job = running.job as JobDouble;
    must(++job.runs <= MOST_RUNS, "no request runs more often than it may");
  }

  /** Requests the dispatcher itself holds. */
  get #queued(): number {
    return this.dispatcher.waiting - (this.current?.slots.waiting ?? 0);
  }

  get #unfinished(): JobDouble[] {
    return this.jobs.filter((job) => !job.settled || job.place !== undefined);
  }

  #describe(): string {
    return this.#unfinished
      .map(({ number, place }) => {
        if (place === undefined) return `job ${number} waits`;
        return `job ${number} in slot ${place.slot}, phase ${place.slots.memory.phase(place.slot)}`;
      })
      .join("; ");
  }

  /** Every slot has come back, once. */
  #fillAllSlots({ slots }: ModelGeneration): void {
    slots.workers = MOST_WORKERS;
    for (let i = 0; i < SLOTS; i++) {
      must(slots.hasRoom, "every slot is free in the end");
      this.dispatch("w", false, true);
      must(slots.inFlight === i + 1, "every slot can be had again");
    }
    must(!slots.hasRoom, "no slot is there twice");
  }

  #rules() {
    return { queue: { max: QUEUE_MAX, timeoutMs: this.#queueTimeoutMs }, retry: this.#retry };
  }
}
