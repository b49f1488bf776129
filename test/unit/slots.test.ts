import { afterEach, expect, test } from "bun:test";
import { Phase } from "../../ffi/layout.ts";
import { PoolMemory } from "../../ffi/pool-memory.ts";
import { type Running, Slots } from "../../src/pool/slots.ts";
import { ModelHost } from "./pool-model-host.ts";
import { JobDouble, type ScriptKind } from "./pool-model-job.ts";

const SLOTS = 3;
const opened: Rig[] = [];
afterEach(() => {
  for (const rig of opened.splice(0)) rig.close();
});

/** Slots with one worker, which does as many steps as it is told to. */
class Rig {
  readonly memory = new PoolMemory({ slots: SLOTS, workers: 1, requestBytes: 4096, responseBytes: 4096 });
  readonly host = new ModelHost(this.memory.fd);
  readonly served: Running[] = [];
  readonly lost: Running[] = [];
  /** Jobs that were lost to a stuck thread, and that it is done with. */
  readonly over: number[] = [];
  readonly slots: Slots;
  freed = (): void => undefined;

  constructor(workers = 1) {
    this.slots = new Slots(this.memory, {
      served: (_worker, running) => this.served.push(running),
      lost: (running, why) => {
        this.lost.push(running);
        running.job.lost(why);
      },
      freed: () => this.freed(),
    });
    this.slots.workers = workers;
    this.host.spawn(0);
    opened.push(this);
  }

  submit(number: number, kind: ScriptKind = "w", eager = true): JobDouble {
    const job = new JobDouble(number, kind, true, eager, {
      starting: () => undefined,
      returned: () => undefined,
    });
    Object.assign(job, { over: () => this.over.push(number) });
    this.slots.submit({ job, queuedAtMs: number });
    return job;
  }

  /** The worker goes on until a job has come so far. */
  stepUntil(job: JobDouble, phase: number): void {
    for (let i = 0; job.place !== undefined && this.memory.phase(job.place.slot) !== phase; i++) {
      if (i > 100) throw new Error(`the worker does not come to phase ${phase}`);
      this.host.step(0);
    }
  }

  work(steps = 200): void {
    for (let i = 0; i < steps; i++) this.host.step(0);
  }

  close(): void {
    this.host.close();
    this.memory.close();
  }
}

test("a job that releases its slot while it hears of its end does not cost the next one its slot", () => {
  const rig = new Rig();
  const first = rig.submit(1, "e", false);
  rig.stepUntil(first, Phase.responded);
  rig.work(3);
  rig.slots.drain();
  expect(first.how).toBe("answered");
  rig.stepUntil(first, Phase.ended);
  rig.work(3);

  // Now its client has become quick: it reads to the end as soon as it hears of more.
  first.changeMind();
  let second: JobDouble | undefined;
  rig.freed = () => {
    second ??= rig.submit(2);
  };
  rig.slots.drain();
  expect(second?.place?.slot).toBe(0);
  expect([...rig.slots.running()].map(([, { job }]) => job.facts.id)).toEqual([2]);

  rig.freed = () => undefined;
  rig.work();
  rig.slots.drain();
  expect(second?.how).toBe("answered");
  expect(rig.served.map(({ job }) => job.facts.id)).toEqual([1, 2]);
  expect(rig.slots.inFlight).toBe(0);
});

test("what is withdrawn comes back oldest first, without those that a worker has or nobody waits for", () => {
  const rig = new Rig(4);
  const [first, second] = [rig.submit(1), rig.submit(2)];
  rig.stepUntil(first, Phase.running);
  rig.submit(3);
  // The third slot becomes free first and is had by a younger job.
  expect(rig.slots.withdraw(2)?.job.facts.id).toBe(3);
  second.leave();
  rig.submit(4);
  expect(rig.slots.withdrawAll().map(({ job }) => job.facts.id)).toEqual([4]);
  expect(second.place).toBeUndefined();
  expect([...rig.slots.running()].map(([, { job }]) => job.facts.id)).toEqual([1]);
});

test("slots are given out in any order, and come back by age", () => {
  const rig = new Rig(4);
  rig.submit(1);
  rig.submit(2);
  rig.slots.withdraw(0);
  rig.submit(3);
  expect(rig.slots.withdrawAll().map(({ job }) => job.facts.id)).toEqual([2, 3]);
});

test("a job whose worker is late is taken back, and the worker finds nothing", () => {
  const rig = new Rig();
  const job = rig.submit(1);
  // It has the ring entry, and not yet the slot.
  rig.host.step(0);
  expect(rig.slots.withdraw(0)?.job.facts.id).toBe(1);
  rig.work();
  rig.slots.drain();
  expect([job.place, job.how, rig.slots.inFlight]).toEqual([undefined, undefined, 0]);
});

test("a slot that was lost and given to another is not touched by what its first worker had reported", () => {
  const rig = new Rig();
  const first = rig.submit(1);
  rig.stepUntil(first, Phase.ended);
  rig.work(1);
  rig.slots.lose(0, { kind: "stopped" });
  expect(first.how).toBe("lost");
  const second = rig.submit(2);
  rig.slots.drain();
  expect([second.how, second.place?.slot]).toEqual([undefined, 0]);
  rig.work();
  rig.slots.drain();
  expect(second.how).toBe("answered");
});

