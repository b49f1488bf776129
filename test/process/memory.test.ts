import { describe, expect } from "bun:test";
import { eventually, type Server, start, targets, test, type Tree } from "../harness.ts";
import { ztsLibphp } from "../zts.ts";
import { logLines, observedPool, poolPage } from "./observe.ts";
import {
  allGone,
  ask,
  childrenOf,
  GATE,
  get,
  isRunning,
  memoryKb,
  underEachIsolation,
  WORKER_ID,
  workerPids,
} from "./support.ts";

/* Workers that hold too much: replaced between two requests, killed only when one request takes far too much. */

/** Memory that PHP knows nothing of, as an extension would take it. It is never given back. */
const LEAK = `
function leak(int $megabytes): void {
  static $libc;
  $libc ??= FFI::cdef('void *malloc(size_t); void *memset(void *, int, size_t);');
  $libc->memset($libc->malloc($megabytes << 20), 1, $megabytes << 20);
}
`;

const files = {
  "pid.php": `<?php echo ${WORKER_ID};`,
  "leak.php": `<?php ${LEAK} leak((int) $_GET['mb']); echo getmypid();`,
  // Takes its time, so that it is seen while it grows.
  "grow.php": `<?php ${LEAK} for ($i = 0; $i < 400; $i++) { leak(4); usleep(10000); } echo 'done';`,
  "grow-after.php": `<?php ${LEAK} echo 'answer'; fastcgi_finish_request(); for (;;) { leak(4); usleep(10000); }`,
  "grow-begun.php": `<?php ${LEAK} while (ob_get_level() > 0) ob_end_flush(); echo 'x'; flush(); for (;;) { leak(4); usleep(10000); }`,
  "hold.php": `<?php ${GATE} $all = str_repeat('x', (int) $_GET['mb'] << 20); gate('hold'); echo ${WORKER_ID};`,
  "take-after.php":
    "<?php echo 'answer'; fastcgi_finish_request(); $all = []; for (;;) { $all[] = str_repeat('x', 4 << 20); usleep(10000); }",
  "take-begun.php":
    "<?php while (ob_get_level() > 0) ob_end_flush(); echo 'x'; flush(); $all = []; for (;;) { $all[] = str_repeat('x', 4 << 20); usleep(10000); }",
  "grow-php.php": "<?php $all = []; for (;;) $all[] = str_repeat('x', 1 << 20);",
  "after.php": `<?php ${LEAK} echo getmypid(); fastcgi_finish_request(); leak((int) $_GET['mb']);`,
};

const ini = { "ffi.enable": "1" };

const served = async (server: Server): Promise<number> => {
  const { status, text } = await get(server, "/pid.php");
  expect(status).toBe(200);
  return Number(text);
};

test("a page that leaks 10 MB per request costs no request, and the sum stays bounded", async () => {
  const limitMb = 64;
  await using server = await start({
    files,
    config: observedPool({ worker_count: 2, memory_limit_mb: limitMb, ini }),
  });
  let most = 0;
  let left = 300;
  const pids = new Set<string>();
  const client = async (): Promise<void> => {
    while (left-- > 0) {
      const { status, text } = await get(server, "/leak.php?mb=10");
      expect(status).toBe(200);
      pids.add(text);
      if (left % 10 !== 0) continue;
      const now = (await poolPage(server)).workers.map(({ pid }) => pid).filter(isRunning);
      let sum = 0;
      for (const pid of now) {
        try {
          sum += memoryKb(pid, "Private_Dirty");
        } catch {
          // It has ended meanwhile.
        }
      }
      most = Math.max(most, sum);
    }
  };
  await Promise.all(Array.from({ length: 4 }, client));
  const { restarts, requests } = await poolPage(server);
  console.log(`300 requests: ${pids.size} workers, ${Math.round(most / 1024)} MiB at most in two of them`);
  // A worker has what PHP needs, and some six requests.
  expect(restarts.memory).toBeGreaterThanOrEqual(300 / 7 - 2);
  expect(requests).toMatchObject({ served: 300, lost: 0 });
  expect(Object.entries(restarts).filter(([reason, count]) => count > 0 && reason !== "memory")).toEqual([]);
  // The request that crosses the limit still runs; Linux counts pages a little late.
  expect(most / 1024).toBeLessThan(2 * (limitMb + 10 + 6));
  expect(logLines(server, /info {2}replacing a worker: it held \d+ MiB after its request/).length).toBe(
    restarts.memory,
  );
  await served(server);
});

