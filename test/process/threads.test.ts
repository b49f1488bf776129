/** What is different where workers are threads of their host: they cannot be killed, and they die together. */
import { describe, expect } from "bun:test";
import { eventually, raw, type Server, start, targets, test as plainTest, type Tree } from "../harness.ts";
import { ztsLibphp } from "../zts.ts";
import { allGone, ask, childrenOf, get, isRunning, onePool, STUCK } from "./support.ts";

const test = ztsLibphp === null ? plainTest.skip : plainTest;

const FILES = {
  "hello.php": "<?php echo 'hello from ', $_SERVER['PHPRUN_WORKER'];",
  "gate.php": `<?php
    file_put_contents(getenv('RECORDS') . '/' . $_GET['id'], 'started');
    while (!file_exists(getenv('RECORDS') . "/{$_GET['id']}.gate")) { usleep(2000); clearstatcache(); }
    echo 'done';`,
  "stuck.php": STUCK,
  "crash.php": "<?php function fall() { FFI::cdef('int raise(int);')->raise(11); } fall();",
  "hoard.php":
    "<?php $all = []; for ($i = 0; $i < 600; $i++) { $all[] = str_repeat('x', 1 << 20); usleep(500); } echo 'had it all';",
  "keep.php": "<?php $s = str_repeat('x', (int) $_GET['mb'] << 20); echo strlen($s);",
};

const FFI_INI = { ini: { "ffi.enable": "1", memory_limit: "-1" } };

async function threads(pool: Tree, rest: Tree = {}, files: Record<string, string> = {}): Promise<Server> {
  const target = targets.at(-1) ?? "source";
  return await start({
    isolation: "thread",
    target,
    files: { ...FILES, ...files },
    config: onePool(pool, { php: FFI_INI, ...rest }),
  });
}

function hosts(server: Server): number[] {
  return childrenOf(server.pid).filter(isRunning);
}

