import { expect, test } from "bun:test";
import { realpathSync } from "node:fs";
import { join } from "node:path";
import { startControl } from "../../src/control/control-server.ts";
import { renderStatus } from "../../src/control/render-status.ts";
import { selfCommand } from "../../src/self.ts";
import { eventually } from "../harness.ts";
import { yamlFolder } from "./config-helper.ts";
import {
  busyStatus,
  HOSTILE,
  pool,
  request,
  serverStatus,
  SocketFolder,
  TestLog,
  TestServer,
  worker,
} from "./control-helper.ts";

interface Run {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** As the user that runs the tests, whose folder for sockets is the one that the server below takes. */
function environment(own: Record<string, string> = {}): Record<string, string> {
  const { PATH = "", XDG_RUNTIME_DIR } = process.env;
  return { PATH, ...(XDG_RUNTIME_DIR === undefined ? {} : { XDG_RUNTIME_DIR }), ...own };
}

async function phprun(
  args: readonly string[],
  options: { cwd?: string; env?: Record<string, string> } = {},
): Promise<Run> {
  await using child = Bun.spawn(selfCommand(...args), {
    cwd: options.cwd ?? "/",
    env: environment(options.env),
    stdio: ["ignore", "pipe", "pipe"],
  });
  const [out, err, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  return { code, out, err };
}

/** A control socket in a folder of its own, or where the commands look for it. */
async function serving(controlSocket: string, config: string | null = null, docroot = "/srv/public") {
  const server = new TestServer();
  const place = { source: config, server: { controlSocket }, php: { docroot } };
  const control = await startControl(place, server, new TestLog().log);
  if (control === null) throw new Error("There is no control socket");
  return { server, path: control.path, [Symbol.asyncDispose]: () => control.stop() };
}

async function servingAt(folder: SocketFolder) {
  return await serving(join(folder.path, "phprun.sock"));
}

test("status shows the table, uncut where it goes to no terminal, and ends with 0 when all is ready", async () => {
  using folder = new SocketFolder();
  await using at = await servingAt(folder);
  const { code, out, err } = await phprun(["status", "--socket", at.path]);
  expect({ code, err }).toEqual({ code: 0, err: "" });
  expect(out).toBe(renderStatus(at.server.told, { columns: Number.POSITIVE_INFINITY, color: false }));
});

test("status is cut to COLUMNS, and shows nothing of what visitors send as it is", async () => {
  using folder = new SocketFolder();
  await using at = await servingAt(folder);
  at.server.told = serverStatus({ pools: [pool({ workers: [worker({ request: request(HOSTILE) })] })] });
  const { out } = await phprun(["status", "--socket", at.path], { env: { COLUMNS: "80" } });
  expect(out).toBe(renderStatus(at.server.told, { columns: 80, color: false }));
  expect(out).not.toMatch(/[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]/);
  const json = (await phprun(["status", "--socket", at.path, "--json"])).out;
  expect(json).toMatch(/^[\x20-\x7e]+\n$/);
  expect(JSON.parse(json)).toEqual(at.server.told);
});

test("a server that is not ready is shown, and then it is said why: exit code 1", async () => {
  using folder = new SocketFolder();
  await using at = await servingAt(folder);
  at.server.told = busyStatus();
  const [table, json] = await Promise.all([
    phprun(["status", "--socket", at.path]),
    phprun(["status", "--socket", at.path, "--json"]),
  ]);
  const err = "phprun: Not ready: pool heavy has failed: 5 workers in a row have died at start\n";
  expect(table).toMatchObject({ code: 1, err });
  expect(table.out).toContain("POST /long/");
  expect(json).toMatchObject({ code: 1, err });
  expect(JSON.parse(json.out)).toEqual(at.server.told);
});

test("one pool alone can be shown, if there is such a pool", async () => {
  using folder = new SocketFolder();
  await using at = await servingAt(folder);
  at.server.told = busyStatus();
  const [fast, json, wrong] = await Promise.all([
    phprun(["status", "--socket", at.path, "--pool", "fast"]),
    phprun(["status", "--socket", at.path, "--pool", "fast", "--json"]),
    phprun(["status", "--socket", at.path, "--pool", "fats"]),
  ]);
  expect(fast.out).toContain("\nfast ");
  expect(fast.out).not.toContain("\nheavy ");
  expect((JSON.parse(json.out) as typeof at.server.told).pools.map(({ name }) => name)).toEqual(["fast"]);
  expect(wrong).toEqual({
    code: 2,
    out: "",
    err: 'phprun: Cannot show pool "fats": must be one of fast, heavy\n',
  });
});

test("commands find the server by the configuration, even one that is wrong by now", async () => {
  using folder = yamlFolder("php: { docroot: . }\n");
  const config = realpathSync(join(folder.path, "phprun.yaml"));
  await using at = await serving("auto", config);
  const cwd = realpathSync(folder.path);
  const [named, inFolder, reloaded] = await Promise.all([
    phprun(["status", "-c", config, "--json"]),
    phprun(["status", "--json"], { cwd }),
    phprun(["reload"], { cwd }),
  ]);
  for (const { code, out } of [named, inFolder]) {
    expect(code).toBe(0);
    expect(JSON.parse(out)).toEqual(at.server.told);
  }
  expect(reloaded).toMatchObject({ code: 0, out: "✔ reloaded\n" });

  folder.write("phprun.yaml", "server: { prot: 1 }\n");
  at.server.outcome = { ok: false, reason: "phprun.yaml:1:11: unknown key\nphprun.yaml:2:1: another" };
  expect(await phprun(["reload"], { cwd })).toEqual({
    code: 1,
    out: "",
    err: "phprun: Reload refused: phprun.yaml:1:11: unknown key\nphprun.yaml:2:1: another\n",
  });
});

test("without a configuration file the folder that is served tells which server is meant", async () => {
  using folder = new SocketFolder();
  await using at = await serving("auto", null, folder.path);
  const { code, out } = await phprun(["status", "--json"], { cwd: folder.path });
  expect([code, JSON.parse(out)]).toEqual([0, at.server.told]);
});

test.each([
  [["status"], "nothing listens on"],
  [["reload"], "nothing listens on"],
  [["stop"], "nothing listens on"],
])("%j without a server: exit code 1 and a plain message", async ([command = ""]) => {
  using folder = new SocketFolder();
  const socket = join(folder.path, "none.sock");
  const { code, out, err } = await phprun([command, "--socket", socket]);
  expect({ code, out }).toEqual({ code: 1, out: "" });
  expect(err).toContain(socket);
  expect(err).not.toMatch(/\n\s+at /);
});

test("reload and stop guess no server", async () => {
  using folder = yamlFolder("php: { docroot: . }\n");
  const cwd = realpathSync(folder.path);
  const [reload, stop] = await Promise.all([phprun(["reload"], { cwd }), phprun(["stop"], { cwd })]);
  expect(reload.code).toBe(1);
  expect(reload.err).toStartWith(
    `phprun: no server is running for ${cwd}/phprun.yaml; start it with phprun serve\n`,
  );
  expect(stop.code).toBe(2);
  expect(stop.err).toContain("names no server.pid_file, and no server is running for");
});

test("a reload tells what has come of it", async () => {
  using folder = new SocketFolder();
  await using at = await servingAt(folder);
  at.server.outcome = { ok: true, notes: ["pool default generation 2", "server.listen needs a restart"] };
  expect(await phprun(["reload", "--socket", at.path])).toEqual({
    code: 0,
    out: "✔ reloaded: pool default generation 2, server.listen needs a restart\n",
    err: "",
  });
  expect(at.server.asked).toEqual(["reload by phprun reload"]);
});

test("a reload is waited for no longer than --timeout", async () => {
  using folder = new SocketFolder();
  await using at = await servingAt(folder);
  const outcome = Promise.withResolvers<{ ok: true; notes: string[] }>();
  at.server.outcome = outcome.promise;
  const { code, err } = await phprun(["reload", "--socket", at.path, "--timeout", "0.2"]);
  expect(code).toBe(1);
  expect(err).toContain("has not answered within 0.2 s; see phprun status");
  outcome.resolve({ ok: true, notes: [] });
});

test.each([
  [["reload", "--timeout", "soon"], "--timeout: must be seconds"],
  [["status", "--interval", "0"], "--interval: must be seconds, 0.1 or more"],
  [["stop", "--timeout", "-1"], "must be a whole number"],
])("%j is wrong use", async (args, message) => {
  const { code, err } = await phprun(args);
  expect(code).toBe(2);
  expect(err).toContain(message);
});

/** A server of its own that ends when it is told to: what stop waits for. */
const STOPPABLE = `
import { startControl } from "${join(import.meta.dir, "../../src/control/control-server.ts")}";
import { TestLog, TestServer } from "${join(import.meta.dir, "control-helper.ts")}";
const server = new TestServer();
const place = { source: process.argv[2], server: { controlSocket: process.argv[3] }, php: { docroot: "/" } };
const control = await startControl(place, server, new TestLog().log);
server.stop = () => void control.stop().then(() => process.exit(0));
console.log(control.path);
`;

test("stop asks over the socket, by --socket or by the configuration, and waits for the end", async () => {
  using folder = yamlFolder("php: { docroot: . }\n");
  const config = realpathSync(join(folder.path, "phprun.yaml"));
  const script = folder.write("server.ts", STOPPABLE);
  const start = async (socket: string) => {
    const child = Bun.spawn([process.execPath, script, config, socket], {
      env: environment(),
      stdio: ["ignore", "pipe", "inherit"],
    });
    await child.stdout.getReader().read();
    return child;
  };
  const named = join(folder.path, "own.sock");
  const [one, two] = await Promise.all([start(named), start("auto")]);
  const [byName, byConfig] = await Promise.all([
    phprun(["stop", "--socket", named]),
    phprun(["stop", "--config", config]),
  ]);
  expect(byName).toEqual({ code: 0, out: `✔ Process ${one.pid} has stopped\n`, err: "" });
  expect(byConfig).toEqual({ code: 0, out: `✔ Process ${two.pid} has stopped\n`, err: "" });
  expect([await one.exited, await two.exited]).toEqual([0, 0]);
});

test("--watch without a terminal prints one table after the other, and waits for a server that is gone", async () => {
  using folder = new SocketFolder();
  const at = await servingAt(folder);
  await using child = Bun.spawn(selfCommand("status", "--socket", at.path, "--watch", "--interval", "0.1"), {
    env: environment(),
    stdio: ["ignore", "pipe", "inherit"],
  });
  const shown = collect(child.stdout);
  await eventually("two tables", () => (shown.text.split("phprun 9.9.9").length > 2 ? true : undefined));
  await at[Symbol.asyncDispose]();
  await eventually("it says so", () => (/no server is running/.test(shown.text) ? true : undefined));
  const mark = shown.text.length;
  await using again = await servingAt(folder);
  await eventually("a table", () => (shown.text.slice(mark).includes("phprun 9.9.9") ? true : undefined));
  expect(again.path).toBe(at.path);
  child.kill("SIGINT");
  expect(await child.exited).toBe(0);
  expect(shown.text).not.toContain("\x1b");
});

test("--watch ends when nobody reads it any more", async () => {
  using folder = new SocketFolder();
  await using at = await servingAt(folder);
  const line = selfCommand("status", "--socket", at.path, "--watch", "--interval", "0.1");
  await using child = Bun.spawn(["sh", "-c", '"$@" | head -n 1', "sh", ...line], {
    env: environment(),
    stderr: "inherit",
  });
  expect(await child.stdout.text()).toBe("phprun 9.9.9  serving, ready\n");
  expect(await child.exited).toBe(0);
});

test("--watch on a terminal draws one picture over the other, and restores the screen at Ctrl-C", async () => {
  using folder = new SocketFolder();
  await using at = await servingAt(folder);
  const first = renderStatus(at.server.told, { columns: 90, color: true }).trimEnd().split("\n");
  let text = "";
  const decoder = new TextDecoder();
  await using child = Bun.spawn(selfCommand("status", "--socket", at.path, "--watch", "--interval", "0.1"), {
    env: environment({ TERM: "xterm-256color" }),
    terminal: {
      cols: 90,
      rows: 12,
      data: (_, bytes) => {
        text += decoder.decode(bytes, { stream: true });
      },
    },
  });
  await eventually("two pictures", () => (text.split("\x1b[J").length > 2 ? true : undefined));
  const picture = first.map((line) => `${line}\x1b[K`).join("\r\n"); // The terminal adds the carriage returns.
  expect(text).toStartWith(`\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[H${picture}\x1b[J\x1b[H${picture}\x1b[J`);

  at.server.told = busyStatus();
  await eventually("it is cut to the screen", () =>
    /\x1b\[H(?:[^\n]*\n){11}… \d+ more lines\x1b\[K\x1b\[J/.test(text) ? true : undefined,
  );
  child.terminal?.resize(120, 40);
  await eventually("the wide table", () => (text.includes("PHP PEAK") ? true : undefined));
  child.terminal?.write("\x03");
  expect(await child.exited).toBe(0);
  expect(text).toEndWith("\x1b[?7h\x1b[?25h\x1b[?1049l");
  child.terminal?.close();
});

test("NO_COLOR is respected on a terminal", async () => {
  using folder = new SocketFolder();
  await using at = await servingAt(folder);
  let text = "";
  await using child = Bun.spawn(selfCommand("status", "--socket", at.path), {
    env: environment({ TERM: "xterm-256color", NO_COLOR: "1" }),
    terminal: { cols: 80, rows: 24, data: (_, bytes) => void (text += new TextDecoder().decode(bytes)) },
  });
  expect(await child.exited).toBe(0);
  await eventually("the table", () => (text.includes("REQUEST") ? true : undefined));
  expect(text).not.toContain("\x1b[");
  child.terminal?.close();
});

function collect(stream: ReadableStream<Uint8Array>): { text: string } {
  const shown = { text: "" };
  const decoder = new TextDecoder();
  void (async () => {
    for await (const bytes of stream) shown.text += decoder.decode(bytes, { stream: true });
  })();
  return shown;
}
