import { expect, test } from "bun:test";
import { Monitor } from "../../src/monitor/monitor.ts";
import type { WatchedHost, WatchedPool, WatchedWorker } from "../../src/monitor/watched.ts";
import { eventually } from "../harness.ts";
import { Scratch } from "../process/support.ts";
import { Holder, MIB } from "./monitor-helper.ts";

/** A pool of real processes, and what it was told. */
class Pool {
  readonly told: string[] = [];
  readonly warnings: string[] = [];
  workers: WatchedWorker[] = [];
  hosts: WatchedHost[] = [];
  memoryLimitBytes = 1000 * MIB;
  memoryKillBytes = 2000 * MIB;
  readonly actions = {
    replace: (worker: WatchedWorker, why: string) => void this.told.push(`replace ${worker.number}: ${why}`),
    kill: (worker: WatchedWorker, why: string) => void this.told.push(`kill ${worker.number}: ${why}`),
    rollGeneration: (host: WatchedHost, why: string) =>
      void this.told.push(`roll ${host.generation}: ${why}`),
    warn: (text: string) => void this.warnings.push(text),
  };

  add(holder: Holder, busy: boolean): void {
    const number = this.workers.length;
    this.workers.push({ pool: "web", number, generation: 1, pid: holder.pid, busy, ownBytes: null });
  }

  *watched(): Generator<WatchedPool> {
    const { workers, hosts, memoryLimitBytes, memoryKillBytes } = this;
    yield { name: "web", workers, hosts, memoryLimitBytes, memoryKillBytes };
  }

  monitor(memoryWarnBytes = 0, cgroups: ConstructorParameters<typeof Monitor>[0]["cgroups"] = []): Monitor {
    return new Monitor({
      pools: () => this.watched(),
      actions: this.actions,
      memoryWarnBytes,
      cgroups,
      sampleMs: 5,
    });
  }
}

test("a process that grows is seen while it runs: first over its limit, then over the hard one", async () => {
  await using holder = await Holder.start();
  const pool = new Pool();
  pool.memoryLimitBytes = 100 * MIB;
  pool.memoryKillBytes = 200 * MIB;
  pool.add(holder, true);
  const monitor = pool.monitor();
  monitor.start();
  try {
    await eventually("it was looked at", () => monitor.latest(holder.pid));
    expect(pool.told).toEqual([]);
    await holder.hold(120);
    await eventually("it is to be replaced", () => pool.told[0]);
    expect(pool.told).toEqual([
      expect.stringMatching(/^replace 0: holds 1\d\d MiB of its own, its limit is 100 MiB$/),
    ]);
    await holder.hold(100);
    await eventually("it is killed", () => pool.told[1]);
    expect(pool.told[1]).toMatch(/^kill 0: holds 2\d\d MiB of its own, a request may take 200 MiB$/);
  } finally {
    monitor.stop();
  }
});

test("the latest sample of each process is kept as long as the process is ours", async () => {
  await using one = await Holder.start();
  await using two = await Holder.start();
  await two.hold(40);
  const pool = new Pool();
  pool.add(one, false);
  pool.add(two, false);
  const monitor = pool.monitor();
  for (let look = 0; look < 12; look++) monitor.look(look);
  const [small, large] = [monitor.latest(one.pid)!, monitor.latest(two.pid)!];
  expect(large.ownBytes - small.ownBytes).toBeGreaterThan(30 * MIB);
  expect(large.residentBytes).toBeGreaterThan(large.ownBytes);
  // Three looks at one process more closely: the front, and these two.
  expect(large.proportionalBytes! - small.proportionalBytes!).toBeGreaterThan(30 * MIB);
  expect(monitor.latest(process.pid)?.proportionalBytes).toBeGreaterThan(MIB);
  expect(small.atMs).toBe(8);

  pool.workers.pop();
  await one.kill();
  for (let look = 12; look < 16; look++) monitor.look(look);
  expect(monitor.latest(one.pid)).toBeUndefined();
  expect(monitor.latest(two.pid)).toBeUndefined();
});

test("idle workers are looked at less often than busy ones", async () => {
  await using idle = await Holder.start();
  await using busy = await Holder.start();
  const pool = new Pool();
  pool.add(idle, false);
  pool.add(busy, true);
  const monitor = pool.monitor();
  for (let look = 0; look < 8; look++) monitor.look(look);
  expect(monitor.latest(idle.pid)?.atMs).toBe(4);
  expect(monitor.latest(busy.pid)?.atMs).toBe(7);
});

test("a host that grows has its generation rolled", async () => {
  await using holder = await Holder.start();
  const pool = new Pool();
  pool.hosts.push({ pool: "web", generation: 3, pid: holder.pid, threadsBytes: null });
  const monitor = pool.monitor();
  monitor.look(0);
  await holder.hold(320);
  for (let look = 1; look < 9; look++) monitor.look(look);
  expect(pool.told).toEqual([
    expect.stringMatching(/^roll 3: holds 3\d\d MiB of its own, its bound is \d+ MiB$/),
  ]);
});

test("what a thread holds is what it says, and of one that has not said it yet nothing is known", async () => {
  await using host = await Holder.start();
  await host.hold(120);
  const pool = new Pool();
  pool.memoryLimitBytes = 100 * MIB;
  pool.memoryKillBytes = 200 * MIB;
  const thread = { pool: "web", number: 0, generation: 1, pid: host.pid, busy: true };
  const monitor = pool.monitor();
  for (const mib of [0, 90, 250]) {
    pool.workers = [{ ...thread, ownBytes: mib * MIB }];
    for (let look = 0; look < 5; look++) monitor.look(look);
  }
  expect(pool.told).toEqual(["replace 0: holds 250 MiB of its own, its limit is 100 MiB"]);
  expect(monitor.latest(host.pid)).toBeUndefined();
});

test("the front's own memory is told of", () => {
  const pool = new Pool();
  const monitor = pool.monitor(65_536);
  for (let look = 0; look < 8; look++) monitor.look(look);
  expect(pool.warnings).toEqual([expect.stringMatching(/^the front holds \d+ MiB of its own$/)]);
});

test("a control group that fills up costs the largest worker its place", async () => {
  await using small = await Holder.start();
  await using large = await Holder.start();
  const pool = new Pool();
  pool.add(small, true);
  pool.add(large, true);
  using scratch = new Scratch();
  scratch.write("memory.max", `${512 * MIB}\n`);
  scratch.write("memory.stat", `inactive_file ${10 * MIB}\n`);
  scratch.write("memory.current", `${100 * MIB}\n`);
  const monitor = pool.monitor(0, [{ version: 2, folder: scratch.path }]);
  monitor.look(0);
  expect(monitor.cgroup).toMatchObject({ usedBytes: 90 * MIB, limitBytes: 512 * MIB });
  await large.hold(64);
  scratch.write("memory.current", `${490 * MIB}\n`);
  monitor.look(250);
  expect(pool.told).toEqual([
    expect.stringMatching(/^replace 1: .* short of memory: it uses 480 MiB of 512 MiB$/),
  ]);
});
