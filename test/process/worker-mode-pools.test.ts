/** Worker mode beside classic pools and static files, and what a pool of it lives through. */
import { describe, expect } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { eventually, type Server, start, test, type Tree } from "../harness.ts";
import { type App, appOptions, SCRIPT, sharedApp, workerScript } from "./app.ts";
import { family, reload } from "./control.ts";
import { poolPage } from "./observe.ts";
import { allGone, get, type Under, underEachIsolation, workerPids } from "./support.ts";

const ID = "basename(readlink('/proc/thread-self'))";

/** Tells which script was asked for; answers every path. */
const ANY = (name: string) => `<?php
while (phprun_handle_request(static function (): void {
  if (str_ends_with(explode('?', $_SERVER['REQUEST_URI'])[0], '/gone')) http_response_code(404);
  echo json_encode(['${name}', $_SERVER['SCRIPT_NAME'], $_SERVER['REQUEST_URI'], $_SERVER['PHP_SELF'], basename($_SERVER['SCRIPT_FILENAME']), $_SERVER['PATH_INFO'] ?? null]);
}));`;

const pool = (name: string, script: string | null, ...patterns: string[]): Tree => ({
  name,
  worker_count: 1,
  ...(script === null ? {} : { worker_script: script }),
  patterns,
});

function routing(under: Under): void {
  test("pools in worker mode and in classic mode, static files and all that is neither, stand side by side", async () => {
    await using server = await under.begin({
      files: {
        "a.php": ANY("a"),
        "b.php": ANY("b"),
        "classic/page.php":
          "<?php echo json_encode(['classic', $_SERVER['SCRIPT_NAME'], phprun_worker_info()['mode']]);",
        "index.php": "<?php echo 'the front controller, which nobody runs';",
        "style.css": "a{}",
        ".env": "SECRET=1",
        "b/.git/config": "secret",
      },
      config: {
        logging: { access: false },
        pools: [
          pool("b", "public/b.php", "/b/*"),
          pool("classic", null, "/classic/*"),
          pool("a", "public/a.php", "/*"),
        ],
      },
    });
    const ask = async (path: string) => JSON.parse((await get(server, path)).text) as unknown[];
    expect(await ask("/")).toEqual(["a", "/index.php", "/", "/index.php", "index.php", null]);
    expect(await ask("/some/page?x=1")).toEqual([
      "a",
      "/index.php",
      "/some/page?x=1",
      "/index.php",
      "index.php",
      null,
    ]);
    expect(await ask("/b/page")).toEqual(["b", "/index.php", "/b/page", "/index.php", "index.php", null]);
    expect(await ask("/missing.php")).toEqual([
      "a",
      "/index.php",
      "/missing.php",
      "/index.php",
      "index.php",
      null,
    ]);
    // A script that is there is the application's all the same.
    expect((await ask("/a.php"))[0]).toBe("a");
    expect((await ask("/b.php"))[0]).toBe("a");
    expect(await ask("/classic/page.php")).toEqual(["classic", "/classic/page.php", "classic"]);
    expect((await get(server, "/style.css")).text).toBe("a{}");
    expect((await get(server, "/gone")).status).toBe(404);
    expect(JSON.parse((await get(server, "/gone")).text)[0]).toBe("a");
    for (const path of ["/.env", "/b/.git/config", "/%2e%2e/phprun.yaml"])
      expect([path, (await get(server, path)).text]).not.toEqual([
        path,
        expect.stringMatching(/SECRET|secret|docroot/),
      ]);
    expect((await get(server, "/%zz")).status).toBe(400);
    expect((await ask("/b/last"))[0]).toBe("b");
  });

  test("without a front controller the worker script is the script", async () => {
    await using server = await under.begin({
      files: { "app/worker.php": ANY("app") },
      config: { logging: { access: false }, pools: [pool("app", SCRIPT, "/*")] },
    });
    const answer = JSON.parse((await get(server, "/x/y.php/z")).text) as unknown[];
    expect(answer.slice(0, 5)).toEqual([
      "app",
      "/app/worker.php",
      "/x/y.php/z",
      "/app/worker.php",
      "worker.php",
    ]);
    expect((await get(server, "/")).status).toBe(200);
  });
}

