import { expect, test } from "bun:test";
import fc from "fast-check";
import { Elastic } from "../../src/pool/elastic.ts";
import { describeExit, Workers } from "../../src/pool/workers.ts";

/** Starts what is due and lets each of them end at once. Returns how many that were. */
function failOnce(workers: Workers, nowMs: number): number {
  const due = workers.takeDue(nowMs);
  for (const { number } of due)
    workers.apply({ kind: "spawned", worker: number, pid: 100 + number, generation: 1 }, nowMs);
  for (const { number } of due) {
    workers.apply({ kind: "exited", worker: number, pid: 100 + number, exit: { signal: 11 } }, nowMs + 1);
  }
  return due.length;
}

test("workers that fail to start are started ever more slowly, and given up in the end", () => {
  const workers = new Workers(3);
  const waits: number[] = [];
  let nowMs = 0;
  while (!workers.failed) {
    expect(failOnce(workers, nowMs)).toBe(3);
    if (workers.failed) break;
    waits.push(Math.round(workers.nextDueMs() - nowMs));
    nowMs = Math.max(...workers.all.map(({ notBeforeMs }) => notBeforeMs));
  }
  expect(waits).toEqual([101, 201, 401, 801, 1601, 3201, 5001, 5001, 5001]);
  expect(workers.takeDue(nowMs * 10)).toEqual([]);
  expect(workers.nextDueMs()).toBe(Number.POSITIVE_INFINITY);
});

test("a worker that dies of its first request is started again at once, however often", () => {
  const workers = new Workers(1);
  for (let nowMs = 0; nowMs < 1000; nowMs += 10) {
    expect(workers.takeDue(nowMs)).toBeArrayOfSize(1);
    workers.apply({ kind: "spawned", worker: 0, pid: 7, generation: 1 }, nowMs);
    workers.apply({ kind: "exited", worker: 0, pid: 7, exit: { signal: 11 } }, nowMs + 1, 1);
  }
  expect(workers.failed).toBeFalse();
});

test("one worker that fails does not give up a pool in which another runs", () => {
  const workers = new Workers(2);
  workers.takeDue(0);
  workers.apply({ kind: "spawned", worker: 0, pid: 1, generation: 1 }, 0);
  for (let time = 0; time < 100; time++) {
    workers.apply({ kind: "exited", worker: 1, pid: 2, exit: { signal: 9 } }, 1);
  }
  expect(workers.failed).toBeFalse();
});

test("of workers beyond those wanted the idle ones go first, then those with the highest numbers", () => {
  const workers = new Workers(5);
  for (const { number } of workers.takeDue(0)) {
    workers.apply({ kind: "spawned", worker: number, pid: 100 + number, generation: 1 }, 0);
  }
  workers.wanted = 2;
  const isIdle = (number: number) => number === 0 || number === 2;
  expect(workers.takeExcess(isIdle).map(({ number }) => number)).toEqual([2, 0, 4]);
  for (const { number } of workers.takeExcess(isIdle)) expect(workers.retire(number, "idle")).toBeTrue();
  expect(workers.takeExcess(isIdle)).toEqual([]);
  expect([workers.running, workers.alive]).toEqual([2, 5]);
});

test("a worker that is asked to end counts until it has, and is asked once", () => {
  const workers = new Workers(2);
  for (const { number } of workers.takeDue(0)) {
    expect(workers.retire(number, "idle")).toBeFalse();
    workers.apply({ kind: "spawned", worker: number, pid: 100 + number, generation: 1 }, 0);
  }
  expect(workers.retire(1, "max_requests")).toBeTrue();
  expect(workers.retire(1, "memory")).toBeFalse();
  expect(workers.all[1]?.retiredFor).toBe("max_requests");
  expect([workers.running, workers.takeDue(5000).length]).toEqual([1, 0]);
  workers.apply({ kind: "exited", worker: 1, pid: 101, exit: { code: 0 } }, 5000);
  expect(workers.all[1]?.retiredFor).toBeNull();
  expect(workers.takeDue(5000).map(({ number }) => number)).toEqual([1]);
  expect(workers.retire(7, "idle")).toBeFalse();
});

test("a lost worker takes no requests and keeps its place, until it comes back and ends", () => {
  const workers = new Workers(3, 2);
  const start = (nowMs: number) => {
    const due = workers.takeDue(nowMs);
    for (const { number } of due)
      workers.apply({ kind: "spawned", worker: number, pid: 100 + number, generation: 1 }, nowMs);
    return due.map(({ number }) => number);
  };
  expect(start(0)).toEqual([0, 1]);
  expect([workers.lose(0), workers.lose(0), workers.lose(2)]).toEqual([true, false, false]);
  expect([workers.running, workers.alive, workers.lost]).toEqual([1, 1, 1]);
  expect(workers.retire(0, "memory")).toBeFalse();
  // A pool that may have more than it has starts another in a place that is free.
  expect(start(5000)).toEqual([2]);
  expect(workers.retire(1, "max_requests")).toBeTrue();
  expect(workers.lose(1)).toBeTrue();
  expect([start(5000), workers.nextDueMs()]).toEqual([[], Number.POSITIVE_INFINITY]);

  workers.apply({ kind: "exited", worker: 0, pid: 100, exit: { code: 0 } }, 9000, 1);
  expect([workers.lost, workers.all[0]?.retiredFor, start(9000)]).toEqual([1, null, [0]]);
  workers.allGone();
  expect(workers.lost).toBe(0);
});

