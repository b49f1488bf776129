import { expect } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { eventually, type Server, start, test, type Tree, within } from "../harness.ts";
import { configure, family, phprun, poolOf, refusedReload, reload, replaced, statusOf } from "./control.ts";
import {
  allGone,
  ask,
  childrenOf,
  descriptors,
  GATE,
  get,
  isRunning,
  onePool,
  underEachIsolation,
  WORKER_ID,
  workerPids,
} from "./support.ts";

const files = {
  "pid.php": `<?php echo ${WORKER_ID};`,
  "wait.php": `<?php ${GATE} gate($_GET['gate'] ?? 'wait'); echo 'finished';`,
  // Only where the pool says so, it waits.
  "health.php": `<?php ${GATE} if (getenv('SLOW')) gate('health'); echo 'fine';`,
};

/** A pool whose next generation is held up in its probe until the gate "health" is opened. */
const held = (rest: Tree = {}) =>
  onePool({ worker_count: 1, env: { SLOW: "1" } }, { health: { path: "/health.php" }, ...rest });

/** Starts a reload that hangs in its probe; `outcome` is what will become of it. */
async function startHeld(server: Server, config: Tree = held()) {
  configure(server, config);
  const outcome = phprun(server, "reload");
  await server.record("health", /here/);
  return { outcome };
}

/** So many sockets the front has open. */
const sockets = (server: Server): number =>
  [...descriptors(server.pid).values()].filter((target) => target.startsWith("socket:")).length;

/** The host that has come beside the one that serves. */
async function candidateHost(server: Server, serving: readonly number[]): Promise<number> {
  return await eventually("there is a second host", () =>
    childrenOf(server.pid).find((pid) => isRunning(pid) && !serving.includes(pid)),
  );
}

test("reloads that are asked for while one runs are done once, after it, and all callers hear of it", async () => {
  await using server = await start({ files, config: onePool({ worker_count: 1 }) });
  const before = family(server);
  configure(server, held());
  const first = phprun(server, "reload");
  await server.record("health", /here/);
  const idle = sockets(server);
  const [second, third] = [phprun(server, "reload"), phprun(server, "reload")];
  server.signal("SIGHUP");
  // They are on their way: what is written now must show in the one that they wait for.
  configure(server, onePool({ worker_count: 2 }, { health: { path: "/pid.php" } }));
  await eventually("both have come", () => (sockets(server) === idle + 2 ? true : undefined));
  // What comes after them has been answered, so they have been heard.
  expect((await statusOf(server)).state).toBe("reloading");
  server.openGate("health");
  for (const outcome of await Promise.all([first, second, third])) {
    expect(outcome).toMatchObject({ code: 0, err: "" });
  }
  await replaced(server, before, 3);
  const { reloads, pools } = await statusOf(server);
  expect(reloads).toMatchObject({ done: 2, refused: 0 });
  expect(pools[0]).toMatchObject({ generation: 3, limits: { max: 2 } });
});

test("a stop right after a reload was asked for ends everything, with 0", async () => {
  await using server = await start({ files, config: onePool({ worker_count: 1 }) });
  const before = family(server);
  server.signal("SIGHUP");
  server.signal("SIGTERM");
  expect(await within(server.exited, "it has stopped")).toBe(0);
  await allGone(before);
});

