import { expect } from "bun:test";
import { mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Connection, eventually, raw, type Server, start, test, type Tree } from "../harness.ts";
import { configure, family, poolOf, reload, replaced, statusOf } from "./control.ts";
import {
  allGone,
  ask,
  descriptors,
  GATE,
  get,
  isRunning,
  onePool,
  Scratch,
  underEachIsolation,
  WORKER_ID,
  workerPids,
} from "./support.ts";

/** With these a generation never looks at a file twice: what is new can only come from the next one. */
const FROZEN = { "opcache.validate_timestamps": "0", "opcache.file_update_protection": "0" };

const files = {
  "pid.php": `<?php echo ${WORKER_ID};`,
  "wait.php": `<?php ${GATE} gate($_GET['gate'] ?? 'wait'); echo 'finished by ', ${WORKER_ID};`,
};

const put = (server: Server, name: string, content: string) =>
  writeFileSync(join(server.docroot, name), content);

const WAYS: Readonly<Record<string, (server: Server) => Promise<void>>> = {
  SIGHUP: async (server) => {
    const mark = server.log.mark();
    server.signal("SIGHUP");
    await server.waitForLog(/reloaded: pool default generation 2/, mark);
  },
  SIGUSR2: async (server) => {
    const mark = server.log.mark();
    server.signal("SIGUSR2");
    await server.waitForLog(/reloaded: pool default generation 2/, mark);
  },
  "phprun reload": async (server) => {
    expect(await reload(server)).toContain("generation 2");
  },
};

