/** Worker mode: a warm worker becomes the template of further ones (`worker.refork_after`). */
import { describe, expect } from "bun:test";
import { eventually, launch, type Server, test } from "../harness.ts";
import { type App, appOptions } from "./app.ts";
import { family, recorded } from "./control.ts";
import { SilentPeer } from "./observe.ts";
import { allGone, childrenOf, get, isRunning, startedPids, statusOf, workerPids } from "./support.ts";

const PROMOTED = /a warm worker has become the template of further ones .*pid=(\d+)/;

const app: App = {
  boot: "note('boot', 'boots');",
  pages: {
    warm: "mt_rand(); lcg_value(); Kept::$all['warm'] ??= getmypid(); echo getmypid(), ' ', Kept::$all['warm'];",
    who: "echo getmypid(), ' ', Kept::$all['warm'] ?? 'cold';",
  },
  pool: { worker_count: 2 },
  worker: { refork_after: 5 },
};

const start = async (options: App = {}): Promise<Server> => {
  const server = launch({ ...appOptions({ ...app, ...options }), isolation: "process" });
  await server.ready();
  return server;
};

/** Asks until a worker has become the template. Its pid. */
async function promoted(server: Server): Promise<number> {
  const pid = await eventually("a worker is the template", async () => {
    expect((await get(server, "/warm")).status).toBe(200);
    return PROMOTED.exec(server.log.text)?.[1];
  });
  return Number(pid);
}

/** The workers once there are two that are none of these. */
async function copies(server: Server, ...not: readonly number[]): Promise<number[]> {
  return await eventually("two others serve", () => {
    const pids = startedPids(server).filter((pid) => isRunning(pid) && !not.includes(pid));
    return pids.length === 2 ? pids : undefined;
  });
}

describe("refork_after", () => {
  test("makes a warm worker the template, and copies of it take the places of all workers", async () => {
    await using server = await start();
    const before = await workerPids(server, 2);
    const template = await promoted(server);
    expect(before).toContain(template);
    const after = await copies(server, ...before);
    await allGone(before.filter((pid) => pid !== template));
    expect(statusOf(template)).toContain("phprun/template");
    // What the template had become by its requests they are, too.
    const [pid, warm] = (await get(server, "/who")).text.split(" ").map(Number);
    expect(after).toContain(pid ?? 0);
    expect(warm).toBe(template);
    expect(recorded(server, "boots")).toBe("boot\n");
    // The host is the parent of all of them: it ends them and hears of their end.
    const [host = 0] = childrenOf(server.pid);
    expect(childrenOf(host)).toEqual(expect.arrayContaining([template, ...after]));
    for (const copy of after) process.kill(copy, "SIGKILL");
    const next = await copies(server, template, ...after);
    const answer = (await get(server, "/who")).text.split(" ").map(Number);
    expect(next).toContain(answer[0] ?? 0);
    expect(answer[1]).toBe(template);
  });

  test("happens once in a generation", async () => {
    await using server = await start();
    const before = await workerPids(server, 2);
    const template = await promoted(server);
    const after = await copies(server, ...before);
    for (let i = 0; i < 50; i++) {
      const [pid, warm] = (await get(server, "/warm")).text.split(" ").map(Number);
      expect(after).toContain(pid ?? 0);
      expect(warm).toBe(template);
    }
    expect(server.log.text.match(new RegExp(PROMOTED, "g"))).toHaveLength(1);
  });

  test("runs the hooks of the fork, in the new template and in each copy of it, which draw numbers of their own", async () => {
    const boot = `note('boot', 'boots');
      phprun_before_fork(function () { note('before ' . getmypid(), 'hooks'); });
      phprun_after_fork(function () { note('after ' . getmypid(), 'hooks'); note(mt_rand() . ' ' . lcg_value(), 'numbers'); });`;
    await using server = await start({ boot });
    const before = await workerPids(server, 2);
    const template = await promoted(server);
    const after = await copies(server, ...before);
    expect(recorded(server, "hooks")).toContain(`before ${template}\n`);
    for (const pid of after) await server.record("hooks", new RegExp(`after ${pid}\n`));
    const numbers = (await server.record("numbers", /^(.*\n){4}$/)).trim().split("\n");
    for (const column of [0, 1]) expect(new Set(numbers.map((line) => line.split(" ")[column])).size).toBe(4);
  });

  test("leaves a worker what it is that has a connection open", async () => {
    using peer = await SilentPeer.listen();
    const pages = {
      ...app.pages,
      warm: `Kept::$all['peer'] ??= stream_socket_client('${peer.address}'); echo getmypid();`,
    };
    await using server = await start({ pages, worker: { refork_after: 5, template: "auto" } });
    const before = await workerPids(server, 2);
    await eventually("it is told", async () => {
      expect((await get(server, "/warm")).status).toBe(200);
      return server.log.text.includes("A warm worker does not become the template") || undefined;
    });
    expect(server.log.text).toMatch(
      /it has a connection to 127\.0\.0\.1:\d+ open, which copies of it would share/,
    );
    for (let i = 0; i < 20; i++) expect(before).toContain(Number((await get(server, "/warm")).text));
    expect(server.log.text).not.toMatch(PROMOTED);
  });

  test("with template: true it becomes one all the same, with a warning", async () => {
    using peer = await SilentPeer.listen();
    const pages = {
      ...app.pages,
      warm: `Kept::$all['peer'] ??= stream_socket_client('${peer.address}'); echo getmypid();`,
    };
    await using server = await start({ pages, worker: { refork_after: 5, template: true } });
    await promoted(server);
    expect(server.log.text).toMatch(
      /A warm worker that becomes the template has a connection to 127\.0\.0\.1:\d+ open/,
    );
  });

  test("goes back to the application as it booted when the template dies", async () => {
    await using server = await start();
    const before = await workerPids(server, 2);
    const template = await promoted(server);
    const after = await copies(server, ...before);
    process.kill(template, "SIGKILL");
    await server.waitForLog(/The worker that had become the template has ended/);
    for (const pid of after) process.kill(pid, "SIGKILL");
    await copies(server, ...before, ...after);
    expect((await get(server, "/who")).text).toEndWith(" cold");
    expect(recorded(server, "boots")).toBe("boot\n");
  });

  for (const signal of ["SIGTERM", "SIGKILL"] as const) {
    test(`leaves nothing behind when the server gets ${signal}`, async () => {
      await using server = await start();
      const before = await workerPids(server, 2);
      const template = await promoted(server);
      const all = [...(await copies(server, ...before)), template, ...family(server)];
      server.signal(signal);
      await allGone(all);
    });
  }
});
