import { expect } from "bun:test";
import { existsSync, readdirSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import {
  command,
  Connection,
  eventually,
  launch,
  type Server,
  start,
  targets,
  test,
  within,
} from "../harness.ts";
import {
  allGone,
  ask,
  childrenOf,
  GATE,
  get,
  isRunning,
  onePool,
  run,
  Scratch,
  underEachIsolation,
  workerPids,
} from "./support.ts";

const files = {
  "pid.php": "<?php echo getmypid();",
  "wait.php": `<?php ${GATE} gate('wait'); echo 'finished';`,
  "big.php": "<?php for ($i = 0; $i < 64; $i++) echo str_repeat('x', 65536);",
};

underEachIsolation(({ threads, begin }) => {
  for (const name of threads ? (["SIGTERM"] as const) : (["SIGTERM", "SIGINT", "SIGQUIT"] as const)) {
    test(`${name} finishes the request that runs, takes no new one, and leaves nothing behind`, async () => {
      using scratch = new Scratch();
      const socket = join(scratch.path, "phprun.sock");
      const pidFile = join(scratch.path, "phprun.pid");
      await using server = await begin({
        files,
        env: { TMPDIR: scratch.path },
        config: onePool(
          { worker_count: 2 },
          { server: { listen: ["127.0.0.1:0", `unix:${socket}`], pid_file: pidFile } },
        ),
      });
      expect(existsSync(socket)).toBeTrue();
      expect(existsSync(pidFile)).toBeTrue();
      const processes = [...childrenOf(server.pid), ...(await workerPids(server, 2))];
      using running = await ask(server, "/wait.php");
      await server.record("wait", /here/);

      server.signal(name);
      await refusesConnections(server);
      server.openGate("wait");
      expect(await running.response()).toMatchObject({ status: 200, text: "finished", whole: true });
      expect(await within(server.exited, "it has ended")).toBe(0);
      await allGone(processes);
      expect(readdirSync(scratch.path)).toEqual([]);
    });
  }

  test("a service manager signals every process of the service, and still the request is finished", async () => {
    await using server = await begin({ files, config: onePool({ worker_count: 1 }) });
    const everyone = [...(await workerPids(server, 1)), ...childrenOf(server.pid), server.pid];
    await stopsGracefully(server, () => {
      for (const pid of everyone) process.kill(pid, "SIGTERM");
    });
  });

  test("a request that does not end holds the server up to stop_timeout_ms, and is told so with 503", async () => {
    await using server = await begin({
      files,
      config: onePool({ worker_count: 1 }, { server: { stop_timeout_ms: 200 } }),
    });
    const processes = [...childrenOf(server.pid), ...(await workerPids(server, 1))];
    using running = await ask(server, "/wait.php");
    await server.record("wait", /here/);
    server.signal("SIGTERM");
    expect((await running.response()).status).toBe(503);
    expect(await within(server.exited, "it has ended")).toBe(0);
    await allGone(processes);
  });

  test("a second SIGTERM ends it now, requests or not", async () => {
    using scratch = new Scratch();
    const socket = join(scratch.path, "phprun.sock");
    await using server = await begin({
      files,
      config: onePool({ worker_count: 1 }, { server: { listen: ["127.0.0.1:0", `unix:${socket}`] } }),
    });
    const processes = [...childrenOf(server.pid), ...(await workerPids(server, 1))];
    using running = await ask(server, "/wait.php");
    await server.record("wait", /here/);
    server.signal("SIGTERM");
    await refusesConnections(server);
    server.signal("SIGTERM");
    expect(await within(server.exited, "it has ended")).toBe(0);
    await allGone(processes);
    expect(readdirSync(scratch.path)).toEqual([]);
    void running;
  });
});

test("Ctrl-C reaches every process of the terminal's group, and still the request is finished", async () => {
  await using server = await start({ files, config: onePool({ worker_count: 1 }) });
  await stopsGracefully(server, () => process.kill(-server.pid, "SIGINT"));
});

async function refusesConnections(server: Server): Promise<void> {
  await eventually("new connections are refused", () =>
    Connection.open(server.url).then(
      (connection) => connection.close(),
      () => true,
    ),
  );
}

async function stopsGracefully(server: Server, signal: () => void): Promise<void> {
  using running = await ask(server, "/wait.php");
  await server.record("wait", /here/);
  signal();
  await refusesConnections(server);
  server.openGate("wait");
  expect(await running.response()).toMatchObject({ status: 200, text: "finished", whole: true });
  expect(await within(server.exited, "it has ended")).toBe(0);
}

test("a response that its client reads slowly is sent whole before the server ends", async () => {
  await using server = await start({ files, config: onePool({ worker_count: 1 }) });
  using reader = await ask(server, "/big.php");
  await reader.until(/./s);
  reader.pause();
  server.signal("SIGTERM");
  await refusesConnections(server);
  reader.resume();
  const { status, body, whole } = await reader.response();
  expect([status, body.length, whole]).toEqual([200, 64 * 65_536, true]);
  expect(await within(server.exited, "it has ended")).toBe(0);
});

test("requests that wait for a worker are still served when the server is told to stop", async () => {
  await using server = await start({ files, config: onePool({ worker_count: 1 }) });
  using running = await ask(server, "/wait.php");
  await server.record("wait", /here/);
  const waiting = await Promise.all(Array.from({ length: 30 }, () => ask(server, "/pid.php")));
  expect((await get(server, "/nothing.txt")).status).toBeGreaterThan(0);
  server.signal("SIGTERM");
  server.openGate("wait");
  expect((await running.response()).status).toBe(200);
  for (const connection of waiting) {
    expect((await connection.response()).status).toBe(200);
    connection.close();
  }
  expect(await within(server.exited, "it has ended")).toBe(0);
});

test("a host that dies while the server stops costs its request, not those that wait", async () => {
  await using server = await start({ files, config: onePool({ worker_count: 1 }) });
  const [host = 0] = childrenOf(server.pid);
  using running = await ask(server, "/wait.php");
  await server.record("wait", /here/);
  using waiting = await ask(server, "/pid.php");
  expect((await get(server, "/nothing.txt")).status).toBeGreaterThan(0);
  server.signal("SIGTERM");
  await refusesConnections(server);
  process.kill(host, "SIGKILL");
  expect((await running.response()).status).toBe(502);
  expect((await waiting.response()).status).toBe(200);
  expect(await within(server.exited, "it has ended")).toBe(0);
});

/** A configuration whose PHP does not get through its start until the test lets it. */
function slowStart(scratch: Scratch) {
  const preload = scratch.write("preload.php", `<?php ${GATE} gate('preload');`);
  return onePool(
    { worker_count: 1 },
    {
      server: { pid_file: join(scratch.path, "phprun.pid") },
      php: { ini: { "opcache.preload": preload, "opcache.preload_user": "root" } },
    },
  );
}

underEachIsolation(({ isolation, threads }) => {
  const as = { isolation, target: (threads ? targets.at(-1) : targets[0]) ?? "source" };

  test.skipIf(process.getuid?.() !== 0)(
    "SIGTERM during the start ends it as soon as it has started",
    async () => {
      using scratch = new Scratch();
      await using server = launch({ ...as, files, config: slowStart(scratch) });
      await server.record("preload", /here/);
      const hosts = childrenOf(server.pid);
      server.signal("SIGTERM");
      server.openGate("preload");
      expect(await within(server.exited, "it has ended")).toBe(0);
      await allGone(hosts);
      expect(readdirSync(scratch.path)).toEqual(["preload.php"]);
    },
  );

  test.skipIf(process.getuid?.() !== 0)(
    "a second SIGTERM during the start does not wait for PHP",
    async () => {
      using scratch = new Scratch();
      await using server = launch({ ...as, files, config: slowStart(scratch) });
      await server.record("preload", /here/);
      const hosts = childrenOf(server.pid);
      expect(hosts).not.toBeEmpty();
      const preloading = hosts.flatMap(childrenOf);
      server.signal("SIGTERM");
      server.signal("SIGTERM");
      // Signals of one kind that are not taken yet count as one.
      const again = setInterval(() => isRunning(server.pid) && server.signal("SIGTERM"), 50);
      expect(await within(server.exited, "it has ended")).toBe(0);
      clearInterval(again);
      await allGone(hosts);
      expect(readdirSync(scratch.path)).toEqual(["preload.php"]);
      await endPreload(server, preloading);
    },
  );

  test.skipIf(process.getuid?.() !== 0)(
    "a front that is killed while PHP starts leaves no process behind",
    async () => {
      using scratch = new Scratch();
      await using server = launch({ ...as, files, config: slowStart(scratch) });
      await server.record("preload", /here/);
      const hosts = childrenOf(server.pid);
      expect(hosts).not.toBeEmpty();
      const preloading = hosts.flatMap(childrenOf);
      server.signal("SIGKILL");
      await allGone(hosts);
      await endPreload(server, preloading);
    },
  );
});

/** opcache preloads in a process of its own, which knows nothing of us: it ends when the script does. */
async function endPreload(server: Server, pids: readonly number[]): Promise<void> {
  server.openGate("preload");
  await allGone(pids);
}

test("phprun stop waits for the server's end, and tells when there is none", async () => {
  using scratch = new Scratch();
  const pidFile = join(scratch.path, "phprun.pid");
  await using server = await start({
    files,
    config: onePool({ worker_count: 1 }, { server: { pid_file: pidFile } }),
  });
  const config = join(server.folder, "phprun.yaml");
  const stop = () => run(command(server.target, "stop", "--config", config));
  expect(await stop()).toEqual({ code: 0, out: `✔ Process ${server.pid} has stopped\n`, err: "" });
  expect(await within(server.exited, "it has ended")).toBe(0);
  const again = await stop();
  expect(again.code).toBe(1);
  expect(again.err).toContain("phprun does not run");
});

test("a second server with the same pid file does not start, and the first goes on", async () => {
  using scratch = new Scratch();
  const config = onePool({ worker_count: 1 }, { server: { pid_file: join(scratch.path, "phprun.pid") } });
  await using server = await start({ files, config });
  await using second = launch({ files, config });
  expect(await within(second.exited, "it has ended")).toBe(1);
  expect(second.log.text).toContain(`phprun is running already, as process ${server.pid}`);
  expect((await get(server, "/pid.php")).status).toBe(200);
});

test("a port in use ends the start with 1 and a remedy, and costs its owner nothing", async () => {
  await using server = await start({ files, config: onePool({ worker_count: 1 }) });
  await using second = launch({
    files,
    config: onePool({ worker_count: 1 }, { server: { port: server.port } }),
  });
  expect(await within(second.exited, "it has ended")).toBe(1);
  expect(second.log.text).toMatch(
    new RegExp(
      `^phprun: Cannot listen on 127.0.0.1:${server.port}: the address is in use\\. .*--port\\.$`,
      "m",
    ),
  );
  expect(second.log.text).not.toMatch(/ready|^\s+at /m);
  expect(second.processes()).toEqual([]);
  expect((await get(server, "/pid.php")).status).toBe(200);
});

test("a unix socket that another server answers on is left to it; a stale one is replaced; a file is not", async () => {
  using scratch = new Scratch();
  const path = join(scratch.path, "phprun.sock");
  const config = onePool({ worker_count: 1 }, { server: { listen: [`unix:${path}`] } });
  {
    await using server = await start({ files, config });
    await using second = launch({ files, config });
    expect(await within(second.exited, "it has ended")).toBe(1);
    expect(second.log.text).toContain(`Cannot listen on ${path}: the socket is in use.`);
    expect((await get(server, "/pid.php")).status).toBe(200);
    server.signal("SIGKILL");
    await server.exited;
    expect(existsSync(path)).toBeTrue();
  }
  {
    await using server = await start({ files, config });
    expect((await get(server, "/pid.php")).status).toBe(200);
    expect(await server.stop()).toBe(0);
    expect(existsSync(path)).toBeFalse();
  }
  scratch.write("phprun.sock", "precious");
  await using third = launch({ files, config });
  expect(await within(third.exited, "it has ended")).toBe(1);
  expect(third.log.text).toContain(
    `Cannot listen on ${path}: there is a file of that name, and it is not a socket.`,
  );
  expect(await Bun.file(path).text()).toBe("precious");
});

/** As somebody who may do nothing special. */
const asNobody = [
  "setpriv",
  "--reuid=65534",
  "--regid=65534",
  "--clear-groups",
  "--inh-caps=-all",
  "--bounding-set=-all",
];
/** Somebody else must also be able to reach the project: a clone in a private folder is out of their sight. */
const canDrop =
  process.getuid?.() === 0 &&
  Bun.which("setpriv") !== null &&
  Bun.spawnSync([...asNobody, "test", "-r", join(import.meta.dir, "../../src/main.ts")]).exitCode === 0;

test.skipIf(!canDrop)("a port that needs privileges is refused with the reason", async () => {
  using scratch = new Scratch();
  Bun.spawnSync(["chmod", "755", scratch.path]);
  const port = await freePrivilegedPort();
  const line = [
    ...asNobody,
    ...command(targets[0] ?? "source", "serve", "--root", scratch.path, "--port", String(port)),
  ];
  const { code, out, err } = await run(line);
  expect({ code, out }).toEqual({ code: 1, out: "" });
  expect(err).toMatch(
    new RegExp(
      `^phprun: Cannot listen on 0\\.0\\.0\\.0:${port}: not permitted\\. Ports below 1024 need root`,
      "m",
    ),
  );
});

test.skipIf(!canDrop)("a docroot that this user cannot read is refused before anything starts", async () => {
  using scratch = new Scratch();
  Bun.spawnSync(["chmod", "700", scratch.path]);
  const { code, out, err } = await run([
    ...asNobody,
    ...command(targets[0] ?? "source", "serve", "--root", scratch.path, "--port", "0"),
  ]);
  expect({ code, out }).toEqual({ code: 2, out: "" });
  expect(err).toContain(`the folder ${scratch.path} must be readable for this user`);
});

async function freePrivilegedPort(): Promise<number> {
  for (let port = 600; port < 1000; port++) {
    const server = createServer();
    const free = await new Promise<boolean>((resolve) => {
      server.once("error", () => resolve(false));
      server.listen(port, "0.0.0.0", () => server.close(() => resolve(true)));
    });
    if (free) return port;
  }
  throw new Error("There is no free port below 1024");
}
