import { expect, test } from "bun:test";
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

test("an exit is described by its code, or by the usual name of its signal", () => {
  expect([{ code: 3 }, { signal: 6 }, { signal: 11 }, { signal: 40 }].map(describeExit)).toEqual([
    "exit code 3",
    "signal 6 (SIGABRT)",
    "signal 11 (SIGSEGV)",
    "signal 40",
  ]);
});
