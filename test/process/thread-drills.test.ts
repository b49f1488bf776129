/*
 * Hosts of threads while things go wrong in several places at once. One thing at a time is in threads.test.ts; what is
 * the same for processes is in the files of those drills.
 */
import { describe, expect } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { eventually, type Server, start, targets, test as plainTest, type Tree, within } from "../harness.ts";
import { ztsLibphp } from "../zts.ts";
import { configure, phprun, poolOf, refusedReload, reload } from "./control.ts";
import { logLines, observedPool, poolPage } from "./observe.ts";
import { allGone, ask, childrenOf, GATE, get, isRunning, STUCK, WORKER_ID, workerPids } from "./support.ts";

const test = ztsLibphp === null ? plainTest.skip : plainTest;
const target = targets.at(-1) ?? "source";

const FILES = {
  "pid.php": `<?php echo ${WORKER_ID};`,
  "host.php": "<?php echo getmypid();",
  "wait.php": `<?php ${GATE} gate($_GET['gate'] ?? 'wait'); echo 'finished by ', getmypid();`,
  "stuck.php": STUCK,
  "crash.php": "<?php FFI::cdef('int raise(int);')->raise(11);",
  "reset.php": "<?php opcache_reset(); usleep(2000); echo 'reset';",
  "health.php": `<?php ${GATE} if (getenv('SLOW')) gate('health'); echo 'fine';`,
};

const begin = async (pool: Tree, rest: Tree = {}): Promise<Server> =>
  await start({ isolation: "thread", target, files: FILES, config: observedPool(pool, rest) });

const php: Tree = { isolation: "thread", libphp: ztsLibphp ?? "auto", ini: { "ffi.enable": "1" } };

const hostsOf = (server: Server): number[] => childrenOf(server.pid).filter(isRunning);

const serving = async (server: Server): Promise<void> => {
  expect((await get(server, "/pid.php")).status).toBe(200);
};

/** Lets a thread go on that is stuck: somebody opens the other end of its pipe. */
const release = (server: Server, id: string): void =>
  writeFileSync(join(server.folder, "records", `${id}.pipe`), "", { flag: "w" });