test("a worker is replaced right after the request with which it crosses its limit", async () => {
  await using server = await start({
    files,
    config: observedPool({ worker_count: 1, memory_limit_mb: 50, ini }),
  });
  for (const path of ["/leak.php?mb=80", "/after.php?mb=80"]) {
    const before = await served(server);
    const from = server.log.mark();
    expect(await get(server, path)).toMatchObject({ status: 200, text: String(before) });
    await server.waitForLog(
      /replacing a worker: it held \d+ MiB after its request .*worker=0 gen=1 pid=/,
      from,
    );
    expect(await served(server)).not.toBe(before);
    await allGone([before]);
  }
  expect((await poolPage(server)).restarts).toMatchObject({ memory: 2, crash: 0, memory_kill: 0 });
});

test("a request that takes more than memory_kill_mb is killed while it runs: 502, and the log says why", async () => {
  await using server = await start({
    files,
    config: observedPool({ worker_count: 1, memory_limit_mb: 50, memory_kill_mb: 120, retry: true, ini }),
  });
  const before = await served(server);
  expect((await get(server, "/grow.php")).status).toBe(502);
  await server.waitForLog(
    new RegExp(
      `warn {2}killed a worker: it holds \\d+ MiB of its own, a request may take 120 MiB pool=default worker=0 gen=1 pid=${before} script=\\S+/grow\\.php uri="?/grow\\.php"?`,
    ),
  );
  expect(await served(server)).not.toBe(before);
  await allGone([before]);
  // Told once, as what it was; and not tried again, which would only take as much again.
  expect(logLines(server, /killed a worker|a worker died/)).toBeArrayOfSize(1);
  expect(await poolPage(server)).toMatchObject({
    restarts: { memory_kill: 1, crash: 0 },
    requests: { lost: 1, retried: 0 },
  });
});

test("a worker killed for its memory has answered before, or is cut off in its answer", async () => {
  await using server = await start({
    files,
    config: observedPool({ worker_count: 1, memory_limit_mb: 50, memory_kill_mb: 120, ini }),
  });
  const before = await served(server);
  const after = await get(server, "/grow-after.php");
  expect([after.status, after.text, after.whole]).toEqual([200, "answer", true]);
  const second = await served(server);
  expect(second).not.toBe(before);
  const begun = await get(server, "/grow-begun.php");
  expect([begun.status, begun.text, begun.whole]).toEqual([200, "x", false]);
  expect(await served(server)).not.toBe(second);
  expect(logLines(server, /killed a worker: it holds/)).toBeArrayOfSize(2);
  expect(await poolPage(server)).toMatchObject({ restarts: { memory_kill: 2 }, requests: { lost: 0 } });
});

underEachIsolation(({ begin }) => {
  test("what PHP's own memory_limit forbids is PHP's error, and its worker goes on", async () => {
    await using server = await begin({
      files,
      config: observedPool({ worker_count: 1, memory_limit_mb: 200, ini: { memory_limit: "64M" } }),
    });
    const before = await served(server);
    expect((await get(server, "/grow-php.php")).status).toBe(500);
    await server.waitForLog(/Allowed memory size of 67108864 bytes exhausted/);
    expect(await served(server)).toBe(before);
    const { restarts } = await poolPage(server);
    expect(restarts).toMatchObject({ memory: 0, memory_kill: 0, crash: 0 });
  });
});