underEachIsolation(({ threads, begin }) => {
  /** Processes of a generation with one worker. */
  const each = threads ? 1 : 2;

  test("a stop while a reload waits for its probe ends both generations at once", async () => {
    await using server = await begin({ files, config: onePool({ worker_count: 1 }) });
    const serving = childrenOf(server.pid);
    const { outcome } = await startHeld(server);
    await candidateHost(server, serving);
    const all = family(server);
    expect(all).toBeArrayOfSize(2 * each);
    server.signal("SIGTERM");
    expect(await within(server.exited, "it has stopped", 3000)).toBe(0);
    await allGone(all);
    const { code, err } = await outcome;
    expect(code).toBe(1);
    expect(err).toContain("the server is stopping");
  });

  test("a stop while a reload brings up another pool does not wait for that", async () => {
    await using server = await begin({ files, config: onePool({ worker_count: 1 }) });
    const serving = childrenOf(server.pid);
    const { outcome } = await startHeld(server, {
      health: { path: "/health.php" },
      pools: [
        { name: "added", worker_count: 1, patterns: ["/added/*"], env: { SLOW: "1" } },
        { name: "default", worker_count: 1 },
      ],
    });
    await candidateHost(server, serving);
    const all = family(server);
    server.signal("SIGTERM");
    expect(await within(server.exited, "it has stopped", 3000)).toBe(0);
    await allGone(all);
    const { code, err } = await outcome;
    expect(code).toBe(1);
    expect(err).toContain("the server is stopping");
  });

  test("a new host that is killed while it is probed costs the reload, nothing else", async () => {
    await using server = await begin({ files, config: onePool({ worker_count: 1 }) });
    const [worker] = await workerPids(server, 1);
    const before = family(server);
    const { outcome } = await startHeld(server);
    process.kill(await candidateHost(server, before), "SIGKILL");
    const { code, err } = await outcome;
    expect(code).toBe(1);
    expect(err).toContain("Reload refused: ");
    expect((await get(server, "/pid.php")).text).toBe(String(worker));
    await eventually("only the old ones are left", () =>
      Bun.deepEquals(family(server), before) ? true : undefined,
    );
    configure(server, onePool({ worker_count: 1 }));
    await reload(server);
  });

  test("a new host that is killed after its probe, while another pool is probed, is not put to use", async () => {
    const pools = (slow: string) => [
      { name: "first", worker_count: 1, patterns: ["/pid.php"] },
      { name: "last", worker_count: 1, env: { SLOW: slow } },
    ];
    await using server = await begin({ files, config: { pools: pools("") } });
    const before = family(server);
    const old = (await get(server, "/pid.php")).text;
    const { outcome } = await startHeld(server, { health: { path: "/health.php" }, pools: pools("1") });
    const { generations } = await poolOf(server, "first");
    const candidate = generations.find(({ state }) => state === "candidate")?.hostPid ?? 0;
    expect(before).not.toContain(candidate);
    process.kill(candidate, "SIGKILL");
    // Once the front has seen it: before that, it takes over and is replaced.
    await server.waitForLog(/host ended with SIGKILL pool=first gen=2/);
    server.openGate("health");
    const { code, err } = await outcome;
    expect({ code, err }).toMatchObject({ code: 1 });
    expect(err).toContain("pool first: its host ended with SIGKILL");
    expect((await get(server, "/pid.php")).text).toBe(old);
    expect(family(server)).toEqual(before);
  });

  test("the serving host may be killed during a reload: what it had is lost, and the new generation serves", async () => {
    await using server = await begin({ files, config: onePool({ worker_count: 1 }) });
    const before = family(server);
    const { outcome } = await startHeld(server);
    process.kill(childrenOf(server.pid).find((pid) => before.includes(pid)) ?? 0, "SIGKILL");
    await allGone(before);
    const answer = get(server, "/pid.php");
    server.openGate("health");
    expect((await answer).status).toBe(200);
    expect(await outcome).toMatchObject({ code: 0 });
    const { generations, generation } = await poolOf(server);
    const last = Number((await get(server, "/pid.php")).text);
    await eventually("one generation is left", () => (family(server).length === each ? true : undefined));
    expect(isRunning(last)).toBeTrue();
    expect(generations.find(({ state }) => state === "current")?.number).toBe(generation);
    expect((await statusOf(server)).ready).toBeTrue();
  });

  test("twelve reloads under load with connections that are kept: no request fails", async () => {
    await using server = await begin({
      files: { ...files, "sum.php": `<?php usleep(2000); echo crc32($_GET['q']), ' ', ${WORKER_ID};` },
      config: onePool({ worker_count: 3 }),
    });
    const enough = new AbortController();
    let answered = 0;
    const wrong: string[] = [];
    const pids = new Set<string>();
    const client = async (name: number) => {
      for (let count = 0; !enough.signal.aborted; count++) {
        const q = `${name}-${count}`;
        // Bun's fetch keeps its connections.
        const response = await fetch(`${server.url}/sum.php?q=${q}`).catch((error: Error) => error);
        const text = response instanceof Error ? response.message : await response.text();
        const [sum = "", pid = ""] = text.split(" ");
        if (sum !== String(Bun.hash.crc32(q))) wrong.push(text.slice(0, 200));
        pids.add(pid);
        answered++;
      }
    };
    const clients = Array.from({ length: 8 }, (_, name) => client(name));
    for (let generation = 2; generation <= 13; generation++) {
      const mark = server.log.mark();
      const so = answered;
      server.signal("SIGHUP");
      await server.waitForLog(new RegExp(`reloaded: pool default generation ${generation}\\b`), mark);
      await eventually("requests go on", () => (answered > so + 20 ? true : undefined));
    }
    enough.abort();
    await Promise.all(clients);
    expect(wrong).toEqual([]);
    expect(pids.size).toBeGreaterThan(20);
    const { requests } = await poolOf(server);
    expect(requests).toMatchObject({ lost: 0, refused: { queue_full: 0, stopping: 0, pool_failed: 0 } });
  });

  test("a request that does not end in reload.drain_timeout_ms is cut off with 503, and that is logged", async () => {
    await using server = await begin({
      files,
      config: onePool({ worker_count: 1 }, { reload: { drain_timeout_ms: 150 } }),
    });
    const before = family(server);
    using running = await ask(server, "/wait.php");
    await server.record("wait", /here/);
    await reload(server);
    expect((await running.response()).status).toBe(503);
    await server.waitForLog(
      /requests of the old generation did not end within 150 ms and are cut off .*gen=1 requests=1/,
    );
    await replaced(server, before, each);
    expect((await get(server, "/pid.php")).status).toBe(200);
  });

  test("the drain time of the new configuration counts", async () => {
    await using server = await begin({ files, config: onePool({ worker_count: 1 }) });
    using running = await ask(server, "/wait.php");
    await server.record("wait", /here/);
    configure(server, onePool({ worker_count: 1 }, { reload: { drain_timeout_ms: 100 } }));
    await reload(server);
    expect((await running.response()).status).toBe(503);
  });

  test("a stop during a drain lets the old generation's requests end as well", async () => {
    await using server = await begin({ files, config: onePool({ worker_count: 1 }) });
    using running = await ask(server, "/wait.php");
    await server.record("wait", /here/);
    await reload(server);
    server.signal("SIGTERM");
    await server.waitForLog(/./);
    server.openGate("wait");
    expect((await running.response()).text).toBe("finished");
    expect(await within(server.exited, "it has stopped")).toBe(0);
  });
});

