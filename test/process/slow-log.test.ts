import { afterAll, beforeAll, describe, expect } from "bun:test";
import { Database, whyNoDatabase } from "../database.ts";
import { type Server, start, test } from "../harness.ts";
import { logLines, observedPool, poolPage, SilentPeer } from "./observe.ts";
import { ask, GATE, get, underEachIsolation } from "./support.ts";

/* A request that takes long is told of while it runs, with the place it is at, and its client notices nothing. */

const SLOW_MS = 150;
const pool = { worker_count: 2, slow_ms: SLOW_MS };
const slowLines = (server: Server) => logLines(server, / slow request: /);

const files = {
  "quick.php": "<?php usleep(1000); echo 'quick';",
  "sleep.php": `<?php
function report() { $left = 600000; while ($left > 0) { $from = hrtime(true); usleep($left); $left -= intdiv(hrtime(true) - $from, 1000); } }
report();
echo 'slept';`,
  "one-sleep.php":
    "<?php $from = hrtime(true); $left = sleep(1); echo $left, ' ', (hrtime(true) - $from) >= 1e9 ? 'whole' : 'cut short';",
  "loop.php": `<?php
class Report { function rows(string $password) { for ($i = 0; !file_exists($GLOBALS['gate']); $i++) { if ($i % 100 === 0) clearstatcache(); } } }
$gate = getenv('RECORDS') . '/' . $_GET['gate'] . '.gate';
(new Report)->rows('hunter2');
echo 'looped';`,
  "read.php": `<?php
$s = stream_socket_client($_GET['to']); stream_set_timeout($s, 0, 700000);
function wait_for($s) { return fread($s, 1); }
wait_for($s); var_dump(stream_get_meta_data($s)['timed_out']);`,
  "generator.php": `<?php ${GATE}
function rows() { yield 1; gate('several'); yield 2; }
function page() { foreach (rows() as $row); }
page();`,
  "fiber.php": `<?php ${GATE}
function inside() { gate('several'); }
(new Fiber(fn() => inside()))->start();`,
  "wait.php": `<?php ${GATE} gate('wait'); echo 'waited';`,
  "finished.php": `<?php ${GATE} echo 'answer'; fastcgi_finish_request(); gate('finished');`,
};

/** The line about a request, told while it still runs. */
async function slowLine(server: Server, path: string): Promise<string> {
  const [line] = await server.waitForLog(
    new RegExp(`^.* slow request: .* uri="?${path.replace(/[.?]/g, "\\$&")}.*$`, "m"),
  );
  return line;
}

const seconds = (line: string): number => Number(/slow request: (\d+\.\d) s so far/.exec(line)?.[1]);

