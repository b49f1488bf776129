import { describe, expect } from "bun:test";
import {
  Connection,
  eventually,
  type Server,
  start,
  type Target,
  targets,
  test,
  type Tree,
} from "../harness.ts";
import { descriptors, statusOf } from "../process/support.ts";
import { get, requestBytes } from "./ask.ts";
import { SlowReader } from "./slow-reader.ts";
import { canMount, TinyDisk } from "./tiny-disk.ts";

/*
 * A file of its own, to run beside the others: Bun looks at its timeouts every four seconds, and gives a connection
 * ten for its first request, whatever we say.
 */
for (const target of targets) {
  describe(target, () => {
    test("clients that fall silent are cut off: in the headers, in the body, between requests", async () => {
      await using server = await start({
        target,
        files: { "index.php": "<?php echo strlen(file_get_contents('php://input'));" },
        config: {
          server: { receive_timeout_ms: 1000, keep_alive_timeout_ms: 1000 },
          pools: [{ name: "one", worker_count: 1 }],
        },
      });
      using inHeaders = await Connection.open(server.url);
      using inBody = await Connection.open(server.url);
      using between = await Connection.open(server.url);
      using neverBegan = await Connection.open(server.url);
      await inHeaders.send("GET / HTTP/1.1\r\nHost: x\r\nX-Half");
      await inBody.send(requestBytes("POST / HTTP/1.1", ["Content-Length: 200000"], "x".repeat(100_000)));
      await between.send(requestBytes("GET / HTTP/1.1", ["Connection: keep-alive"]));
      expect((await between.response()).text).toBe("0");
      // None of them holds the only worker.
      expect((await get(server.url, "/")).text).toBe("0");
      await Promise.all([inHeaders, inBody, between, neverBegan].map((connection) => connection.end(16_000)));
      expect(inBody.received).not.toContain("200 OK");
      expect((await get(server.url, "/")).text).toBe("0");
    });

    test("keep_alive_timeout_ms: 0 closes each connection after its answer, and says so", async () => {
      await using server = await start({
        target,
        files: {
          "index.php": "<?php echo 'php';",
          "page.html": "page",
          "long.php": "<?= str_repeat('x', 600000);",
        },
        config: { server: { keep_alive_timeout_ms: 0 }, php: { front_controller: null } },
      });
      for (const path of ["/", "/page.html", "/long.php", "/nothing"]) {
        using connection = await Connection.open(server.url);
        await connection.send(requestBytes(`GET ${path} HTTP/1.1`, ["Connection: keep-alive"]));
        const answer = await connection.response();
        expect([path, answer.whole, answer.header("connection")]).toEqual([path, true, "close"]);
        await connection.end();
      }
    });

    test("a client that reads nothing of a large answer holds no worker, and gets all of it when it does", async () => {
      await using server = await startSpooling(target);
      using slow = await SlowReader.open(server.url, `/large.php?bytes=${20 * MIB}&length`);
      await server.record("large", /sent/);
      const startedMs = performance.now();
      expect((await get(server.url, "/")).text).toBe("other");
      expect(performance.now() - startedMs).toBeLessThan(1000);
      expect(spooled(server)).toBe(1);
      slow.resume();
      await slow.ended;
      expect([slow.isWhole, slow.bytes, slow.md5]).toEqual([true, 20 * MIB, md5Of(20 * MIB)]);
      await nothingSpooled(server);
    });

    test("eight answers of 50 MB that nobody reads cost hardly any memory, and come whole", async () => {
      await using server = await startSpooling(target, { response_buffer_bytes: "64KiB" });
      using first = await SlowReader.open(server.url, `/large.php?bytes=${50 * MIB}`);
      await server.record("large", /sent/);
      const before = anonymousBytes(server);
      const others = await Promise.all(
        Array.from({ length: 7 }, () => SlowReader.open(server.url, `/large.php?bytes=${50 * MIB}`)),
      );
      await server.record("large", /(sent\n){8}/);
      expect(anonymousBytes(server) - before).toBeLessThan(10 * MIB);
      expect(spooled(server)).toBe(8);
      for (const slow of [first, ...others]) slow.resume();
      for (const slow of [first, ...others]) {
        await slow.ended;
        expect([slow.isWhole, slow.bytes, slow.md5]).toEqual([true, 50 * MIB, md5Of(50 * MIB)]);
      }
      expect(anonymousBytes(server) - before).toBeLessThan(10 * MIB);
      await nothingSpooled(server);
    });

    test("an answer that goes on while its client catches up stays in order", async () => {
      await using server = await startSpooling(target, { response_buffer_bytes: "64KiB" });
      using slow = await SlowReader.open(server.url, "/parts.php");
      await server.record("parts", /part 0\n/);
      slow.resume();
      for (let part = 1; part < 4; part++) {
        server.openGate(`part${part}`);
        await server.record("parts", new RegExp(`part ${part}\\n`));
        if (part === 2) slow.pause();
      }
      slow.resume();
      await slow.ended;
      expect([slow.isWhole, slow.bytes, slow.md5]).toEqual([true, 4 * PART, md5Of(4 * PART)]);
      await nothingSpooled(server);
    });

    test("a client that leaves takes its file with it", async () => {
      await using server = await startSpooling(target);
      using slow = await SlowReader.open(server.url, `/large.php?bytes=${20 * MIB}`);
      await server.record("large", /sent/);
      expect(spooled(server)).toBe(1);
      slow.close();
      await nothingSpooled(server);
      expect((await get(server.url, "/")).text).toBe("other");
      expect(server.log.text).not.toMatch(/ (warn|error) /);
    });

    test("a client that goes on reading nothing is given up, though no worker waits for it", async () => {
      await using server = await startSpooling(
        target,
        { timeout_ms: 1000, kill_after_ms: 0 },
        { send_timeout_ms: 1500, keep_alive_timeout_ms: 1000 },
      );
      using slow = await SlowReader.open(server.url, `/large.php?bytes=${20 * MIB}`);
      await server.record("large", /sent/);
      await server.waitForLog(/gave up a client that took nothing for too long/);
      // Its script has ended long ago, so its deadline is nobody's.
      expect(server.log.text).not.toMatch(/killed a worker|Maximum request time/);
      await nothingSpooled(server);
      slow.resume();
      await slow.ended;
      expect([slow.isWhole, slow.bytes < 20 * MIB]).toEqual([false, true]);
    });

    test("a client whose worker dies does not see an end of its answer, spooled or not", async () => {
      await using server = await startSpooling(target);
      using slow = await SlowReader.open(server.url, `/large.php?bytes=${20 * MIB}&die`);
      await server.waitForLog(/a worker died: /);
      expect((await get(server.url, "/")).text).toBe("other");
      slow.resume();
      await slow.ended;
      expect(slow.isWhole).toBe(false);
      // What is on its way when the connection is cut is lost with it.
      expect(slow.bytes).toBeGreaterThan(5 * MIB);
      await nothingSpooled(server);
    });

    test("response_spool_bytes: 0 uses no file: the worker waits", async () => {
      await using server = await startSpooling(target, {
        response_spool_bytes: 0,
        queue: { timeout_ms: 200 },
      });
      using slow = await SlowReader.open(server.url, `/large.php?bytes=${20 * MIB}`);
      await eventually("the worker waits", async () =>
        (await get(server.url, "/")).status === 503 ? true : undefined,
      );
      expect(spooled(server)).toBe(0);
      slow.resume();
      await slow.ended;
      expect([slow.isWhole, slow.md5]).toEqual([true, md5Of(20 * MIB)]);
    });

    test("beyond response_spool_bytes the worker waits", async () => {
      await using server = await startSpooling(target, {
        response_spool_bytes: "4MiB",
        queue: { timeout_ms: 200 },
      });
      using slow = await SlowReader.open(server.url, `/large.php?bytes=${30 * MIB}`);
      await eventually("the answer is spooled", () => (spooled(server) === 1 ? true : undefined));
      await eventually("the worker waits", async () =>
        (await get(server.url, "/")).status === 503 ? true : undefined,
      );
      slow.resume();
      await slow.ended;
      expect([slow.isWhole, slow.md5]).toEqual([true, md5Of(30 * MIB)]);
      await nothingSpooled(server);
    });

    test.skipIf(!canMount())(
      "a full disk is told once, and the worker waits; nothing is lost (root only)",
      async () => {
        using disk = new TinyDisk();
        await using server = await startSpooling(
          target,
          { worker_count: 2, queue: { timeout_ms: 200 } },
          { spool_dir: disk.path },
        );
        using one = await SlowReader.open(server.url, `/large.php?bytes=${20 * MIB}`);
        using two = await SlowReader.open(server.url, `/large.php?bytes=${20 * MIB}`);
        await server.waitForLog(/Cannot spool an answer in .*ENOSPC/);
        await eventually("the workers wait", async () =>
          (await get(server.url, "/")).status === 503 ? true : undefined,
        );
        for (const slow of [one, two]) {
          slow.resume();
          await slow.ended;
          expect([slow.isWhole, slow.md5]).toEqual([true, md5Of(20 * MIB)]);
        }
        expect(server.log.text.match(/Cannot spool an answer/g)).toBeArrayOfSize(1);
        expect((await get(server.url, "/")).text).toBe("other");
      },
    );
  });
}