test("a stop lets a pool that was removed end what it has begun, also after its answer", async () => {
  const after = `<?php ${GATE} echo 'answered'; fastcgi_finish_request(); gate('after');
    file_put_contents(getenv('RECORDS') . '/done', 'done');`;
  const rest = { name: "rest", worker_count: 1 };
  const going = { name: "going", worker_count: 1, patterns: ["/after.php"] };
  await using server = await start({ files: { "after.php": after }, config: { pools: [going, rest] } });
  expect((await get(server, "/after.php")).text).toBe("answered");
  await server.record("after", /here/);
  configure(server, { pools: [rest] });
  await reload(server);
  server.signal("SIGTERM");
  await eventually("it is stopping", async () =>
    (await statusOf(server)).state === "stopping" ? true : undefined,
  );
  expect((await statusOf(server)).state).toBe("stopping");
  server.openGate("after");
  await server.record("done", /done/);
  expect(await within(server.exited, "it has stopped")).toBe(0);
});

test("code that was broken and is mended again reloads as if nothing had been", async () => {
  await using server = await start({ files, config: onePool({ worker_count: 1 }) });
  const before = family(server);
  const path = join(server.docroot, "health.php");
  writeFileSync(path, "<?php nonsense(");
  configure(server, onePool({ worker_count: 1 }, { health: { path: "/health.php" } }));
  for (let count = 0; count < 3; count++) {
    expect(await refusedReload(server)).toContain("health.php");
    expect(family(server)).toEqual(before);
  }
  writeFileSync(path, "<?php echo 'fine';");
  expect(await reload(server)).toContain("generation 5");
  await replaced(server, before, 2);
});
