import { expect, test } from "bun:test";
import { Processors, type ProcessorTimes, readProcessors } from "../../src/monitor/processors.ts";
import { eventually } from "../harness.ts";
import { Scratch } from "../process/support.ts";

const none: ProcessorTimes = { busy: 0, nice: 0, idle: 0, periods: 0, throttledPeriods: 0 };

/** After two looks between which so much time went by. */
function after(times: Partial<ProcessorTimes>): Processors {
  const processors = new Processors();
  processors.note(none);
  processors.note({ ...none, ...times });
  return processors;
}

test("processors are saturated when a tenth of their time or less is idle", () => {
  expect(after({ busy: 89, idle: 11 }).saturated(0)).toBeFalse();
  expect(after({ busy: 90, idle: 10 }).saturated(0)).toBeTrue();
});

test("time of nicer processes is there for others to take", () => {
  const processors = after({ busy: 20, nice: 75, idle: 5 });
  expect(processors.saturated(0)).toBeFalse();
  expect(processors.saturated(10)).toBeTrue();
});

test("a quota that is mostly used up saturates, however idle the machine", () => {
  expect(after({ idle: 100, periods: 10, throttledPeriods: 4 }).saturated(0)).toBeFalse();
  expect(after({ idle: 100, periods: 10, throttledPeriods: 5 }).saturated(0)).toBeTrue();
});

test("only the last looks count, and without two of them nothing is known", () => {
  const processors = new Processors();
  expect(processors.saturated(0)).toBeFalse();
  for (let busy = 0; busy <= 1000; busy += 100) processors.note({ ...none, busy });
  expect(processors.saturated(0)).toBeTrue();
  for (let idle = 100; idle <= 400; idle += 100) processors.note({ ...none, busy: 1000, idle });
  expect(processors.saturated(0)).toBeFalse();
});

test("the counts are read from the kernel's files", () => {
  using scratch = new Scratch();
  expect(readProcessors(scratch.path)).toBeUndefined();
  scratch.write("proc/stat", "cpu  100 20 30 400 50 6 7 8 9 0\ncpu0 1 2 3 4 5 6 7 8 9 0\nintr 5\n");
  expect(readProcessors(scratch.path)).toEqual({
    busy: 151,
    nice: 20,
    idle: 450,
    periods: 0,
    throttledPeriods: 0,
  });
  scratch.write("sys/fs/cgroup/cpu.stat", "usage_usec 1\nnr_periods 12\nnr_throttled 3\nthrottled_usec 9\n");
  expect(readProcessors(scratch.path)).toMatchObject({ periods: 12, throttledPeriods: 3 });
});

test("the counts of this machine go up", async () => {
  const before = readProcessors()!;
  await eventually("some time has gone by", () => {
    const now = readProcessors()!;
    return now.busy + now.nice + now.idle > before.busy + before.nice + before.idle ? true : undefined;
  });
});