describe(`hosts of threads${ztsLibphp === null ? " (skipped: no ZTS libphp, run ./setup.sh --zts)" : ""}`, () => {
  test("a stopped host: what runs in it gets 504, the next one serves, and it does not outlive that", async () => {
    await using server = await begin({ worker_count: 2, timeout_ms: 300, kill_after_ms: 200 });
    const [host = 0] = hostsOf(server);
    using running = await ask(server, "/wait.php");
    await server.record("wait", /here/);
    process.kill(host, "SIGSTOP");
    expect((await running.response()).status).toBe(504);
    const next = Number((await get(server, "/host.php")).text);
    expect(next).not.toBe(host);
    await allGone([host]);
    expect(hostsOf(server)).toEqual([next]);
    expect(await poolPage(server)).toMatchObject({
      restarts: { crash: 0 },
      requests: { lost: 0, timed_out: 1 },
    });
  });

  test("a stopped host that is idle: what waits for it is served by it when it goes on, or by the next", async () => {
    await using server = await begin({ worker_count: 2 });
    const [host = 0] = hostsOf(server);
    await workerPids(server, 2);
    await serving(server);
    process.kill(host, "SIGSTOP");
    const first = get(server, "/host.php");
    await eventually("it waits", async () => ((await poolOf(server)).queue.waiting === 1 ? true : undefined));
    process.kill(host, "SIGCONT");
    expect((await first).text).toBe(String(host));
    process.kill(host, "SIGSTOP");
    const second = get(server, "/host.php");
    await eventually("it waits", async () => ((await poolOf(server)).queue.waiting === 1 ? true : undefined));
    await reload(server);
    expect(Number((await second).text)).not.toBe(host);
    await allGone([host]);
    expect((await poolPage(server)).requests.lost).toBe(0);
  });

  test("a thread that comes back late ends, and what it has to say reaches nobody", async () => {
    await using server = await begin({ worker_count: 4, timeout_ms: 1200, kill_after_ms: 100 }, { php });
    const [host = 0] = hostsOf(server);
    const stuck = get(server, "/stuck.php?id=late");
    await server.record("late", /started/);
    // Its host stays for this one, whose time is up later.
    await Bun.sleep(1100);
    const other = get(server, "/wait.php");
    await server.record("wait", /here/);
    expect((await stuck).status).toBe(504);
    release(server, "late");
    await server.waitForLog(
      /info {2}a lost worker came back, and has ended pool=default worker=\d gen=1 pid=\d+/,
    );
    server.openGate("wait");
    expect((await other).text).toBe(`finished by ${host}`);
    for (let i = 0; i < 8; i++) await serving(server);
    expect((await poolPage(server)).restarts).toMatchObject({ lost: 1, crash: 0, host: 0 });
  });

  test("a stop does not wait for a thread that never ends, nor does the end of the front", async () => {
    await using patient = await begin(
      { worker_count: 2, timeout_ms: 0 },
      { php, server: { stop_timeout_ms: 200 } },
    );
    const hosts = hostsOf(patient);
    const stuck = get(patient, "/stuck.php?id=one");
    await patient.record("one", /started/);
    patient.signal("SIGTERM");
    expect((await stuck).status).toBe(503);
    expect(await within(patient.exited, "it has ended")).toBe(0);
    await allGone(hosts);

    await using killed = await begin({ worker_count: 2, timeout_ms: 0 }, { php });
    using second = await ask(killed, "/stuck.php?id=two");
    await killed.record("two", /started/);
    const left = hostsOf(killed);
    killed.signal("SIGKILL");
    await allGone(left);
    await second.end();
  });

  test("a crash in a host that drains costs what it still had, and the new one nothing", async () => {
    await using server = await begin({ worker_count: 2 }, { php });
    const old = get(server, "/wait.php?gate=old");
    await server.record("old", /here/);
    await reload(server);
    const fresh = get(server, "/wait.php?gate=fresh");
    await server.record("fresh", /here/);
    const [, draining] = (await poolPage(server)).generations;
    process.kill(draining?.hostPid ?? 0, "SIGSEGV");
    expect((await old).status).toBe(502);
    server.openGate("fresh");
    expect((await fresh).status).toBe(200);
    expect(await poolPage(server)).toMatchObject({ generation: 2, restarts: { host: 0, crash: 0 } });
  });

  test("a crash during a reload, and one of the candidate itself, leave a server that serves", async () => {
    await using server = await begin({ worker_count: 1 }, { php });
    const [host = 0] = hostsOf(server);
    const slow = { worker_count: 1, env: { SLOW: "1" } };
    configure(server, observedPool(slow, { php, health: { path: "/health.php" } }));
    const outcome = phprun(server, "reload");
    await server.record("health", /here/);
    expect((await get(server, "/crash.php")).status).toBe(502);
    await allGone([host]);
    const answer = get(server, "/host.php");
    server.openGate("health");
    expect((await answer).status).toBe(200);
    expect(await outcome).toMatchObject({ code: 0 });

    configure(server, observedPool({ worker_count: 1 }, { php, health: { path: "/crash.php" } }));
    const before = (await get(server, "/host.php")).text;
    expect(await refusedReload(server)).toMatch(/its host ended with SIGSEGV|signal 11 \(SIGSEGV\)/);
    expect((await get(server, "/host.php")).text).toBe(before);
  });

  test("opcache_reset() again and again, and reloads between: no request is lost, and hosts are few", async () => {
    await using server = await begin({ worker_count: 4 }, { php });
    const enough = new AbortController();
    const statuses = new Map<number, number>();
    const client = async (path: string): Promise<void> => {
      while (!enough.signal.aborted) {
        const { status } = await get(server, path);
        statuses.set(status, (statuses.get(status) ?? 0) + 1);
      }
    };
    const clients = ["/reset.php", "/reset.php", "/pid.php", "/pid.php"].map(client);
    for (let round = 0; round < 3; round++) await reload(server);
    enough.abort();
    await Promise.all(clients);
    expect([...statuses.keys()]).toEqual([200]);
    const { requests, restarts, generation } = await poolPage(server);
    expect(requests).toMatchObject({ lost: 0, timed_out: 0 });
    expect(restarts).toMatchObject({ host: 0, crash: 0, lost: 0 });
    expect(restarts.renew).toBeLessThanOrEqual(2);
    // One that was being prepared when a reload came has had its number.
    expect(generation).toBeLessThanOrEqual(1 + 2 * 3 + 2);
    await eventually("one host is left", () => (hostsOf(server).length <= 2 ? true : undefined));
  });

  test("a reload takes workers from processes to threads and back, under load, and loses nothing", async () => {
    const as = (isolation: string): Tree => observedPool({ worker_count: 2 }, { php: { ...php, isolation } });
    await using server = await start({ target, isolation: "process", files: FILES, config: as("process") });
    const enough = new AbortController();
    const wrong: string[] = [];
    let answered = 0;
    const client = async (): Promise<void> => {
      while (!enough.signal.aborted) {
        const { status, text } = await get(server, "/pid.php");
        if (status !== 200) wrong.push(`${status} ${text.slice(0, 80)}`);
        answered++;
      }
    };
    const clients = [client(), client(), client()];
    for (const isolation of ["thread", "process", "thread"]) {
      const so = answered;
      configure(server, as(isolation));
      await reload(server);
      expect(await poolOf(server)).toMatchObject({ isolation });
      await eventually("requests go on", () => (answered > so + 20 ? true : undefined));
    }
    enough.abort();
    await Promise.all(clients);
    expect(wrong).toEqual([]);
    expect((await poolPage(server)).requests).toMatchObject({ lost: 0 });
    expect(logLines(server, / error /)).toEqual([]);
  });
});
