/**
 * Worker mode: scripts that do not boot. At the start that is the end of the server, with what PHP said of it; at a
 * reload it is refused, and the generation before serves on.
 */
import { expect } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { eventually, launch, raw, targets, test, type Tree, within } from "../harness.ts";
import { appOptions, SCRIPT, workerScript } from "./app.ts";
import { family, recorded, refusedReload, reload } from "./control.ts";
import { SilentPeer } from "./observe.ts";
import { allGone, get, getBytes, isRunning, type Under, underEachIsolation, workerPids } from "./support.ts";

interface Broken {
  /** The whole script, or what stands before the loop. */
  readonly script?: string;
  readonly boot?: string;
  readonly told: RegExp;
}

const BOOT_TIMEOUT_MS = 300;

const broken = (peer: SilentPeer): Record<string, Broken> => ({
  "a parse error": { script: "<?php this is no PHP;", told: /PHP Parse error: .*worker\.php/ },
  "an uncaught exception": {
    boot: "throw new RuntimeException('no database');",
    told: /Uncaught RuntimeException: no database/,
  },
  "a fatal error": {
    boot: "require __DIR__ . '/vendor.inc';",
    told: /Failed opening required '.*vendor\.inc'/,
  },
  exit: { boot: "exit('not today');", told: /ended without a call of phprun_handle_request\(\)/ },
  "exit with a number": { boot: "exit(3);", told: /ended without a call of phprun_handle_request\(\)/ },
  "no loop": {
    script: "<?php echo 'a script as any other';",
    told: /ended without a call of phprun_handle_request\(\)/,
  },
  "an empty file": { script: "", told: /ended without a call of phprun_handle_request\(\)/ },
  memory_limit: {
    boot: "ini_set('memory_limit', '4M'); str_repeat('x', 9_000_000);",
    told: /Allowed memory size/,
  },
  "a loop": {
    boot: "for (;;);",
    told: /Maximum boot time exceeded \(worker\.boot_timeout_ms of pool "default"\)/,
  },
  "sleep()": {
    boot: "sleep(60); note('woke', 'woke'); for (;;);",
    told: /Maximum boot time exceeded/,
  },
  "a peer that says nothing": {
    boot: `$s = stream_socket_client('${peer.address}'); stream_set_timeout($s, 60); fread($s, 1); fread($s, 1); fread($s, 1);`,
    told: /it took longer than 300 ms \(worker\.boot_timeout_ms\)|Maximum boot time exceeded/,
  },
});

const COUNTED = "file_put_contents(getenv('RECORDS') . '/boots', '.', FILE_APPEND);";

function scriptOf({ script, boot = "" }: Broken): string {
  return script ?? workerScript({ boot: `${COUNTED} ${boot}` });
}

/** Threads cannot be killed: the one whose boot never ends takes its host with it. */
function options(under: Under, script: string, worker: Tree = {}) {
  const app = appOptions({
    pages: { hello: "echo 'hello';" },
    // Scripts change while the server runs, and are to be seen at once.
    ini: { "opcache.revalidate_freq": "0" },
    worker: { boot_timeout_ms: BOOT_TIMEOUT_MS, boot_attempts: 2, ...worker },
    pool: { kill_after_ms: 200 },
  });
  return {
    ...app,
    isolation: under.isolation,
    target: (under.threads ? targets.at(-1) : targets[0]) ?? "source",
    files: { ...app.files, "app/worker.php": script },
  } as const;
}

