import { expect, test as bunTest } from "bun:test";
import { readFileSync } from "node:fs";
import { getPriority, userInfo } from "node:os";
import { join } from "node:path";

import { shims } from "../../ffi/embedded.ts";
import { applyIdentity } from "../../src/system/identity.ts";
import { userEnvironment } from "../../src/system/user-environment.ts";
import { eventually, within } from "../harness.ts";
import { homeOf } from "../home.ts";
import { allGone, descriptors, run, statusOf } from "../process/support.ts";

/** A user without rights that every Linux has. */
const nobody = passwd("nobody");
const helper = join(import.meta.dir, "helpers/host-as.ts");
const shim = shims[0]?.path ?? "";

/** Only root may become somebody else, who must be able to reach this folder. */
const permitted =
  process.getuid?.() === 0 &&
  nobody !== undefined &&
  Bun.spawnSync([
    "setpriv",
    `--reuid=${nobody.uid}`,
    `--regid=${nobody.gid}`,
    "--clear-groups",
    "test",
    "-r",
    shim,
  ]).exitCode === 0;
const test = bunTest.skipIf(!permitted);

interface News {
  host?: number;
  worker?: number;
  code?: string;
  message?: string;
}

/** The helper, which stands in for the front. */
class Front implements AsyncDisposable {
  readonly #child: Bun.Subprocess<"ignore", "pipe", "inherit">;
  #text = "";

