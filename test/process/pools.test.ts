import { describe, expect } from "bun:test";
import { chmodSync, copyFileSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import {
  type Connection,
  eventually,
  launch,
  raw,
  type Server,
  start,
  targets,
  test,
  type Tree,
} from "../harness.ts";
import { ztsLibphp } from "../zts.ts";
import { configure, poolOf, reload, statusOf } from "./control.ts";
import {
  ask,
  childrenOf,
  GATE,
  get,
  isRunning,
  statusOf as procStatus,
  mayChangeUser,
  Scratch,
  underEachIsolation,
  WORKER_ID,
} from "./support.ts";

const files = {
  "pid.php": `<?php echo ${WORKER_ID};`,
  "name.php": "<?php echo getenv('POOL'), ' ', $_SERVER['HTTP_HOST'];",
  "wait.php": `<?php ${GATE} gate($_GET['gate'] ?? 'wait'); echo 'finished';`,
  "heavy/wait.php": `<?php ${GATE} gate('wait'); echo 'finished';`,
};

const pool = (name: string, rest: Tree = {}): Tree => ({
  name,
  worker_count: 1,
  env: { POOL: name },
  ...rest,
});

const quiet = { logging: { level: "info", access: false } };

/** Requests that a worker's memory holds beyond the one that runs; what comes after them is in the queue. */
const IN_MEMORY = 16;

async function send(server: Server, line: string, ...headers: string[]): Promise<string> {
  const head = [`${line} HTTP/1.1`, "Connection: close", ...headers, "", ""].join("\r\n");
  return (await raw(server.url, head)).text.split(" ")[0] ?? "";
}

test("a pool is chosen by host, method and path, and the first that matches wins", async () => {
  await using server = await start({
    files,
    config: {
      ...quiet,
      server: { trusted_proxies: ["127.0.0.1"] },
      pools: [
        pool("shop-writes", { hosts: ["shop.example"], methods: ["POST", "PUT"] }),
        pool("shops", { hosts: ["shop.example", "*.shop.example"] }),
        pool("names", { patterns: ["/na*.php", "/never/*"] }),
        pool("rest"),
      ],
    },
  });
  const cases: [string, string, string, ...string[]][] = [
    ["shop-writes", "POST /name.php", "shop.example", "Content-Length: 0"],
    ["shop-writes", "PUT /name.php", "SHOP.example:8080", "Content-Length: 0"],
    ["shops", "GET /name.php", "shop.example"],
    ["shops", "POST /name.php", "eu.shop.example", "Content-Length: 0"],
    ["names", "GET /name.php", "other.example"],
    ["names", "GET /n%61me.php?x=/pid.php", "myshop.example"],
    ["names", "GET /x/../name.php", "other.example"],
    ["rest", "GET /name.php/info", "other.example"],
    // Behind a proxy that is trusted the host it was asked for counts.
    ["shops", "GET /name.php", "10.0.0.1", "X-Forwarded-For: 192.0.2.1", "X-Forwarded-Host: shop.example"],
    [
      "names",
      "GET /name.php",
      "shop.example",
      "X-Forwarded-For: 192.0.2.1",
      "X-Forwarded-Host: other.example",
    ],
  ];
  for (const [expected, line, host, ...headers] of cases) {
    expect([line, host, await send(server, line, `Host: ${host}`, ...headers)]).toEqual([
      line,
      host,
      expected,
    ]);
  }
  // And behind one that is not, it does not.
  configure(server, {
    ...quiet,
    pools: [pool("shops", { hosts: ["shop.example"] }), pool("rest")],
  });
  await reload(server);
  const forwarded = ["Host: 10.0.0.1", "X-Forwarded-For: 192.0.2.1", "X-Forwarded-Host: shop.example"];
  expect(await send(server, "GET /name.php", ...forwarded)).toBe("rest");
});

/** Occupies the only worker and everything that may wait for it. */
async function fill(server: Server, queueMax: number, path = "/wait.php"): Promise<Connection[]> {
  // The probe of the new generation takes a place, too.
  await eventually("its probe is over", async () =>
    (await statusOf(server)).ready && (await statusOf(server)).pools[0]?.generations[0]?.inFlight === 0
      ? true
      : undefined,
  );
  const running = await ask(server, path);
  await server.record("wait", /here/);
  const waiting = await Promise.all(Array.from({ length: IN_MEMORY + queueMax }, () => ask(server, path)));
  const name = (await statusOf(server)).pools[0]?.name ?? "";
  await eventually("all of them wait", async () =>
    (await poolOf(server, name)).queue.waiting === waiting.length ? true : undefined,
  );
  return [running, ...waiting];
}

underEachIsolation(({ begin }) => {
  test("a full queue refuses within milliseconds, with Retry-After, while what runs and waits goes on", async () => {
    const one = { ...quiet, pools: [pool("only", { queue: { max: 2 } })] };
    await using server = await begin({ files, config: one });
    const taken = await fill(server, 2);
    const times: number[] = [];
    for (let count = 0; count < 21; count++) {
      const begun = performance.now();
      const refused = await get(server, "/pid.php");
      times.push(performance.now() - begun);
      expect(refused.status).toBe(503);
      expect(refused.header("Retry-After")).toMatch(/^\d+$/);
    }
    expect(times.sort((a, b) => a - b)[10]).toBeLessThan(50);
    expect((await poolOf(server, "only")).requests.refused).toMatchObject({ queue_full: 21 });
    server.openGate("wait");
    for (const connection of taken) {
      expect(await connection.response()).toMatchObject({ status: 200, text: "finished" });
      connection.close();
    }
    expect((await get(server, "/pid.php")).status).toBe(200);
  });

  for (const [where, place] of [
    ["in the queue", IN_MEMORY + 1],
    ["in memory that workers see", 3],
  ] as const) {
    test(`a client that leaves while it waits ${where} makes room for the next`, async () => {
      const one = { ...quiet, pools: [pool("only", { queue: { max: 1 } })] };
      await using server = await begin({ files, config: one });
      const taken = await fill(server, 1);
      expect((await get(server, "/pid.php")).status).toBe(503);
      taken[place]?.close();
      const next = await eventually("there is room", async () => {
        const connection = await ask(server, "/pid.php");
        const { queue } = await poolOf(server, "only");
        if (connection.received === "" && queue.waiting === taken.length - 1) return connection;
        connection.close();
        return undefined;
      });
      expect((await get(server, "/pid.php")).status).toBe(503);
      server.openGate("wait");
      expect((await next.response()).status).toBe(200);
      for (const [index, connection] of taken.entries()) {
        if (index !== place) expect((await connection.response()).status).toBe(200);
        connection.close();
      }
      next.close();
      // The one that left has not been run.
      expect((await server.record("wait", /here/)).match(/here/g)).toBeArrayOfSize(taken.length - 1);
    });
  }

  test("a pool that is full to the brim does not touch another", async () => {
    await using server = await begin({
      files,
      config: {
        ...quiet,
        pools: [pool("heavy", { patterns: ["/heavy/*"], nice: 10, queue: { max: 3 } }), pool("fast")],
      },
    });
    const taken = await fill(server, 3, "/heavy/wait.php");
    expect((await get(server, "/heavy/wait.php")).status).toBe(503);
    for (let count = 0; count < 50; count++) expect((await get(server, "/pid.php")).status).toBe(200);
    const { pools } = await statusOf(server);
    expect(
      pools.map(({ name, queue, requests }) => [name, queue.waiting, requests.running, requests.served]),
    ).toEqual([
      ["heavy", IN_MEMORY + 3, 1, 0],
      ["fast", 0, 0, 50],
    ]);
    server.openGate("wait");
    for (const connection of taken) {
      expect((await connection.response()).status).toBe(200);
      connection.close();
    }
  });
});

/** Pids of a pool's hosts and workers. */
async function members(server: Server, name: string): Promise<number[]> {
  return await eventually("it has a host and a worker", async () => {
    const { generations, workers } = await poolOf(server, name);
    const pids = [...generations.map(({ hostPid }) => hostPid), ...workers.map(({ pid }) => pid)];
    return pids.length === 2 && pids.every(isRunning) ? pids : undefined;
  });
}

/** The 19th field of the stat file; the second is in parentheses and may hold anything. */
const niceOf = (pid: number): number =>
  Number(readFileSync(`/proc/${pid}/stat`, "latin1").split(") ").at(-1)?.split(" ")[16]);

const cpusOf = (pid: number): string => /^Cpus_allowed_list:\s+(\S+)/m.exec(procStatus(pid))?.[1] ?? "";

underEachIsolation(({ threads, begin }) => {
  test("nice and cpu_affinity hold for the host and the workers of their pool alone, and follow a reload", async () => {
    const all = cpusOf(process.pid);
    const cpu = /\d+/.exec(all)?.[0] ?? "0";
    const here = niceOf(process.pid);
    const config = (nice: number) => ({
      ...quiet,
      pools: [pool("slow", { patterns: ["/name.php"], nice, cpu_affinity: cpu }), pool("rest")],
    });
    await using server = await begin({ files, config: config(here + 5) });
    const check = async (nice: number) => {
      for (const pid of await members(server, "slow"))
        expect([niceOf(pid), cpusOf(pid)]).toEqual([nice, cpu]);
      for (const pid of await members(server, "rest"))
        expect([niceOf(pid), cpusOf(pid)]).toEqual([here, all]);
      expect([niceOf(server.pid), cpusOf(server.pid)]).toEqual([here, all]);
    };
    await check(here + 5);
    // A worker that takes the place of another as well, and so does a host.
    const [host = 0, worker = 0] = await members(server, "slow");
    process.kill(threads ? host : worker, "SIGKILL");
    await eventually("it is gone", () => (isRunning(worker) ? undefined : true));
    await check(here + 5);
    configure(server, config(here + 3));
    await reload(server);
    await check(here + 3);
  });
});

test.skipIf(!mayChangeUser)(
  "a pool of another user runs as that user: host, workers and scripts; a reload changes it",
  async () => {
    const who = `<?php echo posix_geteuid(), ' ', posix_getegid(), ' ', count(posix_getgroups()), ' ', @file_get_contents('/etc/shadow') === false ? 'kept out' : 'let in';`;
    const config = (user: Tree) => ({
      ...quiet,
      pools: [pool("other", { patterns: ["/who.php"], ...user }), pool("rest")],
    });
    await using server = await start({ files: { ...files, "who.php": who }, config: config({}) });
    chmodSync(server.folder, 0o755);
    expect((await get(server, "/who.php")).text).toMatch(/^0 0 \d+ let in$/);
    configure(server, config({ user: "nobody" }));
    await reload(server);
    const shown = Bun.spawnSync(["id", "-u", "nobody"]).stdout.toString().trim();
    const group = Bun.spawnSync(["id", "-g", "nobody"]).stdout.toString().trim();
    expect((await get(server, "/who.php")).text).toMatch(new RegExp(`^${shown} ${group} [01] kept out$`));
    for (const pid of await members(server, "other")) {
      expect(/^Uid:\s+(.*)/m.exec(procStatus(pid))?.[1]).toBe(Array(4).fill(shown).join("\t"));
      expect(/^Gid:\s+(.*)/m.exec(procStatus(pid))?.[1]).toBe(Array(4).fill(group).join("\t"));
    }
    expect(await send(server, "GET /name.php", "Host: x")).toBe("rest");
  },
);

const threadTest = test.skipIf(ztsLibphp === null);

describe(`pools of threads${ztsLibphp === null ? " (skipped: no ZTS libphp, run ./setup.sh --zts)" : ""}`, () => {
  const target = targets.at(-1) ?? "source";

  threadTest(
    "each pool has workers of its own kind, on the same libphp, and a reload changes one alone",
    async () => {
      const config = (first: string, second: string): Tree => ({
        ...quiet,
        php: { libphp: ztsLibphp, isolation: "process" },
        pools: [
          pool("first", { patterns: ["/pid.php"], isolation: first, worker_count: 2 }),
          pool("second", { patterns: ["/name.php"], isolation: second, worker_count: 2 }),
          pool("rest"),
        ],
      });
      await using server = await start({ target, files, config: config("thread", "auto") });
      const kinds = async (): Promise<string[]> =>
        await eventually("all workers are there", async () => {
          const { pools } = await statusOf(server);
          const whole = pools.every(
            ({ workers, limits }) => workers.filter(({ pid }) => pid > 0).length === limits.max,
          );
          if (!whole) return undefined;
          // What is told is what is there: threads of the host, or children of it.
          for (const { generations, workers, isolation } of pools) {
            const { hostPid = 0 } = generations[0] ?? {};
            for (const { pid } of workers) {
              expect(/^Tgid:\s+(\d+)/m.exec(procStatus(pid))?.[1]).toBe(
                String(isolation === "thread" ? hostPid : pid),
              );
            }
            expect(childrenOf(hostPid).length).toBe(isolation === "thread" ? 0 : workers.length);
          }
          return pools.map(({ isolation }) => isolation);
        });
      expect(await kinds()).toEqual(["thread", "thread", "process"]);
      expect(await send(server, "GET /name.php", "Host: x")).toBe("second");
      configure(server, config("thread", "process"));
      await reload(server);
      await eventually("the old ones are gone", async () =>
        (await statusOf(server)).pools.every(({ generations }) => generations.length === 1)
          ? true
          : undefined,
      );
      expect(await kinds()).toEqual(["thread", "process", "process"]);
      expect(await send(server, "GET /name.php", "Host: x")).toBe("second");
    },
  );

  // A copy of libphp alone: the folder it is in need not be open to others.
  test.skipIf(!mayChangeUser || ztsLibphp === null)(
    "a pool of another user has that user's rights in every thread",
    async () => {
      using scratch = new Scratch();
      chmodSync(scratch.path, 0o755);
      const libphp = join(scratch.path, "libphp.so");
      copyFileSync(ztsLibphp ?? "", libphp);
      const who = `<?php ${GATE} gate('who'); echo posix_geteuid(), ' ', posix_getegid(), ' ', @file_get_contents('/etc/shadow') === false ? 'kept out' : 'let in', ' ', trim(shell_exec('id -un'));`;
      await using server = launch({
        isolation: "thread",
        target,
        files: { "who.php": who },
        config: { ...quiet, php: { libphp }, pools: [pool("other", { user: "nobody", worker_count: 3 })] },
      });
      chmodSync(server.folder, 0o755);
      chmodSync(join(server.folder, "records"), 0o777);
      await server.ready();
      const answers = Array.from({ length: 3 }, () => get(server, "/who.php"));
      await server.record("who", /here\nhere\nhere/);
      server.openGate("who");
      const [user, group] = ["-u", "-g"].map((option) =>
        Bun.spawnSync(["id", option, "nobody"]).stdout.toString().trim(),
      );
      for (const { text } of await Promise.all(answers))
        expect(text).toBe(`${user} ${group} kept out nobody`);
      const [host = 0] = childrenOf(server.pid);
      for (const task of readdirSync(`/proc/${host}/task`)) {
        expect(/^Uid:\s+(.*)/m.exec(procStatus(Number(task)))?.[1]).toBe(Array(4).fill(user).join("\t"));
      }
    },
  );

  threadTest("nice and cpu_affinity of a pool hold for every thread that runs PHP", async () => {
    const cpu = /\d+/.exec(cpusOf(process.pid))?.[0] ?? "0";
    const nice = niceOf(process.pid) + 4;
    await using server = await start({
      isolation: "thread",
      target,
      files,
      config: { ...quiet, pools: [pool("slow", { worker_count: 3, nice, cpu_affinity: cpu })] },
    });
    await eventually("all workers are there", async () =>
      (await poolOf(server, "slow")).workers.filter(({ pid }) => pid > 0).length === 3 ? true : undefined,
    );
    const [host = 0] = childrenOf(server.pid);
    // Bun has threads of its own there, with next to nothing to do.
    const tasks = readdirSync(`/proc/${host}/task`)
      .map(Number)
      .filter((task) => task === host || /^Name:\s+phprun\//m.test(procStatus(task)));
    expect(tasks).toBeArrayOfSize(1 + 3);
    for (const task of tasks) expect([niceOf(task), cpusOf(task)]).toEqual([nice, cpu]);
  });
});
