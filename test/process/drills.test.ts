import { expect } from "bun:test";
import { eventually, type Server, start, test } from "../harness.ts";
import {
  ask,
  childrenOf,
  GATE,
  get,
  isRunning,
  onePool,
  startedPids,
  underEachIsolation,
  WORKER_ID,
  workerPids,
} from "./support.ts";

/*
 * A pool under stress: too many requests, clients that leave, processes that end again and again. Single deaths are
 * in crashes.test.ts, scripts that take too long in deadlines.test.ts. Each drill ends by showing that the next
 * request is served.
 */

const files = {
  "pid.php": `<?php echo ${WORKER_ID};`,
  "wait.php": `<?php ${GATE} gate($_GET['gate'] ?? 'wait'); echo getmypid();`,
  "kill.php": "<?php posix_kill(getmypid(), (int) $_GET['signal']); echo 'alive';",
};

const serving = async (server: Server): Promise<void> => {
  expect((await get(server, "/pid.php")).status).toBe(200);
};

test("workers that die in one request after another are replaced each time, and the pool goes on", async () => {
  await using server = await start({ files, config: onePool({ worker_count: 2 }) });
  for (let i = 0; i < 30; i++) expect((await get(server, "/kill.php?signal=11")).status).toBe(502);
  await serving(server);
  expect(server.log.text).not.toContain("given up");
});

underEachIsolation(({ begin }) => {
  test("workers that have served max_requests are replaced under load, and no request is lost", async () => {
    await using server = await begin({ files, config: onePool({ worker_count: 2, max_requests: 20 }) });
    const pids = new Set<string>();
    const client = async (): Promise<void> => {
      for (let i = 0; i < 60; i++) {
        const { status, text } = await get(server, "/pid.php");
        expect(status).toBe(200);
        pids.add(text);
      }
    };
    await Promise.all(Array.from({ length: 8 }, client));
    // 480 requests, 18 to 20 for each worker and the few that were in the ring: every end was noticed.
    expect(pids.size).toBeGreaterThan(15);
    await serving(server);
  });

  test("a full pool and a full queue refuse at once, with 503 and Retry-After", async () => {
    await using server = await begin({ files, config: onePool({ worker_count: 1, queue: { max: 0 } }) });
    // Before that nobody would take it.
    await workerPids(server, 1);
    using running = await ask(server, "/wait.php");
    await server.record("wait", /here/);
    const others = await Promise.all(Array.from({ length: 40 }, () => ask(server, "/pid.php")));
    const refused = await eventually("one is refused", () => others.find(({ received }) => received !== ""));
    const answer = await refused.response();
    expect(answer.status).toBe(503);
    expect(answer.header("Retry-After")).toMatch(/^\d+$/);
    server.openGate("wait");
    expect((await running.response()).status).toBe(200);
    for (const connection of others) connection.close();
    await serving(server);
  });

  test("a request that waits too long for a worker gets 503, and the worker's own goes on", async () => {
    await using server = await begin({
      files,
      config: onePool({ worker_count: 1, queue: { timeout_ms: 150 } }),
    });
    using running = await ask(server, "/wait.php");
    await server.record("wait", /here/);
    const answers = await Promise.all(Array.from({ length: 30 }, () => get(server, "/pid.php")));
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([503]));
    expect(answers[0]?.header("Retry-After")).toMatch(/^\d+$/);
    server.openGate("wait");
    expect((await running.response()).status).toBe(200);
    await serving(server);
  });

  test("a client that leaves while it waits in the queue costs no worker", async () => {
    await using server = await begin({
      files: {
        ...files,
        "count.php": `<?php ${GATE} file_put_contents(getenv('RECORDS') . '/count', "ran\\n", FILE_APPEND);`,
      },
      config: onePool({ worker_count: 1 }),
    });
    using running = await ask(server, "/wait.php");
    await server.record("wait", /here/);
    const leaving = await ask(server, "/count.php");
    const staying = await ask(server, "/count.php");
    await waitForRequests(server);
    // Left for good once the front has looked after its waiting requests.
    leaving.close();
    await Bun.sleep(250);
    server.openGate("wait");
    expect((await running.response()).status).toBe(200);
    expect((await staying.response()).status).toBe(200);
    expect(await server.record("count", /ran/)).toBe("ran\n");
  });
});

test("workers that die right after their start are started again ever more slowly", async () => {
  await using server = await start({ files, config: onePool({ worker_count: 1 }) });
  const killed = new Set<number>();
  const began = performance.now();
  await eventually("it has died four times", () => {
    for (const pid of startedPids(server)) {
      if (killed.has(pid) || !isRunning(pid)) continue;
      process.kill(pid, "SIGKILL");
      killed.add(pid);
    }
    return killed.size >= 4 ? true : undefined;
  });
  // 100 + 200 + 400 ms lie between.
  expect(performance.now() - began).toBeGreaterThan(650);
  await serving(server);
});

test("a host that cannot be started again is tried ever more slowly, one at a time", async () => {
  await using server = await start({ files, config: onePool({ worker_count: 1 }) });
  const hosts = new Set<number>();
  const began = performance.now();
  await eventually("it has died four times", () => {
    for (const pid of childrenOf(server.pid)) {
      if (hosts.has(pid) || !isRunning(pid)) continue;
      process.kill(pid, "SIGKILL");
      hosts.add(pid);
    }
    return hosts.size >= 4 ? true : undefined;
  });
  // The second is started at once; 500 + 1000 ms lie between the others.
  expect(performance.now() - began).toBeGreaterThan(1400);
  await serving(server);
  expect(childrenOf(server.pid)).toBeArrayOfSize(1);
});

/** The front takes requests in the order they come: one that it answers itself tells that all before it are in. */
async function waitForRequests(server: Server): Promise<void> {
  expect((await get(server, "/nothing-here.txt")).status).toBeGreaterThan(0);
}
