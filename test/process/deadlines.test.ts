import { afterAll, beforeAll, describe, expect } from "bun:test";
import { Database, whyNoDatabase } from "../database.ts";
import { eventually, type HttpResponse, type Server, start, test, type Tree, within } from "../harness.ts";
import { logLines, observedPool, poolPage, SilentPeer } from "./observe.ts";
import {
  allGone,
  ask,
  childrenOf,
  get,
  isRunning,
  type Under,
  underEachIsolation,
  WORKER_ID,
  workerPids,
} from "./support.ts";

/*
 * Scripts that take too long, in every way there is. First they are asked to end, with an error of PHP's own; who does
 * not hear that is killed, or lost when it is a thread. Either way the client has its 504 in time, and the next request
 * is served.
 */

const TIMEOUT_MS = 200;
const KILL_AFTER_MS = 200;
/** For a sweep, a fork, and a machine that has other things to do. */
const SLACK_MS = 1500;
const pool = { worker_count: 1, timeout_ms: TIMEOUT_MS, kill_after_ms: KILL_AFTER_MS };

const ini = { "ffi.enable": "1" };

/** Ended by the error: the worker lives on, what PHP does at the end of a request has been done. */
const hears: Record<string, string> = {
  "a loop": "for (;;);",
  "a loop of function calls": "for (;;) strlen(str_repeat('x', 10));",
  "sleep()": "sleep(60);",
  "a loop of usleep()": "for (;;) usleep(1000);",
  "time_nanosleep()": "while (true) time_nanosleep(60, 0);",
  "stream_select()":
    "$r = [stream_socket_client('SILENT')]; $w = $e = null; for (;;) stream_select($r, $w, $e, 60);",
  "a loop that forgets set_time_limit()": "set_time_limit(0); ignore_user_abort(true); for (;;);",
  "a loop in an output callback": "ob_start(function ($text) { for (;;); }); echo 'text'; ob_end_flush();",
  "a loop in a destructor": "class A { function __destruct() { for (;;); } } $a = new A; unset($a);",
  "a loop in a finally block": "try { throw new Exception; } catch (Exception) {} finally { for (;;); }",
  "a loop that catches everything": "for (;;) { try { for (;;); } catch (Throwable) {} }",
  "a lock held by another": `
    $held = fopen(__FILE__, 'r'); flock($held, LOCK_EX);
    $other = fopen(__FILE__, 'r'); flock($other, LOCK_EX); for (;;);`,
  "pcntl_wait()": `
    $child = pcntl_fork();
    if ($child === 0) { for ($i = 0; $i < 5000 && posix_getppid() === (int) $_GET['parent']; $i++) usleep(1000); posix_kill(getmypid(), 9); }
    file_put_contents(getenv('RECORDS') . '/child-' . $number, $child);
    pcntl_wait($status); for (;;);`,
  "an endless shutdown function": "register_shutdown_function(function () { for (;;); });",
  "blocked in C until a signal comes": "FFI::cdef('int pause(void);')->pause(); for (;;);",
  "an endless generator": "function all() { for (;;) yield 1; } foreach (all() as $one);",
  "a regular expression, again and again": "for (;;) preg_match('/(a+)+$/', str_repeat('a', 30) . 'b');",
};

/** Deaf to it: in C for good, or after PHP's one chance. The worker is killed, or lost. */
const deaf: Record<string, string> = {
  "a blocked stream": "$s = stream_socket_client('SILENT'); stream_set_timeout($s, 60); fread($s, 1);",
  "curl to a silent server": "$c = curl_init('HTTP'); curl_exec($c);",
  "file_get_contents() of a silent server": "file_get_contents('HTTP');",
  "an endless shutdown function after the error":
    "register_shutdown_function(function () { for (;;); }); for (;;);",
  "a destructor after the error":
    "class A { function __destruct() { for (;;); } } $a = new A; register_shutdown_function(function () use ($a) { for (;;); }); for (;;);",
  "proc_close() of a child that lives":
    "$p = proc_open(['sleep', '8'], [], $pipes); file_put_contents(getenv('RECORDS') . '/child-' . $number, proc_get_status($p)['pid']); proc_close($p); for (;;);",
  "shell_exec()": "shell_exec('echo $$ > \"$RECORDS\"/child-' . $number . '; exec sleep 8'); for (;;);",
  "a mutex that its thread holds itself":
    "$c = FFI::cdef('int pthread_mutex_lock(void *);'); $m = FFI::new('char[64]'); $c->pthread_mutex_lock($m); $c->pthread_mutex_lock($m);",
};

