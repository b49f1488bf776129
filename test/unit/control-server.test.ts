import { expect, test } from "bun:test";
import { chmodSync, existsSync, linkSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { askReload, askStatus, askStop } from "../../src/control/client.ts";
import { startControl } from "../../src/control/control-server.ts";
import { findSocket, notRunning, type Wanted } from "../../src/control/find.ts";
import { probeSocket } from "../../src/unix-socket.ts";
import { socketIdentity } from "../../src/control/place.ts";
import { eventually } from "../harness.ts";
import { SocketFolder, TestLog, TestServer } from "./control-helper.ts";

const place = (controlSocket: string | null, source: string | null = "/srv/phprun.yaml") => ({
  source,
  server: { controlSocket },
  php: { docroot: "/srv/public" },
});
const identity = socketIdentity("/srv/phprun.yaml", "/srv/public");
const wanted: Wanted = { name: "/srv/phprun.yaml", socket: "auto", identity };
const { log } = new TestLog();

async function opened(folder: string, server = new TestServer(), source?: string | null) {
  const control = await startControl(place("auto", source), server, log, [folder]);
  if (control === null) throw new Error("There is no control server");
  return {
    server,
    path: control.path,
    stop: () => control.stop(),
    [Symbol.asyncDispose]: () => control.stop(),
  };
}

/** A socket that nobody listens on any more. */
function leftBehind(path: string): void {
  const server = Bun.serve({ unix: `${path}.live`, fetch: () => new Response() });
  linkSync(`${path}.live`, path);
  void server.stop(true);
}

const mode = (path: string) => statSync(path).mode & 0o777;

test("the socket is for its owner alone, has a name from the configuration, and goes with the server", async () => {
  using scratch = new SocketFolder();
  const folder = join(scratch.path, "run");
  const mask = process.umask(0);
  const control = await opened(folder).finally(() => process.umask(mask));
  expect(control.path).toBe(join(folder, `${identity}.sock`));
  expect([mode(folder), mode(control.path)]).toEqual([0o700, 0o600]);
  expect(readdirSync(folder)).toEqual([`${identity}.sock`]);
  await control.stop();
  expect(readdirSync(folder)).toEqual([]);
});

test("a socket at a place of its own has mode 0600 in an open folder too", async () => {
  using scratch = new SocketFolder();
  chmodSync(scratch.path, 0o755);
  const path = join(scratch.path, "own.sock");
  const mask = process.umask(0);
  const control = await startControl(place(path), new TestServer(), log).finally(() => process.umask(mask));
  expect(mode(path)).toBe(0o600);
  await control?.stop();
  expect(readdirSync(scratch.path)).toEqual([]);
});

const asNobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
const others = process.getuid?.() === 0 && Bun.which("setpriv") !== null && Bun.which("curl") !== null;

test.skipIf(!others)("another user cannot connect, not even where the folder is open", async () => {
  using scratch = new SocketFolder();
  chmodSync(scratch.path, 0o755);
  const open = join(scratch.path, "own.sock");
  const control = await startControl(place(open), new TestServer(), log);
  await using inFolder = await opened(join(scratch.path, "run"));
  const ask = (path: string, as: readonly string[]) =>
    Bun.spawn([...as, "curl", "-sS", "--unix-socket", path, "http://localhost/status"], {
      stdout: "ignore",
      stderr: "pipe",
    });
  for (const path of [open, inFolder.path]) {
    expect(await ask(path, []).exited).toBe(0);
    const refused = ask(path, asNobody);
    expect(await refused.exited).toBe(7);
    expect(await refused.stderr.text()).toMatch(/connect|permission/i);
  }
  await control?.stop();
});

test("what killed servers left behind is cleared away, and the name is taken again", async () => {
  using scratch = new SocketFolder();
  chmodSync(scratch.path, 0o700);
  const names = [`${identity}.sock`, `${identity}-4711.sock`, "0123456789ab.sock"];
  for (const name of names) leftBehind(join(scratch.path, name));
  leftBehind(join(scratch.path, "foreign.sock"));
  await using control = await opened(scratch.path);
  expect(readdirSync(scratch.path).sort()).toEqual([`${identity}.sock`, "foreign.sock"]);
  expect(probeSocket(control.path)).toBe("living");
});

test("a living server keeps its socket: the second has its process id in the name", async () => {
  using scratch = new SocketFolder();
  await using first = await opened(scratch.path);
  await using second = await opened(scratch.path);
  expect(second.path).toBe(join(scratch.path, `${identity}-${process.pid}.sock`));
  second.server.told.docroot = "/second";
  expect((await askStatus(first.path)).status.docroot).toBe("/srv/app/public");
  expect((await askStatus(second.path)).status.docroot).toBe("/second");
});

test("a stop removes no socket that another server has put in the place", async () => {
  using scratch = new SocketFolder();
  const first = await opened(scratch.path);
  rmSync(first.path);
  await using second = await opened(scratch.path);
  await first.stop();
  expect(second.path).toBe(first.path);
  expect(probeSocket(second.path)).toBe("living");
});

test.each([
  ["no/such/folder/x.sock", "ENOENT"],
  ["file", "it is not a socket"],
  ["x".repeat(120), "at most 107 bytes"],
])("no socket at %s: a warning, and the server goes on", async (name, reason) => {
  using scratch = new SocketFolder();
  writeFileSync(join(scratch.path, "file"), "precious");
  const told = new TestLog();
  expect(await startControl(place(join(scratch.path, name)), new TestServer(), told.log)).toBeNull();
  expect(told.lines.join("")).toMatch(/WARN.*no control socket/i);
  expect(told.lines.join("")).toContain(reason);
  expect(readdirSync(scratch.path)).toEqual(["file"]);
});

test("a folder that is not private is not used", async () => {
  using scratch = new SocketFolder();
  chmodSync(scratch.path, 0o755);
  const told = new TestLog();
  expect(await startControl(place("auto"), new TestServer(), told.log, [scratch.path])).toBeNull();
  expect(told.lines.join("")).toContain("must have mode 0700, received 0755");
});

test("the next folder is used when the first cannot be", async () => {
  using scratch = new SocketFolder();
  const folders = [join(scratch.path, "no/such"), join(scratch.path, "run")];
  const control = await startControl(place("auto"), new TestServer(), log, folders);
  expect(control?.path).toBe(join(scratch.path, "run", `${identity}.sock`));
  await control?.stop();
});

test("no socket is opened when the configuration wants none", async () => {
  using scratch = new SocketFolder();
  expect(await startControl(place(null), new TestServer(), log, [scratch.path])).toBeNull();
  expect(readdirSync(scratch.path)).toEqual([]);
});

test("status, reload and stop reach the server and bring back what it says", async () => {
  using scratch = new SocketFolder();
  await using control = await opened(scratch.path);
  const { server, path } = control;
  expect((await askStatus(path)).status).toEqual(server.told);

  server.outcome = { ok: true, notes: ["a note"] };
  expect(await askReload(path, 5000)).toEqual({
    ok: true,
    generations: [{ pool: "default", generation: 1 }],
    notes: ["a note"],
  });
  server.outcome = { ok: false, reason: "one\ntwo" };
  expect(await askReload(path, 5000)).toEqual({ ok: false, reason: "one\ntwo" });

  expect(await askStop(path)).toBe(process.pid);
  await eventually("it was told to stop", () => (server.asked.includes("stop") ? true : undefined));
  expect(server.asked).toEqual(["reload by phprun reload", "reload by phprun reload", "stop"]);
});

test("a reload that is still going on does not hold up the status, nor for long the stop", async () => {
  using scratch = new SocketFolder();
  const control = await opened(scratch.path);
  const outcome = Promise.withResolvers<{ ok: true; notes: string[] }>();
  control.server.outcome = outcome.promise;
  const reload = askReload(control.path, 10_000).catch((error: Error) => error.message);
  await eventually("the reload has begun", () => (control.server.asked.length > 0 ? true : undefined));
  expect((await askStatus(control.path)).status.pid).toBe(process.pid);
  await control.stop();
  expect(await reload).toContain("gave no answer");
  outcome.resolve({ ok: true, notes: [] });
});

test("a wait has an end", async () => {
  using scratch = new SocketFolder();
  await using control = await opened(scratch.path);
  const outcome = Promise.withResolvers<{ ok: true; notes: string[] }>();
  control.server.outcome = outcome.promise;
  const asked = askReload(control.path, 50);
  await expect(asked).rejects.toThrow("has not answered within 0.05 s");
  outcome.resolve({ ok: true, notes: [] });
});

test("a server that cannot tell its status says why, here and in its log", async () => {
  using scratch = new SocketFolder();
  const told = new TestLog();
  const server = new TestServer();
  server.fails = new Error("no memory record");
  const control = await startControl(place("auto"), server, told.log, [scratch.path]);
  const asked = askStatus(control?.path ?? "");
  await expect(asked).rejects.toThrow("answered 500: no memory record");
  expect(told.lines.join("")).toContain("no memory record");
  const unknown = await fetch("http://localhost/nothing", { unix: control?.path ?? "", keepalive: false });
  expect([unknown.status, await unknown.json()]).toEqual([
    404,
    { ok: false, reason: "there is no such command" },
  ]);
  await control?.stop();
});

test("a command finds its server, guesses only when it may, and lists when there are several", async () => {
  using scratch = new SocketFolder();
  const folders = [scratch.path, join(scratch.path, "missing")];
  expect(await findSocket(wanted, true, folders)).toBeNull();
  expect((await notRunning(wanted, folders)).message).toBe(
    "no server is running for /srv/phprun.yaml; start it with phprun serve",
  );

  await using other = await opened(scratch.path, new TestServer(), "/srv/other.yaml");
  leftBehind(join(scratch.path, `${identity}.sock`));
  expect(await findSocket(wanted, true, folders)).toBe(other.path);
  expect(await findSocket(wanted, false, folders)).toBeNull();
  expect((await notRunning(wanted, folders)).message).toContain(
    `pid=${process.pid} docroot=/srv/app/public config=/srv/app/phprun.yaml socket=${other.path}`,
  );

  await using third = await opened(scratch.path, new TestServer(), null);
  const several = findSocket(wanted, true, folders);
  await expect(several).rejects.toThrow(/choose one with --config or --socket\n.*\n.*socket=/);
  expect(await findSocket(wanted, false, folders)).toBeNull();

  await using own = await opened(scratch.path);
  expect(await findSocket(wanted, true, folders)).toBe(own.path);
  await using twin = await opened(scratch.path);
  const both = findSocket(wanted, false, folders);
  await expect(both).rejects.toThrow(`socket=${twin.path}`);
  expect(existsSync(third.path)).toBeTrue();
});

test("a folder that others can write to is not looked into", async () => {
  using scratch = new SocketFolder();
  await using control = await opened(scratch.path);
  chmodSync(scratch.path, 0o777);
  expect(await findSocket(wanted, true, [scratch.path])).toBeNull();
  chmodSync(scratch.path, 0o700);
  expect(await findSocket(wanted, true, [scratch.path])).toBe(control.path);
});
