import { expect, test } from "bun:test";
import fc from "fast-check";
import { WorkerState } from "../../ffi/layout.ts";
import { type BootDue, Boots } from "../../src/pool/boots.ts";

const LIMIT_MS = 1000;
const KILL_AFTER_MS = 500;
const boots = () => new Boots({ bootTimeoutMs: LIMIT_MS }, KILL_AFTER_MS);

/** What is due at each of these times for one worker in this state. */
const steps = (one: Boots, state: number, ...times: number[]): BootDue[] =>
  times.map((time) => one.step(0, state, time));

test("a script that boots too long is asked to end once, and then killed once", () => {
  expect(steps(boots(), WorkerState.starting, 0, 1000, 1001, 1300, 1500, 1501, 9000)).toEqual([
    "nothing",
    "nothing",
    "ask-to-end",
    "nothing",
    "nothing",
    "kill",
    "nothing",
  ]);
});

test("a script that takes too long to end is treated alike", () => {
  expect(steps(boots(), WorkerState.ending, 0, 1001, 1501)).toEqual(["nothing", "ask-to-end", "kill"]);
});

test("the time counts anew from the boot to the end, and when a worker has served in between", () => {
  const one = boots();
  expect(steps(one, WorkerState.starting, 0, 900)).toEqual(["nothing", "nothing"]);
  expect(steps(one, WorkerState.ending, 950, 1900)).toEqual(["nothing", "nothing"]);
  expect(steps(one, WorkerState.idle, 1901)).toEqual(["nothing"]);
  expect(steps(one, WorkerState.ending, 5000, 5900)).toEqual(["nothing", "nothing"]);
});

test("a worker that has ended leaves nothing to its successor", () => {
  const one = boots();
  expect(steps(one, WorkerState.starting, 0, 1001)).toEqual(["nothing", "ask-to-end"]);
  one.forget(0);
  expect(steps(one, WorkerState.starting, 2000, 2900, 3001)).toEqual(["nothing", "nothing", "ask-to-end"]);
});

test("workers do not count each other's time", () => {
  const one = boots();
  expect(one.step(0, WorkerState.starting, 0)).toBe("nothing");
  expect(one.step(1, WorkerState.starting, 900)).toBe("nothing");
  expect(one.step(0, WorkerState.starting, 1001)).toBe("ask-to-end");
  expect(one.step(1, WorkerState.starting, 1001)).toBe("nothing");
});

test("whatever is seen and whenever, nobody is killed who was not asked to end at least kill_after_ms before", () => {
  const state = fc.constantFrom(...Object.values(WorkerState).filter((value) => typeof value === "number"));
  fc.assert(
    fc.property(fc.array(fc.tuple(state, fc.nat(3000))), (seen) => {
      const one = boots();
      let now = 0;
      let askedAt = Number.NaN;
      for (const [value, later] of seen) {
        now += later;
        const due = one.step(0, value, now);
        if (due !== "nothing")
          expect(value === WorkerState.starting || value === WorkerState.ending).toBe(true);
        if (due === "ask-to-end") askedAt = now;
        if (due === "kill") expect(now).toBeGreaterThan(askedAt);
      }
    }),
  );
});