describe(`workers in threads${ztsLibphp === null ? " (skipped: no ZTS libphp, run ./setup.sh --zts)" : ""}`, () => {
  test("are threads of one process, with names of their own", async () => {
    await using server = await threads({ worker_count: 3 });
    const [host = 0, ...others] = hosts(server);
    expect(others).toEqual([]);
    expect(childrenOf(host)).toEqual([]);
    const names = await eventually("three workers run", async () => {
      const tasks = [...new Bun.Glob("*/comm").scanSync(`/proc/${host}/task`)];
      const texts = await Promise.all(tasks.map((name) => Bun.file(`/proc/${host}/task/${name}`).text()));
      const found = texts.map((text) => text.trim()).filter((name) => /^phprun\/\d/.test(name));
      return found.length === 3 ? found.toSorted() : undefined;
    });
    expect(names).toEqual(["phprun/0", "phprun/1", "phprun/2"]);
    expect((await get(server, "/hello.php")).text).toMatch(/^hello from [012]$/);
  });

  test("one that does not come back is a 504, and its host is replaced while the others finish", async () => {
    await using server = await threads({ worker_count: 4, timeout_ms: 1500, kill_after_ms: 200 });
    const [old = 0] = hosts(server);
    const stuck = get(server, "/stuck.php?id=one");
    await server.record("one", /started/);
    // Begun late, so that its own time is not up when the other's is.
    await Bun.sleep(800);
    const slow = get(server, "/gate.php?id=two");
    await server.record("two", /started/);
    expect((await stuck).status).toBe(504);
    await server.waitForLog(/does not come back/);
    const next = await eventually("the next host serves", async () => {
      await get(server, "/hello.php");
      return hosts(server).find((pid) => pid !== old);
    });
    expect((await get(server, "/hello.php")).text).toStartWith("hello");
    server.openGate("two");
    expect((await slow).text).toBe("done");
    await eventually("the old host is gone", () => (isRunning(old) ? undefined : true));
    expect(hosts(server)).toEqual([next]);
  });

  test("with none left the next host starts at once, though the old one never ends by itself", async () => {
    await using server = await threads({ worker_count: 2, timeout_ms: 300, kill_after_ms: 200 });
    const stuck = [get(server, "/stuck.php?id=a"), get(server, "/stuck.php?id=b")];
    await Promise.all([server.record("a", /started/), server.record("b", /started/)]);
    const waiting = get(server, "/hello.php");
    expect((await Promise.all(stuck)).map(({ status }) => status)).toEqual([504, 504]);
    expect((await waiting).text).toStartWith("hello");
  });

  test("a crash ends the host: what ran gets 502, and the next host is there within half a second", async () => {
    await using server = await threads({ worker_count: 4 });
    const others = [get(server, "/gate.php?id=x"), get(server, "/gate.php?id=y")];
    await Promise.all([server.record("x", /started/), server.record("y", /started/)]);
    const from = performance.now();
    expect((await get(server, "/crash.php")).status).toBe(502);
    expect((await Promise.all(others)).map(({ status }) => status)).toEqual([502, 502]);
    expect((await get(server, "/hello.php")).text).toStartWith("hello");
    expect(performance.now() - from).toBeLessThan(2500);
    expect(server.log.text).toMatch(/fall\(\) .*crash\.php:1/);
    expect(server.log.text).not.toContain("Bun has crashed");
    // Again and again, more often than a pool is given up for hosts that do not start.
    for (let i = 0; i < 8; i++) {
      expect((await get(server, "/crash.php")).status).toBe(502);
      expect((await get(server, "/hello.php")).text).toStartWith("hello");
    }
  });

  test("a crash is tried again on the next host where that may be", async () => {
    await using server = await threads({ worker_count: 2, retry: true });
    const other = get(server, "/gate.php?id=x");
    await server.record("x", /started/);
    const crash = raw(
      server.url,
      "POST /crash.php HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    );
    expect((await crash).status).toBe(502);
    server.openGate("x");
    expect((await other).text).toBe("done");
  });

  test("a request over the hard limit is ended by itself, and its neighbours go on", async () => {
    await using server = await threads({ worker_count: 2, memory_limit_mb: 64, memory_kill_mb: 128 });
    const [host = 0] = hosts(server);
    const other = get(server, "/gate.php?id=x");
    await server.record("x", /started/);
    const hoard = await get(server, "/hoard.php");
    expect(hoard.status).toBe(500);
    await server.waitForLog(/Memory of a request exhausted/);
    server.openGate("x");
    expect((await other).text).toBe("done");
    expect(hosts(server)).toEqual([host]);
  });

  test("a thread that hangs at its end, where no deadline counts, has its host replaced", async () => {
    const hang = `<?php $c = FFI::cdef('int __cxa_thread_atexit_impl(void (*)(void *), void *, void *); void *dlsym(void *, const char *);');
      $c->__cxa_thread_atexit_impl(FFI::cast('void (*)(void *)', $c->dlsym(null, 'sleep')), FFI::cast('void *', 1000), null); echo 'set';`;
    await using server = await threads({ worker_count: 1, max_requests: 1 }, {}, { "hang.php": hang });
    const [host = 0] = hosts(server);
    expect((await get(server, "/hang.php")).text).toBe("set");
    expect((await get(server, "/hello.php")).text).toStartWith("hello");
    await server.waitForLog(/hangs at its start or end/);
    await allGone([host]);
  });

  test("recycling ends a thread and starts another in the same host", async () => {
    await using server = await threads({ worker_count: 1, max_requests: 5 });
    const [host = 0] = hosts(server);
    for (let i = 0; i < 40; i++) expect((await get(server, "/hello.php")).text).toBe("hello from 0");
    const started = [...server.log.text.matchAll(/worker started/g)].length;
    expect(started).toBeGreaterThanOrEqual(8);
    expect(hosts(server)).toEqual([host]);
  });

  test("a client that leaves, a reload and a stop find them as they find processes", async () => {
    await using server = await threads({ worker_count: 2 });
    const left = await ask(server, "/gate.php?id=gone");
    await server.record("gone", /started/);
    left.close();
    server.signal("SIGHUP");
    await server.waitForLog(/reloaded/);
    server.openGate("gone");
    expect((await get(server, "/hello.php")).text).toStartWith("hello");
    expect(await server.stop()).toBe(0);
  });
});
