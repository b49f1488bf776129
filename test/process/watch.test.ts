import { expect, test as bunTest } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { eventually, type Server, start, type StartOptions, test } from "../harness.ts";
import { configure, family, poolOf, reload } from "./control.ts";
import { get, isRunning, onePool, startedPids, underEachIsolation, workerPids } from "./support.ts";

const files = {
  "app.php": "<?php echo 'one';",
  "health.php": "<?php echo 'fine';",
  "var/cache.php": "<?php return 1;",
};

const watching = onePool({ worker_count: 1 }, { watch: { debounce_ms: 100 } });

const startWatching = (options: StartOptions = {}) =>
  start({ files, config: watching, args: ["--watch"], ...options });

const put = (server: Server, name: string, content: string) => {
  const path = join(server.docroot, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content);
};

const reloads = (server: Server): string[] => server.log.text.match(/info +reloading .*/g) ?? [];

underEachIsolation(({ threads, begin }) => {
  for (const pollMs of threads ? [0] : [0, 50]) {
    test(`changes that come together reload once${pollMs > 0 ? ", also when files are polled" : ""}`, async () => {
      const config = { ...watching, watch: { debounce_ms: 100, poll_ms: pollMs } };
      await using server = await begin({ files, config, args: ["--watch"] });
      const mark = server.log.mark();
      put(server, "app.php", "<?php require 'lib/word.php'; echo word();");
      put(server, "lib/word.php", "<?php function word() { return 'two'; }");
      put(server, "lib/more.php", "<?php");
      await server.waitForLog(/reloaded: pool default generation 2/, mark);
      expect((await get(server, "/app.php")).text).toBe("two");
      put(server, "lib/word.php", "<?php function word() { return 'three'; }");
      await server.waitForLog(/reloaded: pool default generation 3/, mark);
      expect((await get(server, "/app.php")).text).toBe("three");
      expect(reloads(server)).toBeArrayOfSize(2);
      expect(reloads(server)[1]).toContain("word.php");
    });
  }
});

test("a change below an ignored folder, or of a file that is no code, does nothing", async () => {
  await using server = await startWatching();
  put(server, "var/cache.php", "<?php return 2;");
  put(server, "upload.bin", "bytes");
  // What comes after them tells that they have been seen.
  put(server, "app.php", "<?php echo 'two';");
  await server.waitForLog(/reloaded: pool default generation 2/);
  expect(reloads(server)).toEqual([expect.stringContaining("app.php")]);
  expect(reloads(server)[0]).not.toMatch(/cache\.php|upload/);
});

test("what is broken is shown and the server goes on; mending it reloads", async () => {
  await using server = await startWatching();
  const before = family(server);
  let mark = server.log.mark();
  server.write("phprun.yaml", "pools: [ {");
  await server.waitForLog(/error reload refused, nothing has changed: .*phprun\.yaml:\d/, mark);
  expect((await get(server, "/app.php")).text).toBe("one");
  expect(family(server)).toEqual(before);
  mark = server.log.mark();
  configure(server, { ...watching, health: { path: "/health.php" } });
  await server.waitForLog(/reloaded: pool default generation 2/, mark);
  mark = server.log.mark();
  put(server, "health.php", "<?php echo nonsense(;");
  await server.waitForLog(/error reload refused, nothing has changed: .*health\.php on line 1/, mark);
  expect((await get(server, "/app.php")).text).toBe("one");
  mark = server.log.mark();
  put(server, "health.php", "<?php echo 'fine again';");
  await server.waitForLog(/reloaded: pool default generation 4/, mark);
  expect((await get(server, "/app.php")).text).toBe("one");
});

/** Kills every worker of a pool as soon as it is there, until the pool is given up. */
async function wearOut(server: Server, pool: string): Promise<void> {
  const killing = setInterval(() => {
    for (const [, pid] of server.log.text.matchAll(
      new RegExp(`worker started pool=${pool} .* pid=(\\d+)`, "g"),
    ))
      if (isRunning(Number(pid))) process.kill(Number(pid), "SIGKILL");
  }, 5);
  try {
    for (;;) {
      const found = await server
        .waitForLog(new RegExp(`the pool is given up: .*pool=${pool}`))
        .catch((error: Error) => (/does not have/.test(error.message) ? null : Promise.reject(error)));
      if (found !== null) return;
    }
  } finally {
    clearInterval(killing);
  }
}

bunTest(
  "a reload brings a pool back that was given up; while watching, that all are does not end the server",
  async () => {
    const one = { files, config: onePool({ worker_count: 1 }, { watch: { debounce_ms: 100 } }) };
    await using watched = await startWatching(one);
    const pools = [
      { name: "bad", worker_count: 1, patterns: ["/app.php"] },
      { name: "good", worker_count: 1 },
    ];
    await using plain = await start({ files, config: { pools, logging: { level: "debug", access: false } } });
    await Promise.all([workerPids(watched, 1), workerPids(plain, 2)]);
    await Promise.all([wearOut(watched, "default"), wearOut(plain, "bad")]);

    expect(await get(watched, "/app.php")).toMatchObject({ status: 503 });
    expect(await get(plain, "/app.php")).toMatchObject({ status: 503 });
    expect(await get(plain, "/health.php")).toMatchObject({ status: 200 });
    expect(await poolOf(plain, "bad")).toMatchObject({ state: "failed" });
    put(watched, "app.php", "<?php echo 'two';");
    await watched.waitForLog(/reloaded: pool default generation 2/);
    expect((await get(watched, "/app.php")).text).toBe("two");
    await reload(plain);
    expect((await get(plain, "/app.php")).text).toBe("one");
    await eventually("all pools serve", async () =>
      (await poolOf(plain, "bad")).state === "serving" ? true : undefined,
    );
    expect(startedPids(watched).filter(isRunning)).toBeArrayOfSize(1);
  },
  45_000,
);
