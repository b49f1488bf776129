import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { pageBytes, readMemory, readProportional } from "../../src/monitor/process-memory.ts";
import { run } from "../process/support.ts";
import { Holder, MIB } from "./monitor-helper.ts";

test("the size of a page is what the system says", async () => {
  const { out } = await run(["getconf", "PAGESIZE"]);
  expect(pageBytes()).toBe(Number(out));
});

test("what a process takes shows in its resident memory, its own, and its share", async () => {
  await using holder = await Holder.start();
  const before = { ...readMemory(holder.pid)!, proportional: readProportional(holder.pid)! };
  await holder.hold(64);
  const after = { ...readMemory(holder.pid)!, proportional: readProportional(holder.pid)! };
  for (const figure of ["residentBytes", "ownBytes", "proportional"] as const)
    expect(after[figure] - before[figure]).toBeWithin(56 * MIB, 80 * MIB);
  expect(after.residentBytes).toBeGreaterThan(after.ownBytes);
});

test("the figures are those the kernel gives elsewhere", async () => {
  await using holder = await Holder.start();
  await holder.hold(32);
  const status = await Bun.file(`/proc/${holder.pid}/status`).text();
  const kb = Number(/^RssAnon:\s+(\d+)/m.exec(status)?.[1]);
  expect(Math.abs(readMemory(holder.pid)!.ownBytes - kb * 1024)).toBeLessThan(4 * MIB);
});

test("a process that has ended holds nothing, also before its parent has looked", async () => {
  const holder = await Holder.start();
  const { pid } = holder;
  await holder.kill();
  expect(readMemory(pid)).toBeUndefined();
  expect(readProportional(pid)).toBeUndefined();

  // The shell becomes another program before its child ends, and that never asks for the child.
  await using zombie = new ZombieParent();
  expect(readMemory(await zombie.child())).toBeUndefined();
});

test("no such process is no error", () => {
  for (const pid of [0, -1, 2 ** 30]) {
    expect(readMemory(pid)).toBeUndefined();
    expect(readProportional(pid)).toBeUndefined();
  }
});

test("processes that end while they are read give a figure or none, never an error", async () => {
  const ends = Array.from({ length: 20 }, () =>
    Bun.spawn(["true"], { stdio: ["ignore", "ignore", "ignore"] }),
  );
  let alive = ends;
  while (alive.length > 0) {
    for (const { pid } of alive) {
      const memory = readMemory(pid);
      if (memory !== undefined) expect(memory.residentBytes).toBeGreaterThanOrEqual(memory.ownBytes);
      const proportional = readProportional(pid);
      if (proportional !== undefined) expect(proportional).toBeGreaterThanOrEqual(0);
    }
    await Bun.sleep(0);
    alive = alive.filter((process) => process.exitCode === null);
  }
  for (const { pid } of ends)
    expect(existsSync(`/proc/${pid}`) ? readMemory(pid) : undefined).toBeUndefined();
});

class ZombieParent implements AsyncDisposable {
  readonly #process = Bun.spawn(["sh", "-c", "sleep 0.02 & echo $!; exec sleep 30"], {
    stdio: ["ignore", "pipe", "ignore"],
  });

  async child(): Promise<number> {
    const { value } = await this.#process.stdout.getReader().read();
    const pid = Number(new TextDecoder().decode(value));
    while (!/^State:\s+Z/m.test(await Bun.file(`/proc/${pid}/status`).text())) await Bun.sleep(1);
    return pid;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.#process.exited;
  }
}