function script(code: string, silent: SilentPeer): string {
  return `<?php ${code.replaceAll("SILENT", silent.address).replaceAll("HTTP", `http://127.0.0.1:${silent.port}/`)}`;
}

const served = async (server: Server): Promise<number> => {
  const { status, text } = await get(server, "/pid.php");
  expect(status).toBe(200);
  return Number(text);
};

async function timed(server: Server, path: string): Promise<HttpResponse & { tookMs: number }> {
  const begun = performance.now();
  const answer = await get(server, path);
  return { ...answer, tookMs: performance.now() - begun };
}

/** Ends what a script has left running. */
async function endChild(server: Server, number: number): Promise<void> {
  const pid = Number(await server.record(`child-${number}`, /\d+/));
  if (isRunning(pid)) process.kill(pid, "SIGKILL");
  await allGone([pid]);
}

/** One server for all of them: each has to leave it as it found it. */
class Site {
  readonly server: Server;
  readonly #silent: SilentPeer;

  private constructor(server: Server, silent: SilentPeer) {
    this.server = server;
    this.#silent = silent;
  }

  static async open(
    { begin }: Under,
    scripts: Record<string, string>,
    limits: Tree,
    before = "",
  ): Promise<Site> {
    const silent = await SilentPeer.listen();
    const files = Object.values(scripts).map((code, number) => [
      `slow-${number}.php`,
      script(`$number = ${number}; ${before} ${code}`, silent),
    ]);
    const server = await begin({
      files: { ...Object.fromEntries(files), "pid.php": `<?php echo ${WORKER_ID};` },
      config: observedPool({ ...pool, ...limits, ini }),
    });
    return new Site(server, silent);
  }

  async close(): Promise<void> {
    await this.server[Symbol.asyncDispose]();
    this.#silent[Symbol.dispose]();
  }
}

