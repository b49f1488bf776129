import { expect, test } from "bun:test";
import fc from "fast-check";
import { MemoryMonitor } from "../../src/monitor/memory-monitor.ts";
import type { WatchedHost, WatchedWorker } from "../../src/monitor/watched.ts";
import { MIB } from "./monitor-helper.ts";

const limits = { memoryLimitBytes: 100 * MIB, memoryKillBytes: 200 * MIB };
const worker = (number: number, busy = true, pid = 100 + number): WatchedWorker => ({
  pool: "web",
  number,
  generation: 1,
  pid,
  busy,
  ownBytes: null,
});
const host: WatchedHost = { pool: "web", generation: 1, pid: 99, threadsBytes: null };
const watched = (...workers: WatchedWorker[]) => [{ name: "web", ...limits, hosts: [host], workers }];

test("a worker over its limit is replaced, once", () => {
  const monitor = new MemoryMonitor(0);
  expect(monitor.worker(limits, worker(0), 100 * MIB)).toBeUndefined();
  expect(monitor.worker(limits, worker(0), 101 * MIB)).toEqual({
    kind: "replace",
    worker: worker(0),
    why: "holds 101 MiB of its own, its limit is 100 MiB",
  });
  expect(monitor.worker(limits, worker(0), 150 * MIB)).toBeUndefined();
});

test("a busy worker over the hard limit is killed, once, also when it was to be replaced", () => {
  const monitor = new MemoryMonitor(0);
  expect(monitor.worker(limits, worker(0), 150 * MIB)?.kind).toBe("replace");
  expect(monitor.worker(limits, worker(0), 201 * MIB)).toMatchObject({
    kind: "kill",
    why: "holds 201 MiB of its own, a request may take 200 MiB",
  });
  expect(monitor.worker(limits, worker(0), 300 * MIB)).toBeUndefined();
});

test("an idle worker over the hard limit is replaced: it leaves at once", () => {
  expect(new MemoryMonitor(0).worker(limits, worker(0, false), 300 * MIB)?.kind).toBe("replace");
});

test("its successor is another life, and so is the same process id in another generation", () => {
  const monitor = new MemoryMonitor(0);
  expect(monitor.worker(limits, worker(0), 150 * MIB)?.kind).toBe("replace");
  expect(monitor.worker(limits, worker(0, true, 555), 150 * MIB)?.kind).toBe("replace");
  expect(monitor.worker(limits, { ...worker(0), generation: 2 }, 150 * MIB)?.kind).toBe("replace");
  monitor.keep(watched(worker(1)));
  expect(monitor.worker(limits, worker(0), 150 * MIB)?.kind).toBe("replace");
  monitor.keep(watched(worker(0)));
  expect(monitor.worker(limits, worker(0), 150 * MIB)).toBeUndefined();
});

test("a host may have twice what it had at its start, and 256 MiB; then its generation is rolled, once", () => {
  const monitor = new MemoryMonitor(0);
  expect(monitor.host(host, 50 * MIB)).toBeUndefined();
  expect(monitor.host(host, 356 * MIB)).toBeUndefined();
  expect(monitor.host(host, 357 * MIB)).toEqual({
    kind: "roll-generation",
    host,
    why: "holds 357 MiB of its own, its bound is 356 MiB",
  });
  expect(monitor.host(host, 500 * MIB)).toBeUndefined();
  expect(monitor.host({ ...host, generation: 2, pid: 98 }, 500 * MIB)).toBeUndefined();
});

test("a thread is never killed: over its limits it is replaced after its request", () => {
  const monitor = new MemoryMonitor(0);
  const thread = (number: number, mib: number) => ({ ...worker(number), ownBytes: mib * MIB });
  expect(monitor.worker(limits, thread(0, 201), 201 * MIB)?.kind).toBe("replace");
  expect(monitor.worker(limits, thread(0, 300), 300 * MIB)).toBeUndefined();
  monitor.worker(limits, thread(1, 10), 10 * MIB);
  monitor.worker(limits, thread(1, 90), 90 * MIB);
  expect(monitor.cgroup(group(399, 400), 0)).toBeUndefined();
  expect(monitor.cgroup(group(799, 400), 0)).toMatchObject({ kind: "replace", worker: { number: 1 } });
});

test("a host of threads may have what it had at first, what they may have together, and 256 MiB", () => {
  const monitor = new MemoryMonitor(0);
  const threads = { ...host, threadsBytes: 4 * limits.memoryLimitBytes };
  expect(monitor.host(threads, 60 * MIB)).toBeUndefined();
  expect(monitor.host(threads, 716 * MIB)).toBeUndefined();
  expect(monitor.host(threads, 717 * MIB)).toEqual({
    kind: "roll-generation",
    host: threads,
    why: "holds 717 MiB of its own, its bound is 716 MiB",
  });
});

test("the front is warned of once per doubling", () => {
  const monitor = new MemoryMonitor(100 * MIB);
  const seen = [99, 101, 150, 200, 201, 90, 250, 390, 2000, 3000].map((mib) => monitor.front(mib * MIB));
  expect(seen).toEqual([false, true, false, false, true, false, false, false, true, false]);
  expect(new MemoryMonitor(0).front(1e12)).toBeFalse();
});