const app: App = {
  ini: { memory_limit: "-1" },
  pages: {
    who: `echo ${ID};`,
    count: "echo Kept::$count;",
    version: "echo VERSION;",
    hoard: "Kept::$all['hoard'][] = str_repeat('x', 40 << 20); echo 'kept';",
    crash: "FFI::cdef('int raise(int);')->raise(11);",
    hold: "gate($_GET['id']); echo 'held';",
    raise: "echo 'x'; posix_kill(getmypid(), 9);",
  },
};

function life(under: Under): void {
  test("max_requests replaces a worker without an error, and counts it", async () => {
    await using server = await under.begin(
      appOptions({ ...app, pool: { max_requests: 5 }, config: { admin: { enabled: true, port: 0 } } }),
    );
    for (let i = 0; i < 30; i++) expect(Number((await get(server, "/count")).text)).toBeGreaterThan(0);
    const { restarts } = await poolPage(server);
    expect(restarts.max_requests).toBeGreaterThan(2);
    expect(restarts).toMatchObject({ fatal: 0, crash: 0, script: 0, boot: 0 });
    expect(server.log.text).not.toMatch(/ (warn |error) .*worker/);
    expect((await get(server, "/who")).status).toBe(200);
  });

  test("a worker that holds more than memory_limit_mb leaves behind its request", async () => {
    await using server = await under.begin(appOptions({ ...app, pool: { memory_limit_mb: 64 } }));
    const { text: before } = await get(server, "/who");
    for (let i = 0; i < 2; i++) expect((await get(server, "/hoard")).text).toBe("kept");
    await server.waitForLog(/replacing a worker: it (held|holds) \d+ MiB/);
    await eventually("another one serves", async () =>
      (await get(server, "/who")).text === before ? undefined : true,
    );
    expect((await get(server, "/count")).status).toBe(200);
  });

  test("a worker that is killed in the middle is a 502 for its request alone", async () => {
    await using server = await under.begin(appOptions({ ...app, pool: { worker_count: 2 } }));
    const other = get(server, "/hold?id=other");
    await server.record("other", /here/);
    expect((await get(server, "/raise")).status).toBe(502);
    if (under.threads) {
      expect((await other).status).toBe(502); // they share a process, and its end
    } else {
      server.openGate("other");
      expect((await other).text).toBe("held");
    }
    for (let i = 0; i < 5; i++) expect((await get(server, "/who")).status).toBe(200);
  });

  test("a reload under load loses no request, and brings the new application", async () => {
    const versioned = (version: string) => workerScript({ boot: `const VERSION = '${version}';` });
    const options = appOptions({ ...app, pool: { worker_count: 2 } });
    await using server = await under.begin({
      ...options,
      files: { ...options.files, "app/worker.php": versioned("0") },
    });
    const asking = new AbortController();
    const seen = new Set<string>();
    const client = async (): Promise<void> => {
      while (!asking.signal.aborted) {
        const { status, text } = await get(server, "/version");
        expect(status).toBe(200);
        seen.add(text);
      }
    };
    const clients = Array.from({ length: 4 }, client);
    for (const version of ["1", "2", "3"]) {
      const before = family(server);
      writeFileSync(join(server.docroot, "app/worker.php"), versioned(version));
      await reload(server);
      await allGone(before);
      expect((await get(server, "/version")).text).toBe(version);
    }
    asking.abort();
    await Promise.all(clients);
    expect([...seen].sort()).toEqual(["0", "1", "2", "3"]);
  });
}

underEachIsolation((under) => {
  routing(under);
  describe("a pool in worker mode:", () => life(under));
  describe("the status page", () => {
    const server = sharedApp(under, { ...app, config: { admin: { enabled: true, port: 0 } } });
    test("tells the mode of a pool, and what its workers have served", async () => {
      for (let i = 0; i < 3; i++) await get(server(), "/count");
      expect(await poolPage(server())).toMatchObject({ name: "default", mode: "worker" });
      expect((await get(server(), "/who")).status).toBe(200);
    });
  });
});

test("a stop lets requests in worker mode finish, and ends with code 0", async () => {
  const options = appOptions(app);
  const server: Server = await start(options);
  await using held = server;
  const holding = get(held, "/hold?id=stop");
  await held.record("stop", /here/);
  const pids = await workerPids(held, 1);
  held.signal("SIGTERM");
  held.openGate("stop");
  expect((await holding).text).toBe("held");
  expect(await held.exited).toBe(0);
  await allGone(pids);
});