underEachIsolation((under) => {
  // A thread is refused to fork.
  const audible = Object.entries(hears).filter(([, code]) => !under.threads || !code.includes("pcntl_fork"));

  describe("a script that hears it ends with PHP's own error, 504 and a worker that lives on", () => {
    let site: Site;
    beforeAll(async () => {
      const record = "file_put_contents(getenv('RECORDS') . \"/shutdown-$number\", 'ran');";
      site = await Site.open(
        under,
        Object.fromEntries(audible),
        // Time enough to end by itself, however busy the machine is.
        { kill_after_ms: 4000 },
        `register_shutdown_function(function () use ($number) { ${record} });`,
      );
    });
    afterAll(async () => await site.close());

    for (const [number, [what, code]] of audible.entries()) {
      test(what, async () => {
        const { server } = site;
        const from = server.log.mark();
        const worker = await served(server);
        const before = await poolPage(server);
        const { status, tookMs } = await timed(server, `/slow-${number}.php?parent=${worker}`);
        expect(status).toBe(504);
        expect(tookMs).toBeWithin(TIMEOUT_MS, TIMEOUT_MS + SLACK_MS);
        expect(await served(server)).toBe(worker);
        await server.record(`shutdown-${number}`, /ran/);
        await server.waitForLog(
          new RegExp(
            `error PHP Fatal error: {2}Maximum request time exceeded \\(timeout_ms of pool "default"\\) in \\S+.* on line \\d+ pool=default worker=0 gen=1 pid=${worker} script=\\S+/slow-${number}\\.php`,
          ),
          from,
        );
        expect(server.log.text).not.toMatch(/worker died|killed a worker|does not come back/);
        if (code.includes("/child-")) await endChild(server, number);
        const { requests, restarts } = await poolPage(server);
        expect(requests.timed_out).toBe(before.requests.timed_out + 1);
        expect([requests.lost, restarts.deadline, restarts.lost, restarts.crash]).toEqual([0, 0, 0, 0]);
      });
    }
  });

  if (under.threads) {
    test("scripts that do not hear it: 504 for each, and their threads are left behind with their host", async () => {
      const scripts = Object.entries(deaf);
      const site = await Site.open(under, deaf, {
        worker_count: scripts.length,
        kill_after_ms: KILL_AFTER_MS,
      });
      try {
        const { server } = site;
        const hosts = childrenOf(server.pid);
        await workerPids(server, scripts.length);
        const answers = await Promise.all(scripts.map((_, number) => timed(server, `/slow-${number}.php`)));
        for (const [number, { status, tookMs }] of answers.entries()) {
          const [what] = scripts[number] ?? [];
          expect([what, status]).toEqual([what, 504]);
          expect(tookMs).toBeWithin(TIMEOUT_MS, TIMEOUT_MS + KILL_AFTER_MS + SLACK_MS);
          await server.waitForLog(
            new RegExp(
              `error worker \\d does not come back from \\S+/slow-${number}\\.php, and a thread cannot be killed; its host will be replaced pool=default worker=\\d gen=1 pid=\\d+ script=\\S+ uri="?/slow-${number}\\.php`,
            ),
          );
        }
        await served(server);
        await allGone(hosts);
        for (const [number, [, code]] of scripts.entries())
          if (code.includes("/child-")) await endChild(server, number);
        const { requests, restarts } = await poolPage(server);
        expect(requests).toMatchObject({ timed_out: scripts.length, lost: 0 });
        expect(restarts).toMatchObject({ lost: scripts.length, deadline: 0, crash: 0, host: 0 });
        expect(childrenOf(server.pid).filter(isRunning)).toBeArrayOfSize(1);
        expect(server.log.text).not.toMatch(/worker died|host ended/);
      } finally {
        await site.close();
      }
    });
    return;
  }

  describe("a script that does not hear it: 504, and the worker is killed", () => {
    let site: Site;
    beforeAll(async () => {
      site = await Site.open(under, deaf, { kill_after_ms: KILL_AFTER_MS });
    });
    afterAll(async () => await site.close());

    for (const [number, [what, code]] of Object.entries(deaf).entries()) {
      test(what, async () => {
        const { server } = site;
        const worker = await served(server);
        const before = await poolPage(server);
        const { status, tookMs } = await timed(server, `/slow-${number}.php`);
        expect(status).toBe(504);
        expect(tookMs).toBeWithin(TIMEOUT_MS, TIMEOUT_MS + KILL_AFTER_MS + SLACK_MS);
        expect(await served(server)).not.toBe(worker);
        await server.waitForLog(
          new RegExp(
            `warn {2}killed a worker: its request did not end within ${KILL_AFTER_MS} ms after its deadline pool=default worker=0 gen=1 pid=${worker} script=\\S+/slow-${number}\\.php uri=`,
          ),
        );
        expect(server.log.text).not.toContain("worker died");
        if (code.includes("/child-")) await endChild(server, number);
        const { requests, restarts } = await poolPage(server);
        expect(requests.timed_out).toBe(before.requests.timed_out + 1);
        expect([restarts.deadline, restarts.crash]).toEqual([before.restarts.deadline + 1, 0]);
      });
    }
  });
});

// ---- answers that have begun, or have been given ------------------------------------------------------------

const chatter = {
  "pid.php": `<?php echo ${WORKER_ID};`,
  "endless.php":
    "<?php for (;;) { echo str_repeat('x', 65536); flush(); usleep((int) ($_GET['pause'] ?? 0)); }",
  "endless-stubborn.php":
    "<?php ignore_user_abort(true); set_time_limit(0); for (;;) { echo str_repeat('x', 65536); flush(); usleep((int) ($_GET['pause'] ?? 0)); }",
  "slowly.php":
    "<?php while (ob_get_level() > 0) ob_end_flush(); for (;;) { echo 'x'; flush(); usleep(10000); }",
  "begun-deaf.php":
    "<?php while (ob_get_level() > 0) ob_end_flush(); echo 'x'; flush(); $s = stream_socket_client($_GET['to']); stream_set_timeout($s, 60); fread($s, 1);",
  "finished-loop.php": "<?php echo 'answer'; fastcgi_finish_request(); for (;;);",
  "finished-deaf.php":
    "<?php echo 'answer'; fastcgi_finish_request(); $s = stream_socket_client($_GET['to']); stream_set_timeout($s, 60); fread($s, 1);",
};