test("too few are left when they are less than a quarter of what is wanted, with those on their way", () => {
  const workers = new Workers(8);
  expect(workers.tooFew).toBeFalse();
  for (const { number } of workers.takeDue(0))
    workers.apply({ kind: "spawned", worker: number, pid: 100 + number, generation: 1 }, 0);
  for (let number = 0; number < 6; number++) workers.lose(number);
  expect(workers.tooFew).toBeFalse();
  workers.retire(6, "max_requests");
  expect(workers.tooFew).toBeTrue();
  workers.apply({ kind: "exited", worker: 6, pid: 106, exit: { code: 0 } }, 5000, 9);
  workers.takeDue(5000);
  expect(workers.tooFew).toBeFalse();
  workers.lose(7);
  expect(workers.tooFew).toBeTrue();
  workers.wanted = 0;
  expect(workers.tooFew).toBeFalse();
  // None is left because they come and go: no cause for alarm.
  expect(new Workers(4).tooFew).toBeFalse();
});

test("as many are wanted as there may be, and not fewer than none", () => {
  const workers = new Workers(3, 1);
  expect(workers.takeDue(0)).toBeArrayOfSize(1);
  workers.wanted = 99;
  expect(workers.wanted).toBe(3);
  expect(workers.takeDue(0)).toBeArrayOfSize(2);
  workers.wanted = -1;
  expect([workers.wanted, workers.failed, workers.nextDueMs()]).toEqual([0, false, Number.POSITIVE_INFINITY]);
});

/** What may happen to workers within 50 ms. */
const happening = fc.record({
  worker: fc.nat(7),
  what: fc.constantFrom("start", "start", "start", "fail", "crash", "end", "retire", "nothing"),
  taken: fc.nat(2),
});
type Happening = typeof happening extends fc.Arbitrary<infer T> ? T : never;
const demand = fc.record({ busy: fc.nat(12), waiting: fc.nat(20), longestWaitMs: fc.nat(2000) });
const life = fc.array(fc.tuple(happening, happening, demand), { minLength: 100, maxLength: 400 });

test("whatever happens to elastic workers, none is counted twice and the limits are kept", () => {
  const bounds = { min: 2, max: 6, idleTimeoutMs: 500 };
  fc.assert(
    fc.property(life, (looks) => {
      const elastic = new Elastic(bounds);
      const workers = new Workers(bounds.max, bounds.min);
      const processes = new Map<number, number>();
      const spawning = new Set<number>();
      let nowMs = 0;
      let lastPid = 0;
      const happen = ({ worker, what, taken }: Happening) => {
        const pid = processes.get(worker);
        if (spawning.has(worker) && (what === "start" || what === "fail")) {
          spawning.delete(worker);
          if (what === "fail") return workers.apply({ kind: "spawn-failed", worker, errno: 11 }, nowMs);
          processes.set(worker, ++lastPid);
          return workers.apply({ kind: "spawned", worker, pid: lastPid, generation: 1 }, nowMs);
        }
        if (pid !== undefined && (what === "crash" || what === "end")) {
          processes.delete(worker);
          const exit = what === "crash" ? { signal: 11 } : { code: 0 };
          return workers.apply({ kind: "exited", worker, pid, exit }, nowMs, taken);
        }
        if (what === "retire") workers.retire(worker, "max_requests");
        return undefined;
      };
      for (const [one, other, { busy, waiting, longestWaitMs }] of looks) {
        nowMs += 50;
        happen(one);
        happen(other);
        const load = {
          running: workers.alive,
          busy: Math.min(busy, workers.running),
          waiting,
          longestWaitMs,
        };
        workers.wanted = elastic.wanted(load, nowMs);
        for (const { number } of workers.takeExcess(() => false)) workers.retire(number, "idle");
        const before = workers.alive;
        for (const { number } of workers.takeDue(nowMs)) {
          expect(spawning.has(number) || processes.has(number)).toBeFalse();
          spawning.add(number);
        }
        expect(workers.alive).toBeLessThanOrEqual(Math.max(before, workers.wanted));
        expect(workers.alive).toBe(spawning.size + processes.size);
        expect(workers.running).toBeLessThanOrEqual(workers.wanted);
        expect(workers.wanted).toBeWithin(bounds.min, bounds.max + 1);
        for (const { number, state, pid } of workers.all) {
          expect(pid).toBe(processes.get(number) ?? 0);
          expect(state === "starting").toBe(spawning.has(number));
        }
        // Whoever is missing is due at some time, unless all has failed.
        const missing = workers.wanted > workers.alive && !workers.failed;
        expect(Number.isFinite(workers.nextDueMs())).toBe(missing);
        expect(workers.nextDueMs()).toBeGreaterThan(nowMs);
      }
    }),
    { numRuns: 60 },
  );
});

test("an exit is described by its code, or by the usual name of its signal", () => {
  expect([{ code: 3 }, { signal: 6 }, { signal: 11 }, { signal: 40 }].map(describeExit)).toEqual([
    "exit code 3",
    "signal 6 (SIGABRT)",
    "signal 11 (SIGSEGV)",
    "signal 40",
  ]);
});
