import { expect } from "bun:test";
import { existsSync, lstatSync, readdirSync, symlinkSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import type { ServerStatus } from "../../src/control/status.ts";
import { socketFolders, socketIdentity } from "../../src/control/place.ts";
import { command, eventually, raw, type Server, start, targets, test, within } from "../harness.ts";
import { ztsLibphp } from "../zts.ts";
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
  STUCK,
  underEachIsolation,
  WORKER_ID,
  workerPids,
} from "./support.ts";

const files = {
  "pid.php": `<?php echo ${WORKER_ID};`,
  "wait.php": `<?php ${GATE} gate($_GET['gate'] ?? 'wait'); echo 'finished';`,
};

const config = (server: Server) => join(server.folder, "phprun.yaml");

/** A command as the user that runs the server types it. */
async function phprun(server: Server, ...args: string[]) {
  const { XDG_RUNTIME_DIR } = process.env;
  return await run(command(server.target, ...args), {
    cwd: server.folder,
    env: XDG_RUNTIME_DIR === undefined ? {} : { XDG_RUNTIME_DIR },
  });
}

async function statusOf(server: Server): Promise<ServerStatus> {
  // The banner comes before the first worker has answered.
  const { out, err } = await eventually("it is ready", async () => {
    const answer = await phprun(server, "status", "--json");
    return answer.code === 0 ? answer : undefined;
  });
  expect(err).toBe("");
  return JSON.parse(out) as ServerStatus;
}

/** Where a server with this configuration has its socket. */
function socketOf(server: Server): string {
  return join(socketFolders()[0] ?? "", `${socketIdentity(config(server), "")}.sock`);
}