underEachIsolation(({ threads, begin }) => {
  test("endless output to a client that reads it is cut off at the deadline, and its worker lives on", async () => {
    await using server = await begin({
      files: chatter,
      config: observedPool({ ...pool, kill_after_ms: 4000 }),
    });
    const worker = await served(server);
    for (const path of ["/slowly.php", "/endless.php?pause=5000", "/endless-stubborn.php?pause=5000"]) {
      const { status, whole, tookMs } = await timed(server, path);
      expect([path, status, whole]).toEqual([path, 200, false]);
      expect(tookMs).toBeWithin(TIMEOUT_MS, TIMEOUT_MS + SLACK_MS);
      expect(await served(server)).toBe(worker);
    }
  });

  test("an answer that had begun is cut off when its worker does not hear it", async () => {
    using silent = await SilentPeer.listen();
    await using server = await begin({ files: chatter, config: observedPool(pool) });
    const worker = await served(server);
    const { status, text, whole } = await get(server, `/begun-deaf.php?to=${silent.address}`);
    expect([status, text, whole]).toEqual([200, "x", false]);
    expect(await served(server)).not.toBe(worker);
  });

  test("a client that does not read stops the clock, until it is given up; then the script is ended too", async () => {
    await using server = await begin({
      files: chatter,
      config: observedPool(
        // Without a file that takes the rest, the worker waits for the client.
        { ...pool, kill_after_ms: 4000, response_spool_bytes: 0 },
        { server: { send_timeout_ms: 600 } },
      ),
    });
    const worker = await served(server);
    for (const path of ["/endless.php", "/endless-stubborn.php"]) {
      const from = server.log.mark();
      using connection = await ask(server, path);
      connection.pause();
      await server.waitForLog(/gave up a client that took nothing for too long/, from);
      expect(server.log.text.slice(from)).not.toContain("Maximum request time");
      expect(await within(served(server), "the next request is served", 4000)).toBe(worker);
    }
    // Each of them once, though one script went on for a while.
    expect(logLines(server, /gave up a client/)).toBeArrayOfSize(2);
    const { requests, restarts } = await poolPage(server);
    expect(requests).toMatchObject({ client_gone: 2, lost: 0 });
    expect(restarts).toMatchObject({ deadline: 0, crash: 0 });
  });

  test("what goes on after fastcgi_finish_request() has its deadline too, and its client never hears of it", async () => {
    using silent = await SilentPeer.listen();
    await using server = await begin({ files: chatter, config: observedPool(pool) });
    for (const [path, told] of [
      ["/finished-loop.php", /Maximum request time exceeded/],
      [
        `/finished-deaf.php?to=${silent.address}`,
        threads ? /does not come back from/ : /killed a worker: its request did not end/,
      ],
    ] as const) {
      const from = server.log.mark();
      const { status, text, whole, tookMs } = await timed(server, path);
      expect([status, text, whole]).toEqual([200, "answer", true]);
      expect(tookMs).toBeLessThan(TIMEOUT_MS + SLACK_MS);
      await server.waitForLog(told, from);
      await served(server);
    }
    expect((await poolPage(server)).requests.lost).toBe(0);
  });
});

test("a front that was held up gives a script all its time to end once it has asked it to", async () => {
  const shutdown =
    "file_put_contents(getenv('RECORDS') . '/shutdown', 'began'); usleep(400000); file_put_contents(getenv('RECORDS') . '/shutdown', 'ran');";
  await using server = await start({
    files: {
      ...chatter,
      "slow.php": `<?php register_shutdown_function(function () { ${shutdown} });
        file_put_contents(getenv('RECORDS') . '/begun', 'yes'); for (;;);`,
    },
    config: observedPool({ ...pool, timeout_ms: 300, kill_after_ms: 2000 }),
  });
  const worker = await served(server);
  using slow = await ask(server, "/slow.php");
  await server.record("begun", /yes/);
  // Until the front has seen that it runs.
  await eventually("it is told of", async () =>
    ((await poolPage(server)).workers[0]?.request?.elapsedMs ?? 0) > 0 ? true : undefined,
  );
  server.signal("SIGSTOP");
  await Bun.sleep(2500);
  server.signal("SIGCONT");
  expect((await slow.response()).status).toBe(504);
  expect(await served(server)).toBe(worker);
  await server.record("shutdown", /ran/);
});

