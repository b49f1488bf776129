import { expect, test } from "bun:test";
import { HostStarts } from "../../src/pool/host-starts.ts";
import { Rolls } from "../../src/pool/rolls.ts";

const never = Number.POSITIVE_INFINITY;

test("the first roll that is asked for begins at once, the next five seconds later, and none is dropped", () => {
  const rolls = new Rolls();
  expect([rolls.dueMs(false), rolls.next]).toEqual([never, null]);
  rolls.ask("renew", "opcache_reset() was called", 1000);
  expect(rolls.dueMs(false)).toBeLessThanOrEqual(1000);
  expect(rolls.next).toEqual({ reason: "renew", why: "opcache_reset() was called" });
  rolls.begun(1000);
  // While it is under way: what the candidate has loaded may be older than this call.
  rolls.ask("renew", "opcache_reset() was called", 1100);
  rolls.replaced(1001);
  expect([rolls.next?.reason, rolls.dueMs(false)]).toEqual(["renew", 6000]);
  rolls.begun(6000);
  rolls.replaced(6001);
  expect([rolls.next, rolls.dueMs(false)]).toEqual([null, never]);
});

test("calls that come in a burst are one roll", () => {
  const rolls = new Rolls();
  for (let nowMs = 0; nowMs < 100; nowMs++) rolls.ask("renew", "opcache_reset() was called", nowMs);
  rolls.begun(100);
  rolls.replaced(100);
  expect(rolls.next).toBeNull();
});

test("lost workers come first, and go with their generation, whenever the next one was started", () => {
  const rolls = new Rolls();
  rolls.ask("renew", "opcache is full", 10);
  rolls.begun(20);
  rolls.ask("lost", "a worker does not come back from /a.php", 30);
  expect(rolls.next?.reason).toBe("lost");
  rolls.replaced(20);
  expect(rolls.next).toBeNull();

  rolls.ask("lost", "a worker does not come back from /a.php", 40);
  rolls.withdraw("lost");
  expect(rolls.next).toBeNull();
});

test("a roll that fails is tried again ever more slowly, until another generation serves", () => {
  const rolls = new Rolls();
  rolls.ask("renew", "opcache_reset() was called", 0);
  let nowMs = 0;
  const waits: number[] = [];
  for (let i = 0; i < 8; i++) {
    rolls.begun(nowMs);
    rolls.failed(nowMs + 10, false);
    waits.push(rolls.dueMs(false) - nowMs - 10);
    nowMs = rolls.dueMs(false);
  }
  expect(waits).toEqual([4990, 4990, 4990, 8000, 16_000, 30_000, 30_000, 30_000]);
  rolls.replaced(nowMs);
  rolls.ask("renew", "opcache_reset() was called", nowMs + 1);
  rolls.begun(nowMs + 1);
  expect(rolls.dueMs(false)).toBe(nowMs + 5001);
});

test("with too few workers left it does not wait, except for hosts that do not start", () => {
  const rolls = new Rolls();
  rolls.ask("lost", "a worker does not come back from /a.php", 1000);
  rolls.begun(1000);
  rolls.failed(1200, false);
  expect([rolls.dueMs(false), rolls.dueMs(true)]).toEqual([6000, 1500]);
  const waits: number[] = [];
  for (let nowMs = 1500; waits.length < 6; nowMs = rolls.dueMs(true)) {
    rolls.begun(nowMs);
    rolls.failed(nowMs, true);
    waits.push(rolls.dueMs(true) - nowMs);
  }
  expect(waits).toEqual([500, 1000, 2000, 4000, 5000, 5000]);
});

test("a host that ends by itself is started again at once, then ever more slowly, and given up in the end", () => {
  const starts = new HostStarts();
  const waits: number[] = [];
  let nowMs = 100_000;
  while (!starts.failed) {
    starts.ended(100, false);
    waits.push(starts.next(nowMs));
    nowMs += (waits.at(-1) ?? 0) + 100;
  }
  expect(waits).toEqual([0, 500, 1000, 2000, 4000, 5000, 5000, 5000]);
  expect(starts.failures).toBe(8);
  starts.ended(5001, false);
  expect(starts.failed).toBeFalse();
  expect(starts.next(nowMs)).toBe(0);
});

test("one that was killed by a request is no failed start, and they are no busy loop", () => {
  const starts = new HostStarts();
  const started: number[] = [];
  // A host needs 200 ms to start, and the next request kills it.
  for (let nowMs = 0; nowMs < 60_000;) {
    starts.ended(200, true);
    expect(starts.failed).toBeFalse();
    nowMs += starts.next(nowMs);
    started.push(nowMs);
    nowMs += 200;
  }
  expect(started.slice(0, 9)).toEqual([0, 200, 400, 600, 800, 1000, 2000, 3000, 4000]);
  expect(started.length).toBe(5 + 60);
});

test("a request a second that kills its host costs no more than the time of a start each time", () => {
  const starts = new HostStarts();
  for (let nowMs = 0; nowMs < 60_000; nowMs += 1000) {
    starts.ended(800, true);
    expect(starts.next(nowMs)).toBe(0);
  }
});
