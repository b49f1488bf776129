import { afterEach, expect, test } from "bun:test";
import { Phase } from "../../ffi/layout.ts";
import { PoolMemory } from "../../ffi/pool-memory.ts";
import { Counters } from "../../src/pool/counters.ts";
import { Dispatcher } from "../../src/pool/dispatcher.ts";
import { type Running, Slots } from "../../src/pool/slots.ts";
import { ModelHost } from "./pool-model-host.ts";
import { JobDouble } from "./pool-model-job.ts";

const died = { kind: "died", exit: { signal: 9 } } as const;
const opened: PoolMemory[] = [];
afterEach(() => {
  for (const memory of opened.splice(0)) memory.close();
});

class Rig {
  readonly counters = new Counters();
  readonly rules = { queue: { max: 2, timeoutMs: 1000 }, retry: true };
  readonly dispatcher = new Dispatcher(this.rules, this.counters);
  current: Slots | undefined;
  #number = 0;

  /** Slots of a generation whose workers take nothing. */
  slots(count: number): Slots {
    const memory = new PoolMemory({ slots: count, workers: 1, requestBytes: 4096, responseBytes: 4096 });
    opened.push(memory);
    const slots: Slots = new Slots(memory, {
      served: () => undefined,
      lost: (running, why) => this.dispatcher.lost(running, why),
      freed: () => {
        if (slots === this.current) this.dispatcher.fill();
      },
    });
    slots.workers = 1;
    return slots;
  }

  use(slots: Slots): Slots {
    this.current = slots;
    this.dispatcher.use(slots);
    return slots;
  }

  dispatch(safe = true): JobDouble {
    const job = new JobDouble(++this.#number, "w", safe, true, {
      starting: () => undefined,
      returned: () => undefined,
    });
    this.dispatcher.dispatch(job);
    return job;
  }
}

const inSlots = (slots: Slots): number[] => [...slots.running()].map(([, { job }]) => job.facts.id);

test("jobs wait without a generation, up to queue.max, and go first come first served", () => {
  const rig = new Rig();
  const [first, second, third] = [rig.dispatch(), rig.dispatch(), rig.dispatch()];
  expect([first.how, second.how, third.how]).toEqual([undefined, undefined, "refused"]);
  expect([rig.dispatcher.waiting, rig.counters.mostWaiting]).toEqual([2, 2]);
  expect(rig.counters.refused["queue-full"]).toBe(1);
  const slots = rig.use(rig.slots(1));
  expect(inSlots(slots)).toEqual([1]);
  expect(rig.dispatcher.waiting).toBe(2);
});

test("before one is turned away, those that nobody waits for are forgotten", () => {
  const rig = new Rig();
  rig.dispatch().leave();
  const second = rig.dispatch();
  const third = rig.dispatch();
  expect([second.how, third.how, rig.dispatcher.waiting]).toEqual([undefined, undefined, 2]);
});

test("a job whose worker died in an old generation does not wait for the next look", () => {
  const rig = new Rig();
  const old = rig.use(rig.slots(1));
  const job = rig.dispatch();
  // A worker has it: it stays where it is when the next generation takes over.
  const host = new ModelHost(old.memory.fd);
  host.spawn(0);
  while (old.memory.phase(0) !== Phase.running) host.step(0);
  const next = rig.use(rig.slots(1));
  expect(inSlots(old)).toEqual([1]);
  host.close();
  old.lose(0, died);
  expect(job.place?.slots === next).toBeTrue();
  expect(rig.counters.retried).toBe(1);
});

test("a job is run again only if it is safe, its worker died, retry is on and the pool takes jobs", () => {
  const fates: unknown[] = [];
  const fate = (safe: boolean, prepare: (rig: Rig) => void, why: Parameters<Slots["lose"]>[1] = died) => {
    const rig = new Rig();
    const slots = rig.use(rig.slots(1));
    const job = rig.dispatch(safe);
    prepare(rig);
    slots.lose(0, why);
    fates.push(job.how ?? "again");
  };
  fate(true, () => undefined);
  fate(false, () => undefined);
  fate(true, (rig) => {
    rig.dispatcher.rules = { ...rig.rules, retry: false };
  });
  fate(true, ({ dispatcher }) => dispatcher.close("stopping"));
  fate(true, () => undefined, { kind: "stopped" });
  fate(true, () => undefined, { kind: "killed-for-memory" });
  fate(true, () => undefined, { kind: "killed-by-deadline" });
  expect(fates).toEqual(["again", "lost", "lost", "lost", "lost", "lost", "timed-out"]);
});

