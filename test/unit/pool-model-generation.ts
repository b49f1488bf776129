import { Phase, WorkerState } from "../../ffi/layout.ts";
import { PoolMemory } from "../../ffi/pool-memory.ts";
import type { RestartReason } from "../../src/pool/counters.ts";
import { stepDeadline } from "../../src/pool/deadlines.ts";
import type { Loss } from "../../src/pool/job.ts";
import type { Exit } from "../../src/pool/messages.ts";
import { type Running, Slots } from "../../src/pool/slots.ts";
import { Workers, type WorkerEvent } from "../../src/pool/workers.ts";
import { ModelHost, Step } from "./pool-model-host.ts";
import { type JobDouble, must } from "./pool-model-job.ts";

export const MOST_WORKERS = 3;
export const SLOTS = 4;
const ORPHAN_MS = 100;

export interface ModelHooks {
  freed(generation: ModelGeneration): void;
  lost(running: Running, why: Loss): void;
  /** A worker has begun with the script of the job that has this slot. */
  begun(generation: ModelGeneration, slot: number): void;
  failed(generation: ModelGeneration): void;
  nowMs(): number;
}

/** What src/pool/generation.ts does with its parts, without processes and timers: what they would do, a test does. */
export class ModelGeneration {
  readonly number: number;
  readonly memory = new PoolMemory({
    slots: SLOTS,
    workers: MOST_WORKERS,
    requestBytes: 4096,
    responseBytes: 4096,
  });
  readonly host = new ModelHost(this.memory.fd);
  readonly slots: Slots;
  readonly workers: Workers;
  /** Its workers are threads: none of them can be killed, or dies alone. */
  readonly threads: boolean;
  role: "current" | "draining" = "current";
  /** Its host takes no more commands. */
  ended = false;
  closed = false;
  /** So many forks fail. */
  forksToFail = 0;
  readonly #hooks: ModelHooks;
  /** What the host has said and nobody has read yet. */
  readonly #events: WorkerEvent[] = [];
  #resubmitAtMs = Number.POSITIVE_INFINITY;

  constructor(number: number, wanted: number, threads: boolean, hooks: ModelHooks) {
    this.number = number;
    this.threads = threads;
    this.#hooks = hooks;
    this.workers = new Workers(MOST_WORKERS, wanted);
    this.slots = new Slots(this.memory, {
      served: (_worker, { job }) => (job as JobDouble).released(),
      lost: (running, why) => {
        for (const [, other] of this.slots.running())
          must(other !== running, "what is lost has no slot any more");
        must(!this.threads || why.kind !== "died" || this.ended, "a thread does not die alone");
        hooks.lost(running, why);
      },
      freed: () => hooks.freed(this),
    });
    this.topUp();
  }

  // ---- what its workers and its host do ------------------------------------------------------------

  /** Lets a worker do some steps. */
  step(worker: number, steps: number): void {
    for (let i = 0; i < steps; i++) {
      switch (this.host.step(worker)) {
        case Step.scriptBegun:
          this.#hooks.begun(this, this.memory.workerSlot(worker));
          break;
        case Step.asleep:
          return;
        case Step.ended:
          this.die(worker, { code: 0 });
          return;
        default:
      }
    }
  }

  die(worker: number, exit: Exit): void {
    if (this.threads && "signal" in exit) return;
    const pid = this.host.reap(worker);
    if (pid !== 0) this.#events.push({ kind: "exited", worker, pid, exit });
  }