function atStart(under: Under): void {
  for (const template of under.threads ? ["auto"] : [true, false]) {
    const how = under.threads ? "" : ` (template: ${template})`;
    test(`a start with a script that does not boot ends with code 1 and PHP's own words${how}`, async () => {
      using peer = await SilentPeer.listen();
      const cases = Object.entries(broken(peer));
      // Two at a time: that is how many processors there may be.
      const next = cases.values();
      const work = async (): Promise<void> => {
        for (const [name, each] of next) {
          const server = launch(options(under, scriptOf(each), { template }));
          try {
            const code = await within(server.exited, `${name} has ended`);
            expect([name, code]).toEqual([name, 1]);
            expect([name, server.log.text]).toEqual([name, expect.stringMatching(each.told)]);
            expect([name, server.log.text]).toEqual([
              name,
              expect.stringMatching(/The worker script \S+worker\.php did not boot.*2 times in a row/),
            ]);
            expect(server.log.text).toMatch(/boot 1 of 2 failed, the next one in 200 ms/);
            expect(server.log.text).not.toMatch(/TypeError|unhandled|at #|given up/);
            if (each.script === undefined)
              expect([name, recorded(server, "boots")]).toEqual([name, expect.stringMatching(/^\.{1,2}$/)]);
            expect(server.processes()).toEqual([]);
          } finally {
            await server[Symbol.asyncDispose]();
          }
        }
      };
      await Promise.all([work(), work()]);
    });

    test(`a script that crashes while it boots ends the start with code 1${how}`, async () => {
      await using server = launch({
        ...options(under, workerScript({ boot: `${COUNTED} FFI::cdef('int raise(int);')->raise(11);` }), {
          template,
        }),
        config: {
          ...options(under, "", { template }).config,
          php: { front_controller: null, ini: { "ffi.enable": "1" } },
        },
      });
      expect(await within(server.exited, "it has ended")).toBe(1);
      expect(server.log.text).toMatch(/SIGSEGV/);
      expect(server.processes()).toEqual([]);
    });

    test(`a boot that fails and then works serves${how}`, async () => {
      const boot = `${COUNTED} if (filesize(getenv('RECORDS') . '/boots') < 2) throw new Exception('not yet');`;
      await using server = launch(options(under, workerScript({ boot }), { template }));
      await server.ready();
      expect(server.log.text).toMatch(/boot 1 of 2 failed.*not yet|not yet[^]*boot 1 of 2 failed/);
      expect((await get(server, "/hello")).text).toBe("hello");
    });

    test(`two stops while it boots end the server at once, and all that it has started${how}`, async () => {
      await using server = launch(
        options(under, workerScript({ boot: `${COUNTED} note('boots', 'booting'); sleep(60);` }), {
          template,
          boot_timeout_ms: 30_000,
        }),
      );
      await server.record("booting", /boots/);
      server.signal("SIGTERM");
      server.signal("SIGINT");
      expect(await within(server.exited, "it has stopped", 3000)).toBe(0);
      await eventually("nothing is left", () => (server.processes().length === 0 ? true : undefined));
    });
  }
}

function atReload(under: Under): void {
  test("a reload to a script that does not boot is refused with PHP's words, and the old one serves on", async () => {
    using peer = await SilentPeer.listen();
    await using server = await under.begin(options(under, workerScript()));
    const put = (script: string) => writeFileSync(join(server.docroot, "app/worker.php"), script);
    const [pid = 0] = await workerPids(server, 1);
    for (const name of ["a parse error", "an uncaught exception", "exit", "a loop"]) {
      const each = broken(peer)[name] as Broken;
      put(scriptOf(each));
      const told = await refusedReload(server);
      expect([name, told]).toEqual([name, expect.stringMatching(/did not boot.*2 times in a row/)]);
      expect([name, told]).toEqual([name, expect.stringMatching(each.told)]);
      expect((await get(server, "/hello")).text).toBe("hello");
    }
    expect(isRunning(pid)).toBe(true);
    put(workerScript({ boot: "note('new', 'new');" }));
    await reload(server);
    await server.record("new", /new/);
    await allGone([pid]);
    expect((await get(server, "/hello")).text).toBe("hello");
  });
}

function whileItServes(under: Under): void {
  test("a boot that is over is not looked at any more, however short it was", async () => {
    for (const template of under.threads ? ["auto"] : [true, false]) {
      await using server = await under.begin(
        options(under, workerScript(), { template, boot_timeout_ms: 50 }),
      );
      const before = family(server);
      for (const since = performance.now(); performance.now() < since + 800;)
        expect((await get(server, "/hello")).text).toBe("hello");
      expect(family(server)).toEqual(before);
      expect(server.log.text).not.toMatch(/ (warn |error) |TypeError/);
    }
  });

  test("requests that come while it boots wait for it, and are answered", async () => {
    // Where each worker boots by itself: the one that comes after one that is killed.
    const boot = `if (file_exists(getenv('RECORDS') . '/slow')) gate('boot');`;
    const app = options(under, workerScript({ boot }), { template: false, boot_timeout_ms: 10_000 });
    await using server = await under.begin(app);
    server.write("records/slow", "");
    const [pid = 0] = await workerPids(server, 1);
    process.kill(under.threads ? (family(server)[0] ?? 0) : pid, "SIGKILL");
    await server.record("boot", /here/);
    const waiting = Array.from({ length: 8 }, () => raw(server.url, getBytes("/hello")));
    server.openGate("boot");
    for (const { text } of await Promise.all(waiting)) expect(text).toBe("hello");
  });

  test("a worker that does not boot any more is tried again, more and more seldom, until the script is mended", async () => {
    const app = options(under, workerScript({ boot: COUNTED }), { template: false });
    await using server = await under.begin({
      ...app,
      config: { ...app.config, pools: [{ ...(app.config["pools"] as Tree[])[0], max_requests: 2 }] },
    });
    const script = join(server.docroot, "app/worker.php");
    const mended = workerScript({ boot: COUNTED });
    writeFileSync(script, workerScript({ boot: `${COUNTED} throw new Exception('broken at run time');` }));
    // The worker that is there ends when it has had its requests.
    for (let i = 0; i < 3; i++) void get(server, "/hello").catch(() => undefined);
    await server.waitForLog(/broken at run time[^]*broken at run time[^]*broken at run time/);
    await server.waitForLog(/a worker did not boot: its script has ended/);
    const waiting = raw(server.url, getBytes("/hello"));
    writeFileSync(script, mended);
    expect((await waiting).text).toBe("hello");
    expect((await get(server, "/hello")).text).toBe("hello");
    expect(server.log.text).not.toContain("given up");
  });

  test("a worker that hangs while it boots is ended, and the next one boots", async () => {
    const app = options(under, workerScript(), { template: false });
    await using server = await under.begin(app);
    const boot = `${COUNTED} if (filesize(getenv('RECORDS') . '/boots') < 2) for (;;);`;
    writeFileSync(join(server.docroot, "app/worker.php"), workerScript({ boot }));
    const [pid = 0] = await workerPids(server, 1);
    process.kill(under.threads ? (family(server)[0] ?? 0) : pid, "SIGKILL");
    await server.waitForLog(/Maximum boot time exceeded/);
    expect((await get(server, "/hello")).text).toBe("hello");
    expect(recorded(server, "boots")).toBe("..");
  });

  test("a host that is killed comes back with its application", async () => {
    await using server = await under.begin(options(under, workerScript(), { template: "auto" }));
    for (let i = 0; i < 3; i++) {
      const [host = 0] = family(server);
      process.kill(host, "SIGKILL");
      await allGone([host]);
      expect((await get(server, "/hello")).text).toBe("hello");
    }
  });

  test("what it prints, and the headers it sets while it boots, are nobody's", async () => {
    const boot =
      "echo 'printed at the boot'; header('X-Boot: 1'); setcookie('boot', '1'); http_response_code(404); ob_start(); echo 'buffered at the boot';";
    await using server = await under.begin(options(under, workerScript({ boot })));
    await server.waitForLog(/printed at the boot/);
    await server.waitForLog(/buffered at the boot/);
    for (let i = 0; i < 2; i++) {
      const answer = await get(server, "/hello");
      expect([answer.status, answer.text]).toEqual([200, "hello"]);
      expect([answer.header("x-boot"), answer.header("set-cookie")]).toEqual([undefined, undefined]);
    }
  });
}

test("boot_attempts: 1 tries once", async () => {
  const app = appOptions({ worker: { boot_attempts: 1 } });
  await using server = launch({
    ...app,
    files: { "app/worker.php": workerScript({ boot: `${COUNTED} throw new Exception('no');` }) },
  });
  expect(await within(server.exited, "it has ended")).toBe(1);
  expect(recorded(server, "boots")).toBe(".");
  expect(server.log.text).not.toContain("in a row");
});

test("one of two pools that does not boot ends the start, and nothing stays behind", async () => {
  const files = { "a.php": workerScript(), "b.php": "<?php throw new Exception('b is broken');" };
  const pool = (name: string, pattern: string) => ({
    name,
    worker_count: 1,
    worker_script: `public/${name}.php`,
    patterns: [pattern],
  });
  await using server = launch({
    files,
    config: { worker: { boot_attempts: 1 }, pools: [pool("a", "/a/*"), pool("b", "/*")] },
  });
  expect(await within(server.exited, "it has ended")).toBe(1);
  expect(server.log.text).toContain("b is broken");
  expect(server.processes()).toEqual([]);
});

test("a worker script that is not there is a mistake in the configuration", async () => {
  await using server = launch({ config: { pools: [{ name: "default", worker_script: SCRIPT }] } });
  expect(await within(server.exited, "it has ended")).toBe(2);
  expect(server.log.text).toContain("worker_script");
});

underEachIsolation((under) => {
  atStart(under);
  atReload(under);
  whileItServes(under);
});
