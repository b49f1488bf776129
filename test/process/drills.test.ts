import { expect } from "bun:test";
import { createServer } from "node:net";
import { eventually, type Server, start, test } from "../harness.ts";
import {
  allGone,
  ask,
  childrenOf,
  GATE,
  get,
  isRunning,
  onePool,
  startedPids,
  workerPids,
} from "./support.ts";

/*
 * What can go wrong while a request runs. Each drill costs the request that caused it, and ends by showing that the
 * next one is served.
 */

const files = {
  "pid.php": "<?php echo getmypid();",
  "wait.php": `<?php ${GATE} gate($_GET['gate'] ?? 'wait'); echo getmypid();`,
  "kill.php": "<?php posix_kill(getmypid(), (int) $_GET['signal']); echo 'alive';",
  "flush-kill.php":
    "<?php while (ob_get_level() > 0) ob_end_flush(); echo 'first part'; flush(); usleep(20000); posix_kill(getmypid(), 9); echo 'second part';",
  "recursion.php":
    "<?php class A { function __get($n) { return (new A)->{$n . 'x'}; } } $d = fn($x) => array_map($GLOBALS['d'], [$x]); $d(1);",
  "loop.php":
    "<?php register_shutdown_function(fn() => file_put_contents(getenv('RECORDS') . '/shutdown', 'ran')); for (;;);",
  "sleep.php": "<?php sleep(60); echo 'woke up';",
  "read.php": "<?php $s = stream_socket_client($_GET['to']); stream_set_timeout($s, 60); echo fread($s, 1);",
  "shutdown-loop.php": "<?php register_shutdown_function(function () { for (;;); }); for (;;);",
  "late-shutdown-loop.php": "<?php register_shutdown_function(function () { for (;;); }); echo 'done';",
  "finished-loop.php":
    "<?php echo 'answer'; fastcgi_finish_request(); while (true) { @file_get_contents('/dev/null'); usleep(1000); }",
  "finished-stuck.php":
    "<?php echo 'answer'; fastcgi_finish_request(); $s = stream_socket_client($_GET['to']); stream_set_timeout($s, 60); fread($s, 1);",
};

const serving = async (server: Server): Promise<void> => {
  expect((await get(server, "/pid.php")).status).toBe(200);
};

for (const [signal, name] of [
  [11, "SIGSEGV"],
  [9, "SIGKILL"],
  [6, "SIGABRT"],
  [7, "SIGBUS"],
] as const) {
  test(`a worker that dies by ${name} costs its request a 502, and is logged once with all there is to know`, async () => {
    await using server = await start({ files, config: onePool({ worker_count: 1 }) });
    const [pid] = await workerPids(server, 1);
    const answer = await get(server, `/kill.php?signal=${signal}`);
    expect(answer.status).toBe(502);
    await serving(server);
    const line = new RegExp(
      `error a worker died: signal ${signal} \\(${name}\\) pool=default worker=0 gen=1 pid=${pid} script=\\S+/kill\\.php uri="?/kill\\.php\\?signal=${signal}"? request_id=\\S+( in=.*)?$`,
      "m",
    );
    await server.waitForLog(line);
    const told = server.log.text.split("\n").filter((text) => /signal|died|crash|kill\.php/i.test(text));
    expect(told).toBeArrayOfSize(1);
  });
}

test("a worker that exits in the middle of a request costs its request a 502", async () => {
  // FFI stands in for an extension that calls exit().
  const script = "<?php FFI::cdef('void exit(int);')->exit(3);";
  await using server = await start({
    files: { ...files, "exit.php": script },
    config: onePool({ worker_count: 1, ini: { "ffi.enable": "1" } }),
  });
  expect((await get(server, "/exit.php")).status).toBe(502);
  await server.waitForLog(
    /a worker died: something in it called exit\(\) pool=default worker=0 gen=1 pid=\d+ script=\S+exit\.php/,
  );
  await serving(server);
});

test("workers that die in one request after another are replaced each time, and the pool goes on", async () => {
  await using server = await start({ files, config: onePool({ worker_count: 2 }) });
  for (let i = 0; i < 30; i++) expect((await get(server, "/kill.php?signal=11")).status).toBe(502);
  await serving(server);
  expect(server.log.text).not.toContain("given up");
});