  hearAll(): void {
    while (this.#events.length > 0) this.hear();
  }

  hear(): void {
    const event = this.#events.shift();
    if (event === undefined || this.ended) return;
    const nowMs = this.#hooks.nowMs();
    if (event.kind === "exited") {
      const ran = this.#bury(event.worker, event.exit);
      this.workers.apply(
        event,
        nowMs,
        this.memory.worker(event.worker).requests + (ran === undefined ? 0 : 1),
      );
    } else this.workers.apply(event, nowMs);
    if (this.workers.failed) this.#hooks.failed(this);
    this.topUp();
    // One that was on its way when fewer were wanted is there now.
    if (this.role === "current") this.#shed();
    this.#countWorkers();
  }

  // ---- what the front does -------------------------------------------------------------------------

  topUp(): void {
    if (this.ended) return;
    const most = Math.max(this.workers.alive, this.workers.wanted);
    for (const { number } of this.workers.takeDue(this.#hooks.nowMs())) {
      must(!this.host.isAlive(number), "no worker is alive twice");
      if (this.forksToFail > 0) {
        this.forksToFail--;
        this.#events.push({ kind: "spawn-failed", worker: number, errno: 11 });
      } else {
        const pid = this.host.spawn(number);
        this.#events.push({ kind: "spawned", worker: number, pid, generation: this.number });
      }
    }
    must(this.workers.alive <= most, "no more workers are started than are wanted");
  }

  resize(wanted: number): void {
    if (this.ended || this.role === "draining") return;
    this.workers.wanted = wanted;
    this.topUp();
    this.#shed();
  }

  retire(worker: number, reason: RestartReason): void {
    if (this.ended || !this.workers.retire(worker, reason)) return;
    this.memory.retire(worker);
    this.#countWorkers();
  }

  drain(): void {
    this.role = "draining";
    this.workers.wanted = 0;
    this.closeWhenEmpty();
  }

  /** Of one that drains the workers end one by one. */
  dismissOne(): void {
    if (this.role !== "draining" || this.ended) return;
    const next = this.workers.all.find(({ state }) => state === "running");
    if (next !== undefined) this.retire(next.number, "idle");
    this.closeWhenEmpty();
  }

  sweep(nowMs: number, stepMs: number, limits: { timeoutMs: number; killAfterMs: number }): void {
    if (nowMs >= this.#resubmitAtMs) {
      this.memory.resubmitOrphans();
      // The ring may have had no room for all of them.
      this.#resubmitAtMs = this.slots.waiting > 0 ? nowMs + ORPHAN_MS : Number.POSITIVE_INFINITY;
    }
    if (this.slots.inFlight === 0) return;
    this.slots.drain();
    for (const [slot, running] of this.slots.running()) {
      running.job.tick(nowMs);
      const phase = this.memory.phase(slot);
      if (phase === Phase.queued || phase === Phase.ended) continue;
      switch (stepDeadline(running, limits, nowMs, stepMs)) {
        case "ask-to-end":
          this.memory.deadline(slot);
          break;
        case "kill": {
          running.killedFor = "deadline";
          const worker = this.memory.owner(slot);
          if (this.threads) {
            this.#loseWorker(worker, slot);
            break;
          }
          const id = this.memory.requestId(slot);
          const at = this.memory.workerSlot(worker);
          if (at < SLOTS && this.memory.requestId(at) === id) this.die(worker, { signal: 9 });
          break;
        }
        case "ask-again":
        case "nothing":
          break;
      }
    }
  }

  #loseWorker(worker: number, slot: number): void {
    must(this.workers.lose(worker), "a worker is lost once");
    this.memory.retire(worker);
    this.slots.abandon(slot, { kind: "killed-by-deadline" });
    this.topUp();
    this.#countWorkers();
  }

  /** Ends the host and its workers at once. What they had is lost. */
  end(): void {
    if (this.ended) return;
    this.ended = true;
    for (const { number } of this.workers.all) {
      this.host.reap(number);
      // It may have ended a request and died before it reported it.
      this.memory.bury(number);
    }
    this.slots.drain();
    for (const [slot] of this.slots.running()) {
      if (this.memory.phase(slot) !== Phase.ended) this.slots.lose(slot, { kind: "stopped" });
    }
    this.slots.takeBackAbandoned();
    this.closeWhenEmpty();
  }

  /** The host is gone. Its workers may live a moment longer. */
  gone(withdraw: () => void): void {
    if (this.ended) return;
    this.ended = true;
    this.slots.workers = 0;
    withdraw();
    // Also those that we have not heard of yet: they may have ended a request and not reported it.
    for (const { number, state } of this.workers.all)
      if (state !== "absent") this.#bury(number, { signal: 9 });
    this.workers.allGone();
    for (const [slot] of this.slots.running()) {
      if (this.memory.phase(slot) !== Phase.ended)
        this.slots.lose(slot, { kind: "died", exit: { signal: 9 } });
    }
    this.slots.takeBackAbandoned();
    this.closeWhenEmpty();
  }

  closeWhenEmpty(): void {
    if (this.closed || this.slots.inFlight > 0) return;
    if (this.role === "draining" && this.workers.running === 0) this.end();
    if (!this.ended) return;
    this.closed = true;
    this.memory.close();
  }

  /** What comes too late for a generation that has been closed does nothing. */
  callLate(): void {
    const { memory, slots } = this;
    for (let slot = 0; slot < SLOTS; slot++) {
      memory.consume(slot, 1);
      memory.clientGone(slot);
      memory.deadline(slot);
      memory.release(slot);
      slots.release(slot);
      slots.lose(slot, { kind: "stopped" });
      must(
        slots.withdraw(slot) === undefined && !memory.withdraw(slot),
        "nothing is withdrawn from closed memory",
      );
      must(!memory.submit(slot), "closed memory takes nothing");
      must(memory.phase(slot) === Phase.free && memory.requestId(slot) === 0, "closed memory has nothing");
      memory.head(slot);
      memory.news(slot);
    }
    memory.retire(0);
    memory.look(0, 1);
    memory.wakeWorker();
    must(memory.bury(0) === -1 && memory.resubmitOrphans() === 0, "nothing is in closed memory");
    slots.drain();
    memory.close();
    must(slots.inFlight === 0 && slots.waiting === 0, "nothing is in a closed generation");
  }

  dispose(): void {
    this.host.close();
    this.memory.close();
  }

  #shed(): void {
    const isIdle = (worker: number) => this.memory.worker(worker).state === WorkerState.idle;
    for (const { number } of this.workers.takeExcess(isIdle)) this.retire(number, "idle");
    must(this.workers.running <= this.workers.wanted, "no more workers take requests than are wanted");
  }

  #countWorkers(): void {
    this.slots.workers = this.workers.running;
  }

  #bury(worker: number, exit: Exit): Running | undefined {
    this.slots.drain();
    const slot = this.memory.bury(worker);
    this.slots.drain();
    const running = slot < 0 ? undefined : this.slots.at(slot);
    const killedFor = running?.killedFor ?? null;
    if (slot >= 0) {
      this.slots.lose(
        slot,
        killedFor === "deadline" ? { kind: "killed-by-deadline" } : { kind: "died", exit },
      );
    }
    if (!Number.isFinite(this.#resubmitAtMs)) this.#resubmitAtMs = this.#hooks.nowMs() + ORPHAN_MS;
    return running;
  }
}
