import { expect, test } from "bun:test";
import type { PoolConfig } from "../../src/config/config.ts";
import { describeMemoryBudget } from "../../src/monitor/memory-budget.ts";
import { MIB } from "./monitor-helper.ts";

const pool = (name: string, max: number, memoryLimitMib: number) =>
  ({ name, workers: { min: 1, max }, memoryLimitBytes: memoryLimitMib * MIB }) as PoolConfig;

test("nothing is said when all workers at their limits fit", () => {
  const pools = [pool("web", 8, 128), pool("heavy", 2, 512)];
  expect(describeMemoryBudget({ pools }, null, 2048 * MIB)).toBeNull();
  expect(describeMemoryBudget({ pools }, 2048 * MIB, 64_000 * MIB)).toBeNull();
});

test("more than the control group allows is told, with what would fit", () => {
  expect(describeMemoryBudget({ pools: [pool("web", 32, 128)] }, 1024 * MIB, 64_000 * MIB)).toBe(
    "All workers at their limits would hold 4096 MiB (web: 32 × 128 MiB), the control group allows 1024 MiB. " +
      "Set worker_count to 8 at most, or memory_limit_mb to 32 at most, or provide more memory.",
  );
});

test("more than the machine has is told, also when the control group would allow it", () => {
  const text = describeMemoryBudget(
    { pools: [pool("a", 8, 128), pool("b", 2, 512)] },
    9000 * MIB,
    1000 * MIB,
  );
  expect(text).toContain("2048 MiB (a: 8 × 128 MiB, b: 2 × 512 MiB), the machine has 1000 MiB.");
  expect(text).toContain("Lower worker_count or memory_limit_mb of the pools");
});

test("a worker that does not fit alone has only its limit to lower", () => {
  const text = describeMemoryBudget({ pools: [pool("web", 4, 512)] }, 256 * MIB, 64_000 * MIB);
  expect(text).toContain("Set memory_limit_mb to 64 at most, or provide more memory.");
});