/** Feeds samples in MiB of idle (or busy) workers. The verdicts on each alone are not asked for here. */
function fed(samples: readonly number[], busy = false, pool = limits): MemoryMonitor {
  const monitor = new MemoryMonitor(0);
  for (const number of samples.keys()) monitor.worker(pool, worker(number, busy), 10 * MIB);
  for (const [number, mib] of samples.entries()) monitor.worker(pool, worker(number, busy), mib * MIB);
  return monitor;
}
const group = (used: number, limit = 400) => ({
  folder: "",
  usedBytes: used * MIB,
  limitBytes: limit * MIB,
});

test("in a control group that is short of memory the largest worker goes first, one a second", () => {
  const monitor = fed([60, 90, 80, 90]);
  expect(monitor.cgroup(group(360), 0)).toBeUndefined();
  expect(monitor.cgroup(group(370), 0)).toMatchObject({
    kind: "replace",
    worker: { number: 1 },
    why: "holds 90 MiB of its own, the control group is short of memory: it uses 370 MiB of 400 MiB",
  });
  monitor.worker(limits, worker(1, false, 77), 10 * MIB);
  monitor.keep(watched(worker(0), worker(1, false, 77), worker(2), worker(3)));
  expect(monitor.cgroup(group(370), 999)).toBeUndefined();
  expect(monitor.cgroup(group(370), 1000)).toMatchObject({ worker: { number: 3 } });
});

test("while those that are about to leave will do, no more are replaced", () => {
  const monitor = fed([60, 90, 80, 90]);
  expect(monitor.cgroup(group(370), 0)).toBeDefined();
  expect(monitor.cgroup(group(390), 5000)).toBeUndefined();
  expect(monitor.cgroup(group(460), 6000)).toMatchObject({ worker: { number: 3 } });
});

test("what others in the group use is not the workers' to give, nor what a new worker would hold again", () => {
  // Others use 220 of the 360 MiB: 35 are left for each of four workers, and one holds more.
  expect(fed([39, 34, 35, 34]).cgroup(group(362), 0)).toMatchObject({ worker: { number: 0 } });
  // Others use nearly all: none of these would give back 8 MiB by being replaced.
  expect(fed([17, 17, 15, 11]).cgroup(group(399), 0)).toBeUndefined();
});

test("when the kernel is about to choose, a busy worker above its limit is killed", () => {
  const monitor = fed([90, 120, 110, 60], true);
  expect(monitor.cgroup(group(389), 0)).toMatchObject({
    kind: "kill",
    worker: { number: 1 },
    why: "holds 120 MiB of its own, its limit is 100 MiB, and the control group uses 389 MiB of 400 MiB",
  });
  expect(monitor.cgroup(group(389), 100)).toBeUndefined();
  expect(monitor.cgroup(group(389), 1000)).toMatchObject({ kind: "kill", worker: { number: 2 } });
});

test("nobody is killed who is within the limit: the largest is replaced", () => {
  expect(fed([90, 80], true).cgroup(group(399), 0)).toMatchObject({ kind: "replace", worker: { number: 0 } });
});

test("an idle worker above its limit is not killed, however short memory is", () => {
  expect(fed([90, 120]).cgroup(group(399), 0)?.kind).not.toBe("kill");
});

test("who goes first depends on what each may hold, not on size alone", () => {
  const monitor = new MemoryMonitor(0);
  const heavy = { memoryLimitBytes: 400 * MIB, memoryKillBytes: 800 * MIB };
  for (const [web, other] of [
    [10, 10],
    [90, 150],
  ] as const) {
    monitor.worker(limits, worker(0), web * MIB);
    monitor.worker(heavy, { ...worker(1), pool: "heavy" }, other * MIB);
  }
  // Others use 130 of the 360 MiB. The heavy pool's worker may have four fifths of the rest.
  expect(monitor.cgroup(group(370), 0)).toMatchObject({ kind: "replace", worker: { pool: "web" } });
});

test("a control group without workers is left alone", () => {
  expect(new MemoryMonitor(0).cgroup(group(399), 0)).toBeUndefined();
});

test("whatever is sampled, a worker is told to go once, killed once, and never the other way round", () => {
  const sample = fc.record({
    number: fc.nat(4),
    busy: fc.boolean(),
    mib: fc.nat(400),
    used: fc.nat(400),
    afterMs: fc.nat(1500),
  });
  fc.assert(
    fc.property(fc.array(sample, { maxLength: 200 }), (samples) => {
      const monitor = new MemoryMonitor(0);
      const told = new Map<number, string[]>();
      let nowMs = 0;
      let relievedAtMs = Number.NEGATIVE_INFINITY;
      const note = (verdict: ReturnType<MemoryMonitor["worker"]>) => {
        if (verdict === undefined || verdict.kind === "roll-generation") return;
        told.set(verdict.worker.number, [...(told.get(verdict.worker.number) ?? []), verdict.kind]);
      };
      for (const { number, busy, mib, used, afterMs } of samples) {
        nowMs += afterMs;
        note(monitor.worker(limits, worker(number, busy), mib * MIB));
        const relief = monitor.cgroup(group(used), nowMs);
        note(relief);
        if (relief === undefined) continue;
        expect(nowMs - relievedAtMs).toBeGreaterThanOrEqual(1000);
        relievedAtMs = nowMs;
      }
      for (const kinds of told.values())
        expect(["replace", "kill", "replace,kill"]).toContain(kinds.join(","));
    }),
  );
});