underEachIsolation(({ threads, begin }) => {
  for (const [way, trigger] of Object.entries(WAYS).slice(threads ? -1 : 0)) {
    test(`${way} brings new code, settings and environment by a new generation, and the old one goes`, async () => {
      const shown = (word: string) =>
        `<?php echo "${word} ", ini_get('precision'), ' ', getenv('STAGE'), ' ', ini_get('opcache.enable'), ' ', ${WORKER_ID};`;
      const config = (precision: string, stage: string, workers: number): Tree =>
        onePool({ worker_count: workers }, { php: { ini: { ...FROZEN, precision }, env: { STAGE: stage } } });
      await using server = await begin({ files: { "app.php": shown("old") }, config: config("5", "a", 1) });
      const [worker] = await workerPids(server, 1);
      expect((await get(server, "/app.php")).text).toBe(`old 5 a 1 ${worker}`);
      const before = family(server);
      put(server, "app.php", shown("new"));
      configure(server, config("7", "b", 2));
      expect((await get(server, "/app.php")).text).toBe(`old 5 a 1 ${worker}`);

      await trigger(server);
      const after = await replaced(server, before, threads ? 1 : 3);
      const [, pid] = /^new 7 b 1 (\d+)$/.exec((await get(server, "/app.php")).text) ?? [];
      expect(isRunning(Number(pid))).toBeTrue();
      if (!threads) expect(after).toContain(Number(pid));
      const status = await eventually("the old generation is gone", async () => {
        const seen = await statusOf(server);
        return seen.pools[0]?.generations.length === 1 ? seen : undefined;
      });
      expect(status).toMatchObject({ state: "serving", ready: true, reloads: { done: 1, refused: 0 } });
      expect(status.pools[0]?.generations).toMatchObject([{ number: 2, state: "current", workers: 2 }]);
    });
  }

  test("what has begun ends on the old generation, what waits goes to the new one", async () => {
    await using server = await begin({
      files: {
        ...files,
        "stream.php": `<?php ${GATE} ob_end_clean(); echo 'first,'; flush(); gate('stream'); echo 'second';`,
        "after.php": `<?php ${GATE} echo 'answered'; fastcgi_finish_request(); gate('after');
          file_put_contents(getenv('RECORDS') . '/done', ${WORKER_ID});`,
      },
      config: onePool({ worker_count: 3 }),
    });
    const old = await workerPids(server, 3);
    const before = family(server);
    using running = await ask(server, "/wait.php");
    using streaming = await ask(server, "/stream.php");
    await streaming.until(/first,/);
    expect((await get(server, "/after.php")).text).toBe("answered");
    for (const name of ["wait", "stream", "after"]) await server.record(name, /here/);
    // All three are busy, so these wait: some in memory that workers see already, some behind it.
    const waiting = await Promise.all(Array.from({ length: 25 }, () => ask(server, "/pid.php")));
    await eventually("all have come in", async () =>
      (await poolOf(server)).queue.waiting === waiting.length ? true : undefined,
    );

    await reload(server);
    for (const connection of waiting) {
      const { status, text } = await connection.response();
      expect(status).toBe(200);
      expect(old).not.toContain(Number(text));
      connection.close();
    }
    expect((await poolOf(server)).generations).toMatchObject([
      { number: 2, state: "current" },
      { number: 1, state: "draining", inFlight: 3 },
    ]);
    for (const name of ["wait", "stream", "after"]) server.openGate(name);
    expect((await running.response()).text).toMatch(new RegExp(`^finished by (${old.join("|")})$`));
    const streamed = await streaming.response();
    expect(streamed).toMatchObject({ status: 200, text: "first,second", whole: true });
    expect(old).toContain(Number(await server.record("done", /\d/)));
    await allGone(before);
    expect((await poolOf(server)).requests.lost).toBe(0);
  });

  test("one reload after another leaves nothing behind: no descriptor, no memory, no process", async () => {
    await using server = await begin({ files, config: onePool({ worker_count: 2 }) });
    const each = threads ? 1 : 3;
    const last = threads ? 10 : 22;
    const count = () => {
      const maps = readFileSync(`/proc/${server.pid}/maps`, "utf8");
      return {
        descriptors: descriptors(server.pid).size,
        maps: maps.match(/phprun-pool/g)?.length ?? 0,
        shared: maps.match(/\/dev\/shm/g)?.length ?? 0,
        processes: family(server).length,
      };
    };
    const once = async (generation: number) => {
      const old = family(server);
      const mark = server.log.mark();
      server.signal("SIGHUP");
      await server.waitForLog(new RegExp(`reloaded: pool default generation ${generation}\\b`), mark);
      expect((await get(server, "/pid.php")).status).toBe(200);
      await replaced(server, old, each);
    };
    await once(2);
    await once(3);
    const settled = () => (count().maps === 1 && count().processes === each ? count() : undefined);
    const before = await eventually("the old generation has gone", settled);
    for (let generation = 4; generation <= last; generation++) await once(generation);
    await eventually(
      "there is no more than before",
      () => (count().descriptors <= before.descriptors && settled() !== undefined ? true : undefined),
      () => JSON.stringify({ before, now: count(), open: [...descriptors(server.pid).values()] }),
    );
  });

  test("a docroot that is a link shows the old release until the reload and the new one after it", async () => {
    using scratch = new Scratch();
    const release = (name: string) => {
      mkdirSync(join(scratch.path, name));
      scratch.write(`${name}/word.php`, `<?php return '${name}';`);
      scratch.write(
        `${name}/app.php`,
        "<?php echo json_encode([__DIR__, $_SERVER['SCRIPT_FILENAME'], $_SERVER['DOCUMENT_ROOT'], require 'word.php', require __DIR__ . '/word.php']);",
      );
      scratch.write(`${name}/static.txt`, name);
      return join(scratch.path, name);
    };
    const current = join(scratch.path, "current");
    const [old, next] = [release("one"), release("two")];
    symlinkSync(old, current);
    await using server = await begin({
      docroot: current,
      config: onePool({ worker_count: 1 }, { php: { docroot: current, ini: FROZEN } }),
    });
    const seen = async () => [
      ...(JSON.parse((await get(server, "/app.php")).text) as string[]),
      (await get(server, "/static.txt")).text,
    ];
    const of = (folder: string, name: string) => [folder, join(folder, "app.php"), folder, name, name, name];
    expect(await seen()).toEqual(of(old, "one"));
    // As deploys do it: the link is replaced at one moment.
    symlinkSync(next, `${current}.next`);
    renameSync(`${current}.next`, current);
    expect(await seen()).toEqual(of(old, "one"));
    const before = family(server);
    await reload(server);
    expect(await seen()).toEqual(of(next, "two"));
    expect((await statusOf(server)).docroot).toBe(next);
    await allGone(before);
    rmSync(old, { recursive: true });
    expect(await seen()).toEqual(of(next, "two"));
    await reload(server);
  });
});

