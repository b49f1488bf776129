import { expect } from "bun:test";
import type { PoolStatus } from "../../src/control/status.ts";
import { type Connection, eventually, type Server, test } from "../harness.ts";
import { configure, poolOf, reload } from "./control.ts";
import {
  ask,
  childrenOf,
  GATE,
  get,
  isRunning,
  onePool,
  startedPids,
  underEachIsolation,
  WORKER_ID,
  workerPids,
} from "./support.ts";

const files = {
  "pid.php": `<?php echo ${WORKER_ID};`,
  "wait.php": `<?php ${GATE} gate($_GET['gate'] ?? 'wait'); echo 'finished';`,
};

const config = (idleMs: number, max = 4) =>
  onePool({ worker_count: { min: 1, max }, idle_timeout_ms: idleMs });

const living = (server: Server): number[] => startedPids(server).filter(isRunning);

/** Requests that hold a worker each until the gate is opened. */
async function occupy(server: Server, count: number): Promise<Connection[]> {
  return await Promise.all(Array.from({ length: count }, () => ask(server, "/wait.php")));
}

async function finish(server: Server, connections: readonly Connection[]): Promise<void> {
  server.openGate("wait");
  for (const connection of connections) {
    expect(await connection.response()).toMatchObject({ status: 200, text: "finished" });
    connection.close();
  }
}

const busyWorkers = (pool: PoolStatus): number =>
  pool.workers.filter(({ request }) => request !== null).length;

underEachIsolation(({ threads, begin }) => {
  test("a pool begins with its least workers, and a burst of short requests adds none", async () => {
    await using server = await begin({ files, config: config(10_000) });
    const [only] = await workerPids(server, 1);
    for (let burst = 0; burst < 5; burst++) {
      const answers = await Promise.all(Array.from({ length: 12 }, () => get(server, "/pid.php")));
      expect(new Set(answers.map(({ text }) => text))).toEqual(new Set([String(only)]));
    }
    const pool = await poolOf(server);
    expect(pool).toMatchObject({ limits: { min: 1, max: 4 }, requests: { served: 60 } });
    expect(startedPids(server)).toEqual([only ?? 0]);
  });

  test("a lasting queue makes a pool grow to its most, not beyond, and idleness shrinks it again", async () => {
    await using server = await begin({ files, config: config(200) });
    const connections = await occupy(server, 12);
    const grown = await eventually("four workers are busy", async () => {
      const pool = await poolOf(server);
      return busyWorkers(pool) === 4 ? pool : undefined;
    });
    expect(grown.workers).toBeArrayOfSize(4);
    if (threads) expect(childrenOf(childrenOf(server.pid)[0] ?? 0)).toEqual([]);
    // Requests still wait for what the whole pool has: time enough to grow by another, if it did.
    await eventually("the first has waited much longer than growing takes", async () =>
      (await poolOf(server)).queue.longestWaitMs > 900 ? true : undefined,
    );
    expect(startedPids(server)).toBeArrayOfSize(4);
    await finish(server, connections);
    await eventually(
      "one worker is left",
      () => (living(server).length === 1 ? true : undefined),
      () => String(living(server)),
    );
    const pool = await poolOf(server);
    expect(pool.restarts).toMatchObject({ idle: 3, crash: 0, exit: 0 });
    expect(pool.requests).toMatchObject({ served: 12, lost: 0 });
    expect((await get(server, "/pid.php")).text).toBe(String(living(server)[0]));
  });

  test("no request is lost while workers are taken away under load", async () => {
    await using server = await begin({ files, config: config(100) });
    const connections = await occupy(server, 8);
    await eventually("it has grown", () => (living(server).length === 4 ? true : undefined));
    await finish(server, connections);
    const enough = new AbortController();
    let answered = 0;
    const wrong: string[] = [];
    const client = async () => {
      while (!enough.signal.aborted) {
        const response = await fetch(`${server.url}/pid.php`).catch((error: Error) => error);
        if (response instanceof Error) wrong.push(response.message);
        else if (!/^\d+$/.test(await response.text())) wrong.push(String(response.status));
        answered++;
      }
    };
    const load = client();
    await eventually("it has shrunk", () => (living(server).length <= 2 ? true : undefined));
    enough.abort();
    await load;
    expect(wrong).toEqual([]);
    expect(answered).toBeGreaterThan(10);
    expect((await poolOf(server)).requests.lost).toBe(0);
  });

  test("a reload keeps as many workers as there were, within the new limits", async () => {
    await using server = await begin({ files, config: config(60_000) });
    const connections = await occupy(server, 8);
    await eventually("it has grown", () => (living(server).length === 4 ? true : undefined));
    await finish(server, connections);
    configure(server, config(60_000, 3));
    await reload(server);
    // They are there before they are needed.
    const before = server.log.text.slice(0, server.log.text.indexOf("reloaded: "));
    expect(before.match(/worker started .* gen=2 /g)).toBeArrayOfSize(3);
    const { workers, generation } = await poolOf(server);
    expect(generation).toBe(2);
    expect(workers.filter((worker) => worker.generation === 2)).toBeArrayOfSize(3);
  });
});