  constructor(identity: unknown) {
    const child = Bun.spawn([process.execPath, helper, JSON.stringify(identity)], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    this.#child = child;
    void (async () => {
      for await (const bytes of child.stdout) this.#text += new TextDecoder().decode(bytes);
    })();
  }

  async news(): Promise<News> {
    const line = await eventually("the host has started, or not", () => /^.*\n/.exec(this.#text)?.[0]);
    return (JSON.parse(line) as { news: News }).news;
  }

  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await within(this.#child.exited, "it has ended");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }
}

test("host and worker are the pool's user, with its priority and processors, and nothing of root's", async () => {
  const cpu = Number(/^Cpus_allowed_list:\s+(\d+)/m.exec(statusOf(process.pid))?.[1]);
  await using front = new Front({ runAs: nobody, nice: 3, cpuAffinity: [cpu] });
  const { host = 0, worker = 0 } = await front.news();
  for (const pid of [host, worker]) {
    const status = statusOf(pid);
    const { uid, gid } = nobody ?? {};
    expect(status).toMatch(new RegExp(`^Uid:\\s+${uid}\\s+${uid}\\s+${uid}\\s+${uid}$`, "m"));
    expect(status).toMatch(new RegExp(`^Gid:\\s+${gid}\\s+${gid}\\s+${gid}\\s+${gid}$`, "m"));
    expect(status).toMatch(new RegExp(`^Groups:\\s+${gid}\\s*$`, "m"));
    for (const set of ["CapInh", "CapPrm", "CapEff", "CapAmb"]) {
      expect(status).toMatch(new RegExp(`^${set}:\\s+0+$`, "m"));
    }
    expect(status).toMatch(new RegExp(`^Cpus_allowed_list:\\s+${cpu}$`, "m"));
    expect(getPriority(pid)).toBe(3);
    const environment = readFileSync(`/proc/${pid}/environ`, "utf8").split("\0");
    expect(environment).toContain(`HOME=${nobody?.home}`);
    expect(environment).toContain("USER=nobody");
    expect(environment).toContain("LOGNAME=nobody");
    expect(readFileSync(`/proc/${pid}/limits`, "utf8")).toMatch(/^Max open files\s+1024\s/m);
  }
  // It looks at its own descriptors in /proc, which a change of user takes from it at first.
  const [owner] = (await run(["stat", "-c", "%U", `/proc/${worker}/fd`])).out.split("\n");
  expect(owner).toBe("nobody");
  const strange = [...descriptors(worker).values()].filter((target) => /memfd:phprun|eventpoll/.test(target));
  expect(strange).toEqual([]);
});

test("every thread of a host is the pool's user", async () => {
  await using front = new Front({ runAs: nobody });
  const { host } = await front.news();
  const { out } = await run(["sh", "-c", `cat /proc/${host}/task/*/status | grep ^Uid | sort -u`]);
  expect(out.trim().split(/\s+/)).toEqual(["Uid:", ...Array.from({ length: 4 }, () => String(nobody?.uid))]);
});

test("a host of another user ends with the front, even one that looks at nothing", async () => {
  await using front = new Front({ runAs: nobody });
  const { host = 0, worker = 0 } = await front.news();
  // It cannot see its control socket close now: only the kernel can end it.
  process.kill(host, "SIGSTOP");
  await eventually("it has stopped", () => (/^State:\s+T/m.test(statusOf(host)) ? true : undefined));
  await front.kill();
  await allGone([host, worker]);
});

test.each([
  [
    "a user who may not be taken on",
    { runAs: { name: "nobody", uid: 4_294_967_295, gid: 4_294_967_295 } },
    /^Cannot run pool 'drill' as nobody: (initgroups|setresgid|the kernel)/,
  ],
  [
    "processors that are not there",
    { cpuAffinity: [1023] },
    /^Cannot run pool 'drill' on processors 1023: EINVAL, this system has none of them$/,
  ],
] as const)("%s: the host says so and ends", async (_, identity, message) => {
  await using front = new Front(identity);
  expect(await front.news()).toMatchObject({
    code: "POOL_IDENTITY",
    message: expect.stringMatching(message),
  });
});

test("who is not root is told what it takes", async () => {
  const module = join(import.meta.dir, "../../src/system/identity.ts");
  const tryIt = (identity: string) =>
    `try { applyIdentity("drill", ${identity}); console.log("done") } catch (error) { console.log(error.message) }`;
  const code = `import { applyIdentity } from ${JSON.stringify(module)};
    ${tryIt('{ runAs: { name: "root", uid: 0, gid: 0 }, nice: 0, cpuAffinity: [] }')}
    ${tryIt("{ runAs: null, nice: -5, cpuAffinity: [] }")}
    ${tryIt(`{ runAs: ${JSON.stringify(nobody)}, nice: 1, cpuAffinity: [] }`)}`;
  const user = ["setpriv", `--reuid=${nobody?.uid}`, `--regid=${nobody?.gid}`, "--clear-groups"];
  const { out } = await run([...user, process.execPath, "-e", code]);
  expect(out.trim().split("\n")).toEqual([
    "Cannot run pool 'drill' as root: initgroups: Operation not permitted, phprun must be started as root for it",
    "Cannot run pool 'drill' with nice -5: EACCES, phprun must be started as root for it",
    "done", // it is that user already
  ]);
});

bunTest("a pool without a user of its own has the environment it was started in", () => {
  expect(userEnvironment(null)).toEqual({});
  const { username: name, uid } = userInfo();
  expect(userEnvironment({ name, uid })).toEqual({ HOME: homeOf(uid), USER: name, LOGNAME: name });
  expect(userEnvironment({ name: "ghost", uid: 3_999_999_999 })).toMatchObject({ HOME: "/", USER: "ghost" });
});

bunTest("an identity that asks for nothing changes nothing but the limit of open files", async () => {
  const soft = () => /^Max open files\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1];
  const before = Number(soft());
  const nice = getPriority();
  applyIdentity("drill", { runAs: null, nice: 0, cpuAffinity: [], openFiles: 512 });
  expect(soft()).toBe("512");
  expect(getPriority()).toBe(nice);
  applyIdentity("drill", { runAs: null, nice: 0, cpuAffinity: [], openFiles: before });
});

function passwd(name: string): { name: string; uid: number; gid: number; home: string } | undefined {
  const line = readFileSync("/etc/passwd", "utf8")
    .split("\n")
    .find((entry) => entry.startsWith(`${name}:`));
  if (line === undefined) return undefined;
  const [, , uid, gid, , home = ""] = line.split(":");
  return { name, uid: Number(uid), gid: Number(gid), home };
}