underEachIsolation(({ begin }) => {
  test("a script asleep is told of while it sleeps, and sleeps on", async () => {
    await using server = await begin({ files, config: observedPool(pool) });
    using asleep = await ask(server, "/one-sleep.php");
    const line = await slowLine(server, "/one-sleep.php");
    expect(asleep.received).toBe("");
    expect(line).toMatch(
      /warn {2}slow request: \d+\.\d s so far, at sleep\(\) ← \{main\} \S+\/one-sleep\.php:1 pool=default worker=\d gen=1 pid=\d+ script=\S+\/one-sleep\.php uri=\/one-sleep\.php request_id=\S+$/,
    );
    expect(seconds(line)).toBeWithin(SLOW_MS / 1000 - 0.05, 0.9);
    const { status, text } = await asleep.response();
    expect([status, text]).toEqual([200, "0 whole"]);
    expect(slowLines(server)).toBeArrayOfSize(1);
    expect(await poolPage(server)).toMatchObject({ requests: { slow: 1, timed_out: 0, lost: 0 } });
  });

  test("a loop is told of with the functions it is in, and never with what they were given", async () => {
    await using server = await begin({ files, config: observedPool(pool) });
    using looping = await ask(server, "/loop.php?gate=loop");
    const line = await slowLine(server, "/loop.php");
    expect(line).toMatch(/at .*Report->rows\(\) \S+\/loop\.php:2 ← \{main\} \S+\/loop\.php:4 pool=default/);
    expect(line).not.toContain("hunter2");
    server.openGate("loop");
    expect((await looping.response()).text).toBe("looped");
    expect(slowLines(server)).toBeArrayOfSize(1);
  });

  test("a blocked read is told of with the PHP function that called it, and is not disturbed", async () => {
    using silent = await SilentPeer.listen();
    await using server = await begin({ files, config: observedPool(pool) });
    const answer = get(server, `/read.php?to=${silent.address}`);
    expect(await slowLine(server, "/read.php")).toMatch(
      /at fread\(\) ← wait_for\(\) \S+\/read\.php:3 ← \{main\} \S+\/read\.php:4 pool=/,
    );
    expect((await answer).text).toBe("bool(true)\n");
  });

  test("what goes on after the answer is told of too", async () => {
    await using server = await begin({ files, config: observedPool(pool) });
    expect((await get(server, "/finished.php")).text).toBe("answer");
    expect(await slowLine(server, "/finished.php")).toMatch(/gate\(\) \S+\/finished\.php/);
    server.openGate("finished");
  });

  test("many slow requests at once are each told once, and all are answered", async () => {
    await using server = await begin({ files, config: observedPool({ ...pool, worker_count: 4 }) });
    const answers = await Promise.all(Array.from({ length: 8 }, () => get(server, "/sleep.php")));
    for (const { status, text } of answers) expect([status, text]).toEqual([200, "slept"]);
    expect(slowLines(server)).toBeArrayOfSize(8);
    for (const line of slowLines(server))
      expect(line).toMatch(/at usleep\(\) ← report\(\) \S+sleep\.php:2 ← /);
    expect((await poolPage(server)).requests.slow).toBe(8);
  });

  test("several at once are each told with their own place: asleep, in C, in loops, generators and fibers", async () => {
    using silent = await SilentPeer.listen();
    await using server = await begin({ files, config: observedPool({ ...pool, worker_count: 5 }) });
    const places: Readonly<Record<string, RegExp>> = {
      "/sleep.php": /at usleep\(\) ← report\(\) \S+\/sleep\.php:2 ← \{main\} \S+\/sleep\.php:3 pool=/,
      [`/read.php?to=${silent.address}`]:
        /at fread\(\) ← wait_for\(\) \S+\/read\.php:3 ← \{main\} \S+\/read\.php:4 pool=/,
      "/loop.php?gate=several": /at .*Report->rows\(\) \S+\/loop\.php:2 ← \{main\} \S+\/loop\.php:4 pool=/,
      "/generator.php": /at .*rows\(\) \S+\/generator\.php:\d+ ← page\(\) \S+\/generator\.php:\d+ ← \{main\}/,
      "/fiber.php": /at .*inside\(\) \S+\/fiber\.php:\d+ ← .*Fiber->start\(\) ← .*pool=/,
    };
    const answers = Object.keys(places).map((path) => get(server, path));
    for (const [path, place] of Object.entries(places)) expect(await slowLine(server, path)).toMatch(place);
    server.openGate("several");
    for (const { status } of await Promise.all(answers)) expect(status).toBe(200);
    expect(slowLines(server)).toBeArrayOfSize(5);
  });
});

test("quick requests are not told of, nor the time that one waits for a worker", async () => {
  await using server = await start({
    files,
    config: observedPool({ ...pool, worker_count: 1, slow_ms: 400 }),
  });
  for (let i = 0; i < 50; i++) expect((await get(server, "/quick.php")).text).toBe("quick");
  using waiting = await ask(server, "/wait.php");
  const behind = get(server, "/quick.php");
  await slowLine(server, "/wait.php");
  server.openGate("wait");
  expect((await waiting.response()).text).toBe("waited");
  expect((await behind).text).toBe("quick");
  expect(slowLines(server)).toBeArrayOfSize(1);
  expect((await poolPage(server)).requests).toMatchObject({ slow: 1, served: 52 });
});

test("without slow_ms nothing is told", async () => {
  await using server = await start({ files, config: observedPool({ worker_count: 1 }) });
  expect((await get(server, "/sleep.php")).text).toBe("slept");
  expect(slowLines(server)).toEqual([]);
  expect((await poolPage(server)).requests.slow).toBe(0);
});

const missing = whyNoDatabase();

describe(missing === undefined ? "a slow query" : `a slow query (skipped: ${missing})`, () => {
  let database: Database | undefined;

  beforeAll(async () => {
    if (missing === undefined) database = await Database.start("test");
  }, 30_000);

  afterAll(async () => {
    await database?.stop();
  }, 15_000);

  test.skipIf(missing !== undefined)(
    "is told of with the function that asked it, and is answered",
    async () => {
      const connect = `new mysqli('localhost', 'root', '', 'test', 0, '${database?.socket}')`;
      await using server = await start({
        files: {
          "query.php": `<?php $db = ${connect};\nprint_r($db->query('SELECT SLEEP(0.8) + 5')->fetch_row());`,
        },
        config: observedPool(pool),
      });
      const answer = get(server, "/query.php");
      expect(await slowLine(server, "/query.php")).toMatch(
        /so far, at mysqli->query\(\) ← \{main\} \S+\/query\.php:2 pool=default/,
      );
      const { status, text } = await answer;
      expect([status, text]).toEqual([200, "Array\n(\n    [0] => 5\n)\n"]);
      expect(slowLines(server)).toBeArrayOfSize(1);
    },
  );
});
