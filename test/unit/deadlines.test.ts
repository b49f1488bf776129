import { expect, test } from "bun:test";
import { stepDeadline, stepSlow } from "../../src/pool/deadlines.ts";
import type { Running } from "../../src/pool/slots.ts";
import { JobDouble } from "./pool-model-job.ts";

const limits = { timeoutMs: 1000, killAfterMs: 300 };
const STEP_MS = 50;

class Job extends JobDouble {
  waitsForItsClient = false;

  override get stalled(): boolean {
    return this.waitsForItsClient;
  }
}

function running(): Running & { job: Job } {
  const job = new Job(1, "w", true, true, { starting: () => undefined, returned: () => undefined });
  return { job, queuedAtMs: 0, runningSinceMs: 0, stage: "running", killedFor: null, slow: "not" };
}

/** Looks at it every STEP_MS. Returns what was due when. */
function watch(request: Running, fromMs: number, toMs: number, rules = limits): [number, string][] {
  const due: [number, string][] = [];
  for (let nowMs = fromMs; nowMs <= toMs; nowMs += STEP_MS) {
    const what = stepDeadline(request, rules, nowMs, STEP_MS);
    if (what !== "nothing" && what !== "ask-again") due.push([nowMs, what]);
  }
  return due;
}

test("it is asked again at every look, in case it was just about to go to sleep, until its worker is killed", () => {
  const request = running();
  watch(request, 5000, 6050);
  expect(stepDeadline(request, limits, 6100, STEP_MS)).toBe("ask-again");
  expect(stepDeadline(request, limits, 6350, STEP_MS)).toBe("kill");
  expect(stepDeadline(request, limits, 6400, STEP_MS)).toBe("nothing");
});

test("a script is asked to end once, and its worker killed once, each after its time", () => {
  expect(watch(running(), 5000, 20_000)).toEqual([
    [6050, "ask-to-end"],
    [6350, "kill"],
  ]);
});

test("time in the ring does not count: it runs from when a worker is first seen to have it", () => {
  const request = running();
  expect(request.queuedAtMs).toBe(0);
  expect(watch(request, 90_000, 91_000)).toEqual([]);
  expect(request.runningSinceMs).toBe(90_000);
});

test("time that the worker waits for a client does not count", () => {
  const request = running();
  expect(watch(request, 1000, 1900)).toEqual([]);
  request.job.waitsForItsClient = true;
  expect(watch(request, 1950, 9000)).toEqual([]);
  request.job.waitsForItsClient = false;
  const [first] = watch(request, 9050, 20_000);
  expect(first).toEqual([9150, "ask-to-end"]);
});

test("one that PHP itself has ended for its time is not asked, but killed if it goes on", () => {
  const request = running();
  request.stage = "asked-to-end";
  expect(watch(request, 1000, 9000)).toEqual([[2350, "kill"]]);
});

test("without a timeout nothing is ever due", () => {
  expect(watch(running(), 1, 1_000_000, { timeoutMs: 0, killAfterMs: 0 })).toEqual([]);
});

test("a slow request is asked about once, and told of once nothing comes", () => {
  const request = running();
  const rules = { slowMs: 200 };
  expect(stepSlow(request, rules, 1000)).toBe("nothing");
  request.runningSinceMs = 1000;
  const said: [number, string][] = [];
  for (let nowMs = 1000; nowMs < 3000; nowMs += STEP_MS) {
    const what = stepSlow(request, rules, nowMs);
    if (what !== "nothing") said.push([nowMs, what]);
    if (what === "tell") request.slow = "told";
  }
  expect(said).toEqual([
    [1250, "ask"],
    [1750, "tell"],
  ]);
  expect(stepSlow(running(), { slowMs: 0 }, 99_999)).toBe("nothing");
});