test("an idle worker that holds more than its limit is replaced, and requests go on", async () => {
  await using server = await start({
    files,
    // No worker can hold so little: the monitor finds them idle, not they themselves after a request.
    config: observedPool({ worker_count: 2, memory_limit_mb: 1 }),
  });
  const before = await workerPids(server, 2);
  await server.waitForLog(
    /info {2}replacing a worker: it holds \d+ MiB of its own, its limit is 1 MiB pool=default worker=\d gen=1 pid=/,
  );
  await allGone(before);
  for (let i = 0; i < 20; i++) await served(server);
  const { restarts, requests } = await poolPage(server);
  expect(restarts.memory).toBeGreaterThanOrEqual(2);
  expect(restarts).toMatchObject({ memory_kill: 0, crash: 0, exit: 0, idle: 0 });
  expect(requests).toMatchObject({ served: 20, lost: 0 });
});

const threadTest = test.skipIf(ztsLibphp === null);

describe(`workers in threads${ztsLibphp === null ? " (skipped: no ZTS libphp, run ./setup.sh --zts)" : ""}`, () => {
  const begin = async (pool: Tree) =>
    await start({
      isolation: "thread",
      target: targets.at(-1) ?? "source",
      files,
      config: observedPool({ ...pool, ini: { ...ini, memory_limit: "-1" } }),
    });
  const hostOf = (server: Server): number[] => childrenOf(server.pid).filter(isRunning);

  threadTest("one that was seen over its limit is replaced after its request, in the same host", async () => {
    await using server = await begin({ worker_count: 2, memory_limit_mb: 50 });
    const hosts = hostOf(server);
    const held = await ask(server, "/hold.php?mb=80");
    await server.waitForLog(
      /info {2}replacing a worker: it holds 8\d MiB of its own, its limit is 50 MiB pool=default worker=\d gen=1 pid=\d+/,
    );
    const during = await poolPage(server);
    expect(Math.max(...during.workers.map(({ memory }) => memory.ownBytes ?? 0))).toBeGreaterThan(80 << 20);
    server.openGate("hold");
    const { status, text } = await held.response();
    held.close();
    expect(status).toBe(200);
    await allGone([Number(text)]);
    await workerPids(server, 2);
    expect(hostOf(server)).toEqual(hosts);
    expect((await poolPage(server)).restarts).toMatchObject({ memory: 1, memory_kill: 0, crash: 0, host: 0 });
  });

  threadTest(
    "one over memory_kill_mb has answered before, or is cut off in its answer, and its host lives on",
    async () => {
      await using server = await begin({ worker_count: 1, memory_limit_mb: 200, memory_kill_mb: 201 });
      const hosts = hostOf(server);
      const after = await get(server, "/take-after.php");
      expect([after.status, after.text, after.whole]).toEqual([200, "answer", true]);
      await served(server);
      const begun = await get(server, "/take-begun.php");
      expect([begun.status, begun.text, begun.whole]).toEqual([200, "x", false]);
      await served(server);
      expect(
        logLines(server, /Memory of a request exhausted: it holds \d+ MiB, pool "default" allows 201 MiB/),
      ).toBeArrayOfSize(2);
      expect(hostOf(server)).toEqual(hosts);
      expect(await poolPage(server)).toMatchObject({
        restarts: { memory_kill: 0, crash: 0, lost: 0 },
        requests: { lost: 0 },
      });
    },
  );

  threadTest(
    "what extensions keep is the host's: over its bound it is replaced, and no request is lost",
    async () => {
      await using server = await begin({ worker_count: 2, memory_limit_mb: 16 });
      const [host = 0] = hostOf(server);
      await eventually("its memory has been looked at", async () =>
        ((await poolPage(server)).generations[0]?.residentBytes ?? 0) > 0 ? true : undefined,
      );
      // What it has for itself, what two workers may hold, and 256 MiB.
      let answered = 0;
      await eventually("the next host serves", async () => {
        const { status } = await get(
          server,
          hostOf(server).includes(host) && answered < 5 ? "/leak.php?mb=100" : "/pid.php",
        );
        expect(status).toBe(200);
        answered++;
        return isRunning(host) ? undefined : true;
      });
      await server.waitForLog(
        /warn {2}replacing the whole generation: .*holds \d{3} MiB of its own, its bound is/,
      );
      expect(await poolPage(server)).toMatchObject({
        requests: { lost: 0 },
        restarts: { crash: 0, host: 0 },
      });
    },
  );
});
