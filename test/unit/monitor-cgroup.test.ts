import { expect, test } from "bun:test";
import { findMemoryCgroups, lowestLimit, readCgroups } from "../../src/monitor/cgroup.ts";
import { Scratch } from "../process/support.ts";
import { MIB } from "./monitor-helper.ts";

const V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
const V1 =
  "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n" +
  "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n" +
  "33 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";

/** A file system of its own: what the process is a member of, what is mounted, and files of groups. */
function machine(
  cgroup: string,
  mountinfo: string,
  files: Readonly<Record<string, string | number>>,
): Scratch {
  const scratch = new Scratch();
  scratch.write("proc/self/cgroup", cgroup);
  scratch.write("proc/self/mountinfo", mountinfo);
  for (const [name, content] of Object.entries(files)) scratch.write(`sys/fs/cgroup/${name}`, `${content}\n`);
  return scratch;
}

const read = (scratch: Scratch) => {
  const groups = findMemoryCgroups(scratch.path);
  return { lowest: lowestLimit(groups), fullest: readCgroups(groups) };
};

test("version 2: the limit, and the use without file pages that lie idle", () => {
  using scratch = machine("0::/app\n", V2, {
    "app/memory.max": 512 * MIB,
    "app/memory.high": "max",
    "app/memory.current": 300 * MIB,
    "app/memory.stat": `anon 1\nfile 2\ninactive_file ${100 * MIB}\nactive_file 3`,
  });
  const folder = `${scratch.path}/sys/fs/cgroup/app`;
  expect(read(scratch)).toEqual({
    lowest: 512 * MIB,
    fullest: { folder, limitBytes: 512 * MIB, usedBytes: 200 * MIB },
  });
});

test("version 2: memory.high counts as a limit, and 'max' as none", () => {
  const files = { "app/memory.max": "max", "app/memory.current": 5, "app/memory.stat": "inactive_file 0" };
  using throttled = machine("0::/app\n", V2, { ...files, "app/memory.high": 64 * MIB });
  expect(read(throttled).lowest).toBe(64 * MIB);
  using free = machine("0::/app\n", V2, { ...files, "app/memory.high": "max" });
  expect(read(free)).toEqual({ lowest: null, fullest: null });
});

test("of all groups above, the lowest limit is planned with, the fullest is watched", () => {
  using scratch = machine("0::/machine.slice/app.service\n", V2, {
    "machine.slice/memory.max": 1000 * MIB,
    "machine.slice/memory.current": 950 * MIB,
    "machine.slice/memory.stat": "inactive_file 0",
    "machine.slice/app.service/memory.max": 400 * MIB,
    "machine.slice/app.service/memory.current": 100 * MIB,
    "machine.slice/app.service/memory.stat": "inactive_file 0",
  });
  const { lowest, fullest } = read(scratch);
  expect(lowest).toBe(400 * MIB);
  expect(fullest).toMatchObject({ limitBytes: 1000 * MIB, usedBytes: 950 * MIB });
});

test("in a container the mounted group is all there is, under whatever name it has outside", () => {
  const mounted = V2.replace("0:26 /", "0:26 /docker/abc");
  const files = { "memory.max": 256 * MIB, "memory.current": 10 * MIB, "memory.stat": "inactive_file 0" };
  for (const membership of ["0::/\n", "0::/docker/abc\n", "0::/../elsewhere\n"]) {
    using scratch = machine(membership, mounted, files);
    expect(read(scratch).fullest).toMatchObject({ limitBytes: 256 * MIB, usedBytes: 10 * MIB });
  }
  using nested = machine("0::/docker/abc/inner\n", mounted, {
    ...files,
    "inner/memory.max": 128 * MIB,
    "inner/memory.current": 100 * MIB,
  });
  expect(read(nested)).toMatchObject({ lowest: 128 * MIB, fullest: { usedBytes: 100 * MIB } });
});

test("version 1: the limit, the use, and a limit above that cannot be seen", () => {
  const memberships = "5:cpu,cpuacct:/\n4:memory:/app\n1:name=systemd:/\n0::/\n";
  const files = {
    "memory/app/memory.limit_in_bytes": 512 * MIB,
    "memory/app/memory.usage_in_bytes": 300 * MIB,
    "memory/memory.limit_in_bytes": "9223372036854771712",
    "memory/memory.usage_in_bytes": 3000 * MIB,
  };
  const statistics = `inactive_file 1\ntotal_inactive_file ${50 * MIB}\nhierarchical_memory_limit `;
  using scratch = machine(memberships, V1, {
    ...files,
    "memory/app/memory.stat": `${statistics}${512 * MIB}`,
  });
  expect(read(scratch)).toMatchObject({
    lowest: 512 * MIB,
    fullest: { limitBytes: 512 * MIB, usedBytes: 250 * MIB },
  });
  using hidden = machine(memberships, V1, {
    ...files,
    "memory/app/memory.stat": `${statistics}${400 * MIB}`,
  });
  expect(read(hidden).lowest).toBe(400 * MIB);
});

test("version 1: nearly 2^63 is no limit, whatever the size of a page", () => {
  for (const none of ["9223372036854771712", "9223372036854710272"]) {
    using scratch = machine("4:memory:/\n", V1, {
      "memory/memory.limit_in_bytes": none,
      "memory/memory.usage_in_bytes": 1,
      "memory/memory.stat": `hierarchical_memory_limit ${none}`,
    });
    expect(read(scratch)).toEqual({ lowest: null, fullest: null });
  }
});

test("where there are no control groups, or none that can be read, there is no limit", () => {
  using empty = new Scratch();
  expect(findMemoryCgroups(empty.path)).toEqual([]);
  using odd = machine("nonsense\n0::\n7:memory\n", "a b c\n - \n\n", {});
  expect(read(odd)).toEqual({ lowest: null, fullest: null });
  using gone = machine("0::/app\n", V2, { "app/memory.current": "", "app/memory.max": 9 });
  expect(read(gone)).toEqual({ lowest: 9, fullest: null });
});

test("the groups of this machine can be read", () => {
  const groups = findMemoryCgroups();
  const fullest = readCgroups(groups);
  expect(lowestLimit(groups) === null).toBe(fullest === null);
  if (fullest !== null) expect(fullest.usedBytes).toBeWithin(1, fullest.limitBytes * 1.1);
});