test("an abandoned slot is nobody's until its thread has ended it", async () => {
  const rig = new Rig(4);
  const [stuck, other] = [rig.submit(1), rig.submit(2)];
  rig.stepUntil(stuck, Phase.running);
  rig.slots.abandon(0, { kind: "killed-by-deadline" });
  expect([stuck.how, stuck.place, rig.lost.length]).toEqual(["timed-out", undefined, 1]);
  expect([...rig.slots.running()].map(([, { job }]) => job.facts.id)).toEqual([2]);
  expect([...rig.slots.abandoned.keys()]).toEqual([0]);
  // What is left can be given out, and the generation does not wait for the stuck one.
  expect(rig.submit(3).place?.slot).toBe(2);
  expect([rig.slots.hasRoom, rig.slots.inFlight]).toEqual([false, 2]);
  expect(rig.slots.withdrawAll().map(({ job }) => job.facts.id)).toEqual([2, 3]);
  await rig.slots.empty();
  expect(rig.memory.phase(0)).toBe(Phase.running);
  rig.slots.drain();
  expect([rig.slots.abandoned.size, rig.over]).toEqual([1, []]);
  expect(other.how).toBeUndefined();

  // The thread comes back: only now may another have the slot.
  let freed = 0;
  rig.freed = () => freed++;
  rig.work();
  rig.slots.drain();
  rig.slots.drain();
  expect([freed, rig.slots.abandoned.size, rig.memory.phase(0)]).toEqual([1, 0, Phase.free]);
  expect(rig.over).toEqual([1]);
  expect([rig.submit(4), rig.submit(5), rig.submit(6)].map(({ place }) => place?.slot)).toEqual([0, 2, 1]);
  rig.memory.wakeWorker();
  rig.work();
  rig.slots.drain();
  expect(rig.served.map(({ job }) => job.facts.id).toSorted()).toEqual([4, 5, 6]);
});

test("what a stuck thread still says goes nowhere, and does not hold it up", () => {
  const rig = new Rig();
  const stuck = rig.submit(1, "s", false);
  rig.stepUntil(stuck, Phase.running);
  rig.work(4);
  rig.slots.drain();
  rig.slots.abandon(0, { kind: "killed-by-deadline" });
  rig.work();
  rig.slots.drain();
  expect([rig.slots.abandoned.size, rig.slots.inFlight, rig.served.length]).toEqual([0, 0, 0]);
  const next = rig.submit(2);
  rig.memory.wakeWorker();
  rig.work();
  rig.slots.drain();
  expect(next.how).toBe("answered");
});

test("an abandoned slot comes back when its thread has gone without a word, or its host has", () => {
  const rig = new Rig();
  for (const end of [() => rig.slots.lose(0, { kind: "stopped" }), () => rig.slots.takeBackAbandoned()]) {
    const stuck = rig.submit(1);
    rig.stepUntil(stuck, Phase.running);
    rig.slots.abandon(0, { kind: "killed-by-deadline" });
    rig.host.reap(0);
    expect(rig.memory.bury(0)).toBe(0);
    end();
    expect([rig.slots.abandoned.size, rig.memory.phase(0), rig.submit(2).place?.slot]).toEqual([
      0,
      Phase.free,
      0,
    ]);
    rig.slots.withdraw(0);
    rig.host.spawn(0);
  }
  expect(rig.lost).toBeArrayOfSize(2);
});

test("with no room in the ring a job is handed back, and its slot stays free", () => {
  const rig = new Rig();
  rig.submit(1);
  let returned = 0;
  for (let number = 2; number < 50; number++) {
    const job = rig.submit(number);
    if (job.place === undefined) returned++;
    else rig.slots.withdraw(job.place.slot);
    expect(rig.slots.inFlight).toBe(1);
  }
  expect(returned).toBeGreaterThan(0);
  rig.work();
  rig.slots.drain();
  expect(rig.submit(99).place).toBeDefined();
});

test("there is room for what runs and sixteen more, as far as there are slots, and none without workers", () => {
  const rig = new Rig(0);
  expect(rig.slots.hasRoom).toBeFalse();
  let freed = 0;
  rig.freed = () => freed++;
  rig.slots.workers = 2;
  expect(freed).toBe(1);
  rig.slots.workers = 1;
  expect(freed).toBe(1);
  for (let number = 1; number <= SLOTS; number++) {
    expect(rig.slots.hasRoom).toBeTrue();
    rig.submit(number);
  }
  expect(rig.slots.hasRoom).toBeFalse();
  expect(rig.slots.waiting).toBe(SLOTS);
});

test("empty() resolves when the last slot comes back, however it does", async () => {
  const rig = new Rig();
  for (let number = 1; number <= 3; number++) rig.submit(number);
  let empty = false;
  const resolved = rig.slots.empty().then(() => {
    empty = true;
  });
  rig.slots.withdraw(0);
  rig.slots.lose(1, { kind: "stopped" });
  await Promise.resolve();
  expect(empty).toBeFalse();
  rig.work();
  rig.slots.drain();
  await resolved;
  expect([rig.served.length, rig.lost.length]).toEqual([1, 1]);
});

test("a request whose worker died before it began does not push out one that waits when the ring is full", () => {
  const rig = new Rig();
  const first = rig.submit(1);
  rig.host.step(0);
  rig.host.reap(0);
  const second = rig.submit(2);
  for (let number = 3; ; number++) {
    const { place } = rig.submit(number);
    if (place === undefined) break;
    rig.slots.withdraw(place.slot);
  }
  expect(rig.memory.bury(0)).toBe(-1);
  expect(rig.memory.resubmitOrphans()).toBe(0);
  rig.host.spawn(0);
  rig.work();
  rig.slots.drain();
  expect([first.how, second.how]).toEqual([undefined, "answered"]);
  expect(rig.memory.resubmitOrphans()).toBe(1);
  rig.work();
  rig.slots.drain();
  expect(first.how).toBe("answered");
});
