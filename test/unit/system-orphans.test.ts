import { expect, test } from "bun:test";
import { join } from "node:path";

import { Orphans, reapOrphans } from "../../src/system/orphans.ts";
import { run } from "../process/support.ts";

test("a zombie is nobody's when it is still there at the next look", () => {
  const orphans = new Orphans();
  expect(orphans.due([5, 6])).toEqual([]);
  expect(orphans.due([6, 7])).toEqual([6]);
  expect(orphans.due([7])).toEqual([7]);
  expect(orphans.due([])).toEqual([]);
  expect(orphans.due([7])).toEqual([]); // a new process of that number
});

test("a process that is not the first leaves orphans to the one that is", () => {
  const timers: unknown[] = [];
  const real = globalThis.setInterval;
  globalThis.setInterval = ((...given: unknown[]) => timers.push(given)) as unknown as typeof setInterval;
  try {
    reapOrphans()();
  } finally {
    globalThis.setInterval = real;
  }
  expect(timers).toEqual([]);
});

const inContainer = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];
const permitted = Bun.which("unshare") !== null && Bun.spawnSync([...inContainer, "true"]).exitCode === 0;

test.skipIf(!permitted)(
  "the first process of a container takes note of every orphan's end, and of no end that Bun waits for",
  async () => {
    const helper = join(import.meta.dir, "../ffi/helpers/first-process.ts");
    const { code, out, err } = await run([...inContainer, process.execPath, helper]);
    expect(err).toBe("");
    expect(code).toBe(0);
    expect(JSON.parse(out)).toEqual({
      pid: 1,
      codes: Array.from({ length: 40 }, (_, i) => i),
      left: [expect.stringMatching(/^1 /)],
    });
  },
);