const MIB = 1024 * 1024;
const PART = 3_000_000;
const PATTERN = new Bun.CryptoHasher("sha512").update("phprun").digest();

/** Scripts that print bytes whose checksum is known, and record when all is out of their hands. */
const spooling = {
  "index.php": "<?php echo 'other';",
  "_lib.php": `<?php
while (ob_get_level() > 0) ob_end_clean();
$block = str_repeat(hash('sha512', 'phprun', true), 1024);
function note(string $name, string $line): void {
  file_put_contents(getenv('RECORDS') . "/$name", "$line\n", FILE_APPEND);
}
function send(int $from, int $to): void {
  global $block;
  for ($at = $from; $at < $to; $at += $bytes) {
    $bytes = min(strlen($block) - $at % 64, $to - $at);
    echo substr($block, $at % 64, $bytes);
  }
}`,
  "large.php": `<?php
require '_lib.php';
$bytes = (int) $_GET['bytes'];
if (isset($_GET['length'])) header("Content-Length: $bytes");
send(0, $bytes);
if (isset($_GET['die'])) posix_kill(getmypid(), 9);
note('large', 'sent');`,
  "parts.php": `<?php
require '_lib.php';
for ($part = 0; $part < 4; $part++) {
  while ($part > 0 && !file_exists(getenv('RECORDS') . "/part$part.gate")) { usleep(1000); clearstatcache(); }
  send($part * ${PART}, ($part + 1) * ${PART});
  note('parts', "part $part");
}`,
};

/** A pool of one worker that prints more than the system takes for a client that does not read. */
async function startSpooling(target: Target, pool: Tree = {}, rest: Tree = {}): Promise<Server> {
  return await start({
    target,
    files: spooling,
    config: { server: rest, pools: [{ name: "one", worker_count: 1, ...pool }] },
  });
}

/** Files without a name that the server has open, beside the one for request bodies. */
function spooled(server: Server): number {
  const unnamed = [...descriptors(server.pid).values()].filter((path) => path.endsWith(" (deleted)"));
  return unnamed.filter((path) => !path.startsWith("/memfd:")).length - 1;
}

async function nothingSpooled(server: Server): Promise<void> {
  await eventually(
    "no answer is spooled",
    () => (spooled(server) === 0 ? true : undefined),
    () => [...descriptors(server.pid).values()].join(", "),
  );
}

/** The front's memory, without what it shares with its workers. */
function anonymousBytes(server: Server): number {
  return Number(/^RssAnon:\s+(\d+)/m.exec(statusOf(server.pid))?.[1]) * 1024;
}

function md5Of(bytes: number): string {
  return new Bun.CryptoHasher("md5").update(Buffer.alloc(bytes, PATTERN)).digest("hex");
}