test("what waits too long is refused, in the queue and in the ring", () => {
  const rig = new Rig();
  const slots = rig.use(rig.slots(1));
  const first = rig.dispatch();
  const second = rig.dispatch();
  const startMs = performance.now();
  rig.dispatcher.sweep(startMs + 900);
  expect([first.how, second.how]).toEqual([undefined, undefined]);
  rig.dispatcher.sweep(startMs + 1100);
  expect([first.how, second.how]).toEqual(["refused", "refused"]);
  expect(rig.counters.refused["queue-timeout"]).toBe(2);
  expect([rig.dispatcher.waiting, slots.inFlight]).toEqual([0, 0]);
});

test("a job that was taken back unbegun, however often, is still run again when its worker dies", () => {
  const rig = new Rig();
  for (let i = 0; i < 3; i++) rig.use(rig.slots(1));
  const job = rig.dispatch();
  for (let i = 0; i < 3; i++) rig.use(rig.slots(1));
  rig.current!.lose(0, died);
  expect([job.starts, job.how, rig.counters.retried]).toEqual([5, undefined, 1]);
  rig.current!.lose(0, died);
  expect(job.how).toBe("lost");
});

test("what is put back waits by age, so that none is forgotten behind a younger one", () => {
  const rig = new Rig();
  const slots = rig.use(rig.slots(2));
  const host = new ModelHost(slots.memory.fd);
  host.spawn(0);
  const startMs = performance.now();
  const first = rig.dispatch();
  while (slots.memory.phase(0) !== Phase.running) host.step(0);
  Bun.sleepSync(20);
  // Their workers die one after the other, and there is no other generation yet.
  const second = rig.dispatch();
  slots.workers = 0;
  slots.lose(0, died);
  slots.lose(1, died);
  rig.dispatcher.sweep(startMs + 1010);
  expect([first.how, second.how]).toEqual(["refused", undefined]);
  host.close();
});

test("another generation takes over what the one before has not begun with, in its order", () => {
  const rig = new Rig();
  rig.use(rig.slots(2));
  for (let i = 0; i < 4; i++) rig.dispatch();
  rig.dispatcher.use(null);
  expect(rig.dispatcher.waiting).toBe(4);
  const refused = rig.dispatch();
  expect(refused.how).toBe("refused");
  expect(inSlots(rig.use(rig.slots(4)))).toEqual([1, 2, 3, 4]);
});

test("a closed pool refuses what comes with the first reason, and takes it again when it is open", () => {
  const rig = new Rig();
  const waiting = rig.dispatch();
  rig.dispatcher.close("pool-failed");
  rig.dispatcher.close("stopping");
  expect(rig.dispatch().how).toBe("refused");
  expect(rig.counters.refused).toMatchObject({ "pool-failed": 1, stopping: 0 });
  expect(waiting.how).toBeUndefined();
  rig.dispatcher.open();
  expect(rig.dispatch().how).toBeUndefined();
});

test("all that wait are refused at once, also those in the ring", () => {
  const rig = new Rig();
  const slots = rig.use(rig.slots(1));
  const jobs = [rig.dispatch(), rig.dispatch(), rig.dispatch()];
  rig.dispatcher.refuseWaiting("stopping");
  expect(jobs.map(({ how }) => how)).toEqual(["refused", "refused", "refused"]);
  expect([rig.dispatcher.waiting, slots.inFlight]).toEqual([0, 0]);
});

test("the longest wait is that of the oldest in queue and ring", () => {
  const rig = new Rig();
  const nowMs = performance.now();
  expect(rig.dispatcher.longestWaitMs(nowMs)).toBe(0);
  const slots = rig.use(rig.slots(1));
  rig.dispatch();
  Bun.sleepSync(2);
  rig.dispatch();
  const first = [...slots.running()][0]![1] as Running;
  expect(rig.dispatcher.longestWaitMs(first.queuedAtMs + 50)).toBeCloseTo(50);
});

test("rest() resolves when nothing waits any more", async () => {
  const rig = new Rig();
  await rig.dispatcher.rest();
  rig.dispatch();
  let rested = false;
  const resting = rig.dispatcher.rest().then(() => {
    rested = true;
  });
  rig.dispatcher.fill();
  await Promise.resolve();
  expect(rested).toBeFalse();
  rig.use(rig.slots(1));
  await resting;
});