// ---- PHP's own limit ------------------------------------------------------------------------------------------

underEachIsolation(({ threads, begin }) => {
  test("max_execution_time and set_time_limit() keep their meaning, and an error of PHP's own", async () => {
    await using server = await begin({
      files: {
        "pid.php": "<?php echo getmypid();",
        "value.php":
          "<?php echo ini_get('max_execution_time'); set_time_limit(7); echo ' ', ini_get('max_execution_time');",
        "loop.php": "<?php for (;;);",
        "sleep.php": "<?php usleep(1300000); echo 'slept';",
        "unlimited.php":
          "<?php set_time_limit(0); $end = microtime(true) + 1.5; while (microtime(true) < $end); echo 'ran';",
      },
      config: observedPool({ worker_count: 3, timeout_ms: 8000, ini: { max_execution_time: "1" } }),
    });
    expect((await get(server, "/value.php")).text).toBe("1 7");
    expect((await get(server, "/value.php")).text).toBe("1 7");
    const [loop, asleep, unlimited] = await Promise.all(
      ["/loop.php", "/sleep.php", "/unlimited.php"].map((path) => get(server, path)),
    );
    expect(loop?.status).toBe(500);
    await server.waitForLog(
      /PHP Fatal error: {2}Maximum execution time of 1 second exceeded in \S+loop\.php/,
    );
    // Processor time. PHP itself counts what a clock on the wall shows, where it is built for threads.
    if (threads) expect(asleep?.status).toBe(500);
    else expect([asleep?.status, asleep?.text]).toEqual([200, "slept"]);
    expect([unlimited?.status, unlimited?.text]).toEqual([200, "ran"]);
    expect(server.log.text).not.toContain("Maximum request time");
    expect(await poolPage(server)).toMatchObject({
      requests: { timed_out: 0, lost: 0 },
      restarts: { deadline: 0, crash: 0, exit: 0 },
    });
  });
});

// ---- a database that does not answer ------------------------------------------------------------------------------

const missing = whyNoDatabase();

describe(missing === undefined ? "a blocked query" : `a blocked query (skipped: ${missing})`, () => {
  let database: Database | undefined;

  beforeAll(async () => {
    if (missing === undefined) database = await Database.start("test");
  }, 30_000);

  afterAll(async () => {
    await database?.stop();
  }, 15_000);

  for (const [what, connect, query] of [
    ["mysqli", "$db = new mysqli('localhost', 'root', '', 'test', 0, 'SOCKET');", "query"],
    ["PDO", "$db = new PDO('mysql:unix_socket=SOCKET;dbname=test', 'root', '');", "query"],
  ] as const) {
    test.skipIf(missing !== undefined)(`${what}: 504, and the next request is served`, async () => {
      const code = connect.replace("SOCKET", database?.socket ?? "");
      await using server = await start({
        files: {
          "pid.php": "<?php echo getmypid();",
          "make.php": `<?php ${code} $db->${query}('CREATE TABLE IF NOT EXISTS locked (id INT PRIMARY KEY) ENGINE=InnoDB'); $db->${query}('REPLACE INTO locked VALUES (1)'); echo 'made';`,
          "sleep.php": `<?php ${code} $db->${query}('SELECT SLEEP(20)'); echo 'done';`,
          // Two connections of one script: the second waits for the first.
          "lock.php": `<?php ${code} $first = $db; ${code} $first->${query}('BEGIN'); $first->${query}('UPDATE locked SET id = 1'); $db->${query}('SET innodb_lock_wait_timeout = 20'); $db->${query}('UPDATE locked SET id = 1'); echo 'done';`,
        },
        config: observedPool(pool),
      });
      expect((await get(server, "/make.php")).text).toBe("made");
      for (const path of ["/sleep.php", "/lock.php"]) {
        const worker = await served(server);
        const { status, tookMs } = await timed(server, path);
        expect([path, status]).toEqual([path, 504]);
        expect(tookMs).toBeWithin(TIMEOUT_MS, TIMEOUT_MS + KILL_AFTER_MS + SLACK_MS);
        expect(await served(server)).not.toBe(worker);
      }
      const { restarts } = await poolPage(server);
      expect([restarts.deadline + restarts.lost, restarts.crash]).toEqual([2, 0]);
    });
  }
});