test("workers that have served max_requests are replaced under load, and no request is lost", async () => {
  await using server = await start({ files, config: onePool({ worker_count: 2, max_requests: 20 }) });
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

test("a response that had begun is cut off when its worker dies, never ended as if it were whole", async () => {
  await using server = await start({ files, config: onePool({ worker_count: 1 }) });
  const answer = await get(server, "/flush-kill.php");
  expect(answer).toMatchObject({ status: 200, text: "first part", whole: false });
  await serving(server);
});

test("endless recursion in C ends the worker, not the server", async () => {
  await using server = await start({
    files,
    config: onePool({ worker_count: 1, ini: { memory_limit: "-1" } }),
  });
  const { status } = await get(server, "/recursion.php");
  // From PHP 8.3 on the engine notices and raises an Error.
  expect([500, 502]).toContain(status);
  await serving(server);
});

test("an endless loop ends at its soft deadline with 504, and its shutdown functions run", async () => {
  await using server = await start({ files, config: onePool({ worker_count: 1, timeout_ms: 200 }) });
  const [pid] = await workerPids(server, 1);
  expect((await get(server, "/loop.php")).status).toBe(504);
  await server.record("shutdown", /ran/);
  await server.waitForLog(/Maximum request time exceeded.* worker=0 gen=1 pid=\d+ script=\S+loop\.php/);
  expect((await get(server, "/pid.php")).text).toBe(String(pid));
});

test("a script asleep is woken by its soft deadline", async () => {
  await using server = await start({ files, config: onePool({ worker_count: 1, timeout_ms: 200 }) });
  const [pid] = await workerPids(server, 1);
  expect((await get(server, "/sleep.php")).status).toBe(504);
  expect((await get(server, "/pid.php")).text).toBe(String(pid));
});

const impatient = { worker_count: 1, timeout_ms: 150, kill_after_ms: 150 };

test("a worker blocked in a socket read is killed after its deadline: 504, and the next request is served", async () => {
  using silent = await SilentPeer.listen();
  await using server = await start({ files, config: onePool(impatient) });
  const [pid = 0] = await workerPids(server, 1);
  expect((await get(server, `/read.php?to=${silent.address}`)).status).toBe(504);
  await server.waitForLog(/warn {2}killed a worker: .*worker=0 gen=1 pid=\d+ script=\S+read\.php uri=/);
  await serving(server);
  await allGone([pid]);
  expect(server.log.text).not.toContain("a worker died");
});

for (const path of ["/shutdown-loop.php", "/late-shutdown-loop.php"]) {
  test(`a shutdown function without an end is killed: ${path}`, async () => {
    await using server = await start({ files, config: onePool(impatient) });
    expect((await get(server, path)).status).toBe(504);
    await serving(server);
  });
}

test("what goes on after fastcgi_finish_request() has its deadline too", async () => {
  using silent = await SilentPeer.listen();
  await using server = await start({ files, config: onePool(impatient) });
  expect(await get(server, "/finished-loop.php")).toMatchObject({ status: 200, text: "answer", whole: true });
  await server.waitForLog(/Maximum request time exceeded/);
  await serving(server);
  const answer = await get(server, `/finished-stuck.php?to=${silent.address}`);
  expect(answer).toMatchObject({ status: 200, text: "answer", whole: true });
  await server.waitForLog(/killed a worker/);
  await serving(server);
});

test("requests that wait when their host dies are served by the next host", async () => {
  await using server = await start({ files, config: onePool({ worker_count: 1 }) });
  const [worker = 0] = await workerPids(server, 1);
  using running = await ask(server, "/wait.php");
  await server.record("wait", /here/);
  // In the ring, and in the queue behind it.
  const waiting = await Promise.all(Array.from({ length: 40 }, () => ask(server, "/pid.php")));
  await waitForRequests(server);
  process.kill(childrenOf(server.pid)[0] ?? 0, "SIGKILL");
  expect((await running.response()).status).toBe(502);
  for (const connection of waiting) {
    const { status, text } = await connection.response();
    expect(status).toBe(200);
    expect(Number(text)).not.toBe(worker);
    connection.close();
  }
  await serving(server);
});

test("a full pool and a full queue refuse at once, with 503 and Retry-After", async () => {
  await using server = await start({ files, config: onePool({ worker_count: 1, queue: { max: 0 } }) });
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
  await using server = await start({
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
  await using server = await start({
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

/** A peer that takes connections and says nothing. */
class SilentPeer implements Disposable {
  readonly address: string;
  readonly #close: () => void;

  private constructor(address: string, close: () => void) {
    this.address = address;
    this.#close = close;
  }

  static async listen(): Promise<SilentPeer> {
    const taken: { destroy(): void }[] = [];
    const server = createServer((socket) => {
      socket.on("error", () => undefined);
      taken.push(socket);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as { port: number };
    return new SilentPeer(`tcp://127.0.0.1:${port}`, () => {
      for (const socket of taken) socket.destroy();
      server.close();
    });
  }

  [Symbol.dispose](): void {
    this.#close();
  }
}

/** The front takes requests in the order they come: one that it answers itself tells that all before it are in. */
async function waitForRequests(server: Server): Promise<void> {
  expect((await get(server, "/nothing-here.txt")).status).toBeGreaterThan(0);
}
