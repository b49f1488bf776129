import { expect, test } from "bun:test";
import { constants } from "node:os";
import { CrashBurst } from "../../src/pool/crash-burst.ts";

const { SIGSEGV, SIGBUS, SIGKILL, SIGABRT } = constants.signals;
const rules = { threshold: 3, intervalMs: 1000 };

test("so many crashes within the interval are a burst, and the next one begins anew", () => {
  const burst = new CrashBurst(rules);
  const notes = [0, 400, 900, 950, 960, 970].map((nowMs) => burst.note({ signal: SIGSEGV }, nowMs));
  expect(notes).toEqual([false, false, true, false, false, true]);
});

test("crashes further apart than the interval are none, however many", () => {
  const burst = new CrashBurst(rules);
  for (let nowMs = 0; nowMs < 100_000; nowMs += 500) {
    expect(burst.note({ signal: SIGBUS }, nowMs)).toBeFalse();
  }
});

test("only what a damaged shared memory brings about is counted", () => {
  const burst = new CrashBurst(rules);
  const others = [{ signal: SIGKILL }, { signal: SIGABRT }, { code: 0 }, { code: 255 }];
  for (const exit of [...others, ...others]) expect(burst.note(exit, 0)).toBeFalse();
  expect([SIGSEGV, SIGBUS, SIGSEGV].map((signal) => burst.note({ signal }, 1))).toEqual([false, false, true]);
});

test("a threshold of 0 turns it off, and one of 1 takes each crash for a burst", () => {
  const off = new CrashBurst({ ...rules, threshold: 0 });
  const at = new CrashBurst({ ...rules, threshold: 1 });
  for (let i = 0; i < 5; i++) {
    expect(off.note({ signal: SIGSEGV }, i)).toBeFalse();
    expect(at.note({ signal: SIGSEGV }, i)).toBeTrue();
  }
});