test("a reload brings other pools, patterns, front controller, error pages and trusted proxies", async () => {
  const pool = (name: string, patterns: string[]): Tree => ({
    name,
    patterns,
    worker_count: 1,
    env: { POOL: name },
  });
  await using server = await start({
    files: {
      "index.php": "<?php echo 'index of ', getenv('POOL');",
      "other.php": "<?php echo 'other of ', getenv('POOL'), ' for ', $_SERVER['REMOTE_ADDR'];",
      "a/x.php": "<?php echo 'x of ', getenv('POOL');",
    },
    config: { pools: [pool("first", ["/a/*"]), pool("rest", ["/*"])] },
  });
  const text = async (path: string) => (await get(server, path)).text;
  const forwarded = async () =>
    (
      await raw(
        server.url,
        "GET /other.php HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.7\r\nConnection: close\r\n\r\n",
      )
    ).text;
  expect(await text("/a/x.php")).toBe("x of first");
  expect(await text("/nothing")).toBe("index of rest");
  expect(await forwarded()).toBe("other of rest for 127.0.0.1");
  expect((await get(server, "/.hidden")).text).toContain("<html");
  const before = family(server);

  const page = server.write("403.html", "no way in");
  configure(server, {
    server: { trusted_proxies: ["127.0.0.1"] },
    php: { front_controller: "other.php" },
    error_pages: { 403: page },
    pools: [pool("added", ["/a/*"]), pool("rest", ["/*"])],
  });
  const told = await reload(server);
  expect(told).toContain("pool added generation 1");
  expect(told).toContain("pool rest generation 2");
  expect(await text("/a/x.php")).toBe("x of added");
  expect(await text("/nothing")).toBe("other of rest for 127.0.0.1");
  expect(await forwarded()).toBe("other of rest for 192.0.2.7");
  expect(await get(server, "/.hidden")).toMatchObject({ status: 403, text: "no way in" });
  await replaced(server, before, 4);
  expect((await statusOf(server)).pools.map(({ name }) => name)).toEqual(["added", "rest"]);

  // The order alone decides now.
  configure(server, { pools: [pool("added", ["/b/*"]), pool("rest", ["/*"])] });
  await reload(server);
  expect(await text("/a/x.php")).toBe("x of rest");
});

test("what is read only at start is told as such, and does not stop the reload", async () => {
  await using server = await start({ files, config: onePool({ worker_count: 1 }) });
  configure(server, onePool({ worker_count: 1 }, { server: { port: 1 }, admin: { enabled: true, port: 0 } }));
  const told = await reload(server);
  expect(told).toContain("server.listen has changed and takes effect after a restart");
  expect(told).toContain("admin has changed and takes effect after a restart");
  expect((await get(server, "/pid.php")).status).toBe(200);
});

test("a request whose body is still coming when its pool is removed is served all the same", async () => {
  const pool = (name: string, patterns: string[]): Tree => ({ name, patterns, worker_count: 1 });
  await using server = await start({
    files: { "in/put.php": "<?php echo strlen(file_get_contents('php://input'));" },
    config: { pools: [pool("going", ["/in/*"]), pool("rest", ["/*"])] },
  });
  using sending = await Connection.open(server.url);
  const head = "POST /in/put.php HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n";
  await sending.send(`${head}Content-Length: 200000\r\nExpect: 100-continue\r\n\r\n`);
  await sending.send("x".repeat(100_000));
  configure(server, { pools: [pool("rest", ["/*"])] });
  await reload(server);
  await sending.send("x".repeat(100_000));
  expect(await sending.response()).toMatchObject({ status: 200, text: "200000" });
});

test("a pool whose spool must change is replaced without losing what it has", async () => {
  const config = (size: string) => onePool({ worker_count: 1 }, { server: { client_max_body_size: size } });
  await using server = await start({
    files: { ...files, "put.php": "<?php echo strlen(file_get_contents('php://input'));" },
    config: config("100KiB"),
  });
  const before = family(server);
  const send = (bytes: number) =>
    raw(
      server.url,
      `POST /put.php HTTP/1.1\r\nHost: x\r\nContent-Length: ${bytes}\r\nConnection: close\r\n\r\n${"x".repeat(bytes)}`,
    );
  expect((await send(150_000)).status).toBe(413);
  using running = await ask(server, "/wait.php");
  await server.record("wait", /here/);
  using waiting = await ask(server, "/pid.php");
  await eventually("it waits", async () => ((await poolOf(server)).queue.waiting === 1 ? true : undefined));
  configure(server, config("200KiB"));
  await reload(server);
  expect((await send(150_000)).text).toBe("150000");
  server.openGate("wait");
  expect((await running.response()).status).toBe(200);
  expect((await waiting.response()).status).toBe(200);
  await allGone(before);
});