underEachIsolation(({ threads, begin }) => {
  test("status tells the workers, what they have done, and the request that runs", async () => {
    await using server = await begin({ files, config: onePool({ worker_count: 2 }) });
    const pids = await workerPids(server, 2);
    for (let count = 0; count < 3; count++) await get(server, "/pid.php");
    using running = await ask(server, "/wait.php?gate=wait&token=%1b[2J");
    await server.record("wait", /here/);

    const status = await statusOf(server);
    expect(status).toMatchObject({
      pid: server.pid,
      config: config(server),
      docroot: server.docroot,
      listeners: [server.url],
      ready: true,
      state: "serving",
    });
    const [pool] = status.pools;
    expect(pool).toMatchObject({ name: "default", state: "serving", generation: 1 });
    expect(pool?.requests).toMatchObject({ served: 3, running: 1 });
    expect(pool?.workers.map(({ pid }) => pid).sort()).toEqual(pids.sort());
    const busy = pool?.workers.find(({ request }) => request !== null);
    expect(busy).toMatchObject({
      state: "busy",
      generation: 1,
      request: {
        method: "GET",
        uri: "/wait.php?gate=wait&token=%1b[2J",
        script: join(server.docroot, "wait.php"),
      },
    });
    expect(pool?.workers.reduce((sum, { requests }) => sum + requests, 0)).toBeGreaterThanOrEqual(3);

    const table = await phprun(server, "status");
    expect(table).toMatchObject({ code: 0, err: "" });
    expect(table.out).toStartWith(`phprun ${status.version}  serving, ready\n`);
    expect(table.out).toMatch(
      new RegExp(`^default +\\d +1 +${busy?.pid} +busy .* GET /wait\\.php\\?gate=wait`, "m"),
    );
    if (threads) {
      const { hostPid, residentBytes } = pool?.generations[0] ?? {};
      expect(pool?.isolation).toBe("thread");
      expect(hostPid).toBe(childrenOf(server.pid)[0] ?? 0);
      expect(table.out).toMatch(new RegExp(`^ {2}threads +of host ${hostPid}\\b`, "m"));
      expect(residentBytes).toBeGreaterThanOrEqual(0);
      // A thread's memory is the host's: only PHP's own heap is told of it.
      expect(busy?.memory).toMatchObject({ residentBytes: null, proportionalBytes: null });
      expect(table.out).toMatch(
        new RegExp(`^default .* ${busy?.pid} +busy +\\d+ +\\S+ +\\d+ MiB +- +\\d+ MiB `, "m"),
      );
    } else {
      expect(pool?.isolation).toBe("process");
      expect(table.out).not.toContain("threads");
    }
    server.openGate("wait");
    expect((await running.response()).text).toBe("finished");
  });

  test("a script that goes on after its answer is finishing", async () => {
    await using server = await begin({
      files: { "after.php": `<?php ${GATE} echo 'x'; fastcgi_finish_request(); gate('after');` },
      config: onePool({ worker_count: 1 }),
    });
    expect((await get(server, "/after.php")).text).toBe("x");
    await server.record("after", /here/);
    const { pools } = await statusOf(server);
    expect(pools[0]?.workers[0]).toMatchObject({ state: "finishing", request: { uri: "/after.php" } });
    server.openGate("after");
  });

  test("the admin listener answers while every worker is busy and the queue is full, and until the end", async () => {
    await using server = await begin({
      files,
      config: onePool({ worker_count: 1, queue: { max: 1 } }, { admin: { enabled: true, port: 0 } }),
    });
    const [, admin = ""] = await server.waitForLog(/admin listener is open.*url=(http:\S+)/);
    const page = (path: string, host = "localhost") =>
      raw(admin, `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
    using running = await ask(server, "/wait.php?secret=geheim");
    await server.record("wait", /here/);
    const poolNow = async () => (JSON.parse((await page("/-/status")).text) as ServerStatus).pools[0];
    // Some wait in memory that workers see already, then one in the queue; the others are too many.
    const others = await Promise.all(Array.from({ length: 20 }, () => ask(server, "/pid.php")));
    await eventually("all have come in, and some were refused", async () => {
      const now = await poolNow();
      const refused = now?.requests.refused.queue_full ?? 0;
      return refused > 0 && refused + (now?.queue.waiting ?? 0) === others.length ? true : undefined;
    });

    expect(await page("/-/health")).toMatchObject({ status: 200, text: "ok\n" });
    expect(await page("/-/ready")).toMatchObject({ status: 200, text: '{"ready":true}\n' });
    const { text } = await page("/-/status");
    expect(text).not.toMatch(/geheim|remoteAddr/);
    const [pool] = (JSON.parse(text) as ServerStatus).pools;
    expect(pool?.workers).toMatchObject([{ state: "busy", request: { uri: "/wait.php" } }]);
    expect((await page("/-/status?text")).text).toMatch(/^default .* 1\/1 /m);
    expect((await page("/-/status", "evil.example")).status).toBe(403);
    expect((await get(server, "/-/health")).status).toBe(404);

    server.signal("SIGTERM");
    await eventually("it is not ready any more", async () =>
      (await page("/-/ready")).status === 503 ? true : undefined,
    );
    expect(await page("/-/health")).toMatchObject({ status: 200 });
    server.openGate("wait");
    expect((await running.response()).text).toBe("finished");
    for (const other of others) expect((await other.response()).status).toBeOneOf([200, 503]);
    expect(await within(server.exited, "it has ended")).toBe(0);
  });
});

test("the socket is for its owner alone and goes with the server; a killed server's is taken over", async () => {
  await using killed = await start({ files, config: onePool({ worker_count: 1 }) });
  const path = socketOf(killed);
  expect([lstatSync(path).mode & 0o777, lstatSync(dirname(path)).mode & 0o777]).toEqual([0o600, 0o700]);
  const family = childrenOf(killed.pid);
  killed.signal("SIGKILL");
  await within(killed.exited, "it is dead");
  await allGone(family);
  expect(existsSync(path)).toBeTrue();
  expect(await phprun(killed, "status", "--socket", path)).toMatchObject({ code: 1, out: "" });

  const again = ["serve", "--config", config(killed)];
  await using child = Bun.spawn(command(killed.target, ...again), {
    cwd: killed.folder,
    stdio: ["ignore", "pipe", "ignore"],
  });
  const shown = child.stdout.getReader();
  await shown.read();
  const { pid } = await eventually("it answers", async () => {
    const { code } = await phprun(killed, "status");
    return code === 0 ? await statusOf(killed) : undefined;
  });
  expect(pid).toBe(child.pid);
  expect(await phprun(killed, "stop")).toMatchObject({ code: 0, err: "" });
  expect(await child.exited).toBe(0);
  expect(existsSync(path)).toBeFalse();
});

test("two servers with one configuration both have a socket, and it is asked which one is meant", async () => {
  await using first = await start({ files, config: onePool({ worker_count: 1 }) });
  await using child = Bun.spawn(command(first.target, "serve", "--config", config(first)), {
    cwd: first.folder,
    stdio: ["ignore", "ignore", "ignore"],
  });
  const second = socketOf(first).replace(/\.sock$/, `-${child.pid}.sock`);
  await eventually("the second has its socket", () => (existsSync(second) ? true : undefined));
  const { code, err } = await phprun(first, "status");
  expect(code).toBe(1);
  expect(err).toContain("Cannot tell which server is meant");
  expect(err).toContain(`pid=${child.pid} docroot=${first.docroot} config=${config(first)} socket=${second}`);
  expect(await phprun(first, "stop", "--socket", second)).toMatchObject({ code: 0, err: "" });
  expect(await child.exited).toBe(0);
  expect((await statusOf(first)).pid).toBe(first.pid);
});

test("without a configuration file a server is found by the folder it serves", async () => {
  using scratch = new Scratch();
  // As deployed by switching a link: the folder has one name, whatever it leads to.
  scratch.write("releases/1/pid.php", files["pid.php"]);
  symlinkSync("releases/1", join(scratch.path, "public"));
  await using child = Bun.spawn(command("source", "serve", "--port", "0", "--workers", "1"), {
    cwd: scratch.path,
    stdio: ["ignore", "ignore", "ignore"],
  });
  const env: Record<string, string> = {};
  if (process.env["XDG_RUNTIME_DIR"] !== undefined) env["XDG_RUNTIME_DIR"] = process.env["XDG_RUNTIME_DIR"];
  const asked = (...args: string[]) => run(command("source", ...args), { cwd: scratch.path, env });
  const folder = socketFolders()[0] ?? "";
  const path = join(folder, `${socketIdentity(null, join(scratch.path, "public"))}.sock`);
  await eventually("it has its socket", () => (existsSync(path) ? true : undefined));
  const status = JSON.parse((await asked("status", "--json")).out) as ServerStatus;
  expect([status.pid, status.config]).toEqual([child.pid, null]);
  expect(await asked("stop")).toEqual({ code: 0, out: `✔ Process ${child.pid} has stopped\n`, err: "" });
  expect(await child.exited).toBe(0);
  expect(readdirSync(folder)).not.toContain(basename(path));
});

test("control_socket names another place, or turns it off", async () => {
  using scratch = new Scratch();
  const socket = join(scratch.path, "own.sock");
  await using named = await start({
    files,
    config: onePool({ worker_count: 1 }, { server: { control_socket: socket } }),
  });
  expect((await statusOf(named)).pid).toBe(named.pid);
  await using without = await start({
    files,
    config: onePool({ worker_count: 1 }, { server: { control_socket: "off" } }),
  });
  const { code, err } = await phprun(without, "status");
  expect(code).toBe(1);
  expect(err).toContain("turns the control socket off");
});

test("a socket that cannot be opened is a warning, and the server serves", async () => {
  using scratch = new Scratch();
  const socket = scratch.write("file", "precious");
  await using server = await start({
    files,
    config: onePool({ worker_count: 1 }, { server: { control_socket: socket } }),
  });
  await server.waitForLog(/WARN.*no control socket.*it is not a socket/i);
  expect((await get(server, "/pid.php")).status).toBe(200);
});

test("reload brings a new generation, and a request that runs is finished by the old one", async () => {
  await using server = await start({ files, config: onePool({ worker_count: 1 }) });
  const [before] = await workerPids(server, 1);
  using running = await ask(server, "/wait.php");
  await server.record("wait", /here/);
  expect(await phprun(server, "reload")).toEqual({
    code: 0,
    out: "✔ reloaded: pool default generation 2\n",
    err: "",
  });
  expect((await get(server, "/pid.php")).text).not.toBe(String(before));
  const status = await statusOf(server);
  expect(status.pools[0]?.generations.map(({ number, state }) => [number, state]).sort()).toEqual([
    [1, "draining"],
    [2, "current"],
  ]);
  expect(status.reloads).toMatchObject({ done: 1, refused: 0, last: { ok: true } });
  server.openGate("wait");
  expect(await running.response()).toMatchObject({ status: 200, text: "finished", whole: true });
});

test("a reload of a wrong configuration is refused with everything that is wrong, and nothing changes", async () => {
  await using server = await start({ files, config: onePool({ worker_count: 1 }) });
  const { text: pid } = await get(server, "/pid.php");
  server.write("phprun.yaml", "server:\n  prot: 1\nlogging: { level: loud }\n");
  const { code, out, err } = await phprun(server, "reload", "--config", config(server));
  expect({ code, out }).toEqual({ code: 1, out: "" });
  expect(err).toStartWith("phprun: Reload refused: ");
  expect(err).toContain("phprun.yaml:2:3:");
  expect(err).toContain("phprun.yaml:3:12:");
  expect((await get(server, "/pid.php")).text).toBe(pid);
  const { reloads } = await statusOf(server);
  expect(reloads).toMatchObject({ done: 0, refused: 1, last: { ok: false } });
});

test("stop needs no pid file, finishes what runs, and a second one does not wait for it", async () => {
  await using patient = await start({ files, config: onePool({ worker_count: 1 }) });
  using running = await ask(patient, "/wait.php");
  await patient.record("wait", /here/);
  const stopping = phprun(patient, "stop");
  await eventually("it is stopping", async () => {
    const { out } = await phprun(patient, "status", "--json");
    return out !== "" && (JSON.parse(out) as ServerStatus).state === "stopping" ? true : undefined;
  });
  const told = await phprun(patient, "status");
  expect(told).toMatchObject({ code: 1, err: "phprun: Not ready: the server is stopping\n" });
  patient.openGate("wait");
  expect(await running.response()).toMatchObject({ status: 200, text: "finished", whole: true });
  expect(await stopping).toEqual({ code: 0, out: `✔ Process ${patient.pid} has stopped\n`, err: "" });
  expect(await within(patient.exited, "it has ended")).toBe(0);

  await using hurried = await start({ files, config: onePool({ worker_count: 1 }) });
  const workers = await workerPids(hurried, 1);
  using endless = await ask(hurried, "/wait.php");
  await hurried.record("wait", /here/);
  expect(endless.closed).toBeFalse();
  const [first, second] = await Promise.all([phprun(hurried, "stop"), phprun(hurried, "stop")]);
  expect([first.code, second.code]).toEqual([0, 0]);
  expect(await within(hurried.exited, "it has ended")).toBe(0);
  expect(workers.some(isRunning)).toBeFalse();
});

test("readiness goes when no worker can answer, and comes back with the next", async () => {
  await using server = await start({ files, config: onePool({ worker_count: 1 }) });
  const hosts = childrenOf(server.pid);
  const [worker = 0] = await workerPids(server, 1);
  // A host that is stopped starts no worker in place of the one that dies.
  for (const host of hosts) process.kill(host, "SIGSTOP");
  try {
    process.kill(worker, "SIGKILL");
    process.kill(hosts[0] ?? 0, "SIGKILL");
    await eventually("it is ready again, with another worker", async () => {
      const { out } = await phprun(server, "status", "--json");
      const { ready, pools } = JSON.parse(out) as ServerStatus;
      return ready && pools[0]?.workers.some(({ pid, state }) => state === "idle" && pid !== worker)
        ? true
        : undefined;
    });
  } finally {
    for (const host of hosts) if (isRunning(host)) process.kill(host, "SIGCONT");
  }
  expect((await get(server, "/pid.php")).status).toBe(200);
});

const threadTest = test.skipIf(ztsLibphp === null);

threadTest("a thread that does not come back is told as lost, with what it is at", async () => {
  await using server = await start({
    isolation: "thread",
    target: targets.at(-1) ?? "source",
    files: { ...files, "stuck.php": STUCK },
    config: onePool({ worker_count: 4, timeout_ms: 1200, kill_after_ms: 100 }),
  });
  const stuck = get(server, "/stuck.php?id=one");
  await server.record("one", /started/);
  // Its host stays until this one is done, whose time is up later.
  await Bun.sleep(1000);
  const other = get(server, "/wait.php");
  await server.record("wait", /here/);
  expect((await stuck).status).toBe(504);
  const { pools } = await statusOf(server);
  expect(pools[0]).toMatchObject({ isolation: "thread", requests: { timed_out: 1 }, restarts: { lost: 1 } });
  expect(pools[0]?.workers.find(({ state }) => state === "lost")).toMatchObject({
    generation: 1,
    request: { uri: "/stuck.php?id=one", script: join(server.docroot, "stuck.php") },
  });
  const { out } = await phprun(server, "status");
  expect(out).toMatch(/^default +\d +1 +\d+ +lost .*GET \/stuck\.php\?id=one/m);
  expect(out).toMatch(/^ {2}restarts +lost 1/m);
  server.openGate("wait");
  await other;
});
