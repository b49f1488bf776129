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
