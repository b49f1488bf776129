import { Notifier } from "../../src/system/notify.ts";
import { expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { readPidFile, removePidFile, writePidFile } from "../../src/cli/pid-file.ts";
import { isAlive } from "../../src/cli/process.ts";
import { runUntilStopped } from "../../src/cli/serve.ts";
import { Signals } from "../../src/cli/signals.ts";
import { selfCommand } from "../../src/self.ts";
import { Folder } from "./config-helper.ts";

/** A process that looks like a server to `stop`: its command line says `main.ts serve`. */
function fakeServer(folder: Folder, body: string): Bun.Subprocess<"ignore", "pipe", "inherit"> {
  const script = folder.write("main.ts", `${body}\nconsole.log("up"); setInterval(() => {}, 1000);`);
  return Bun.spawn([process.execPath, script, "serve"], {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "inherit",
  });
}

async function ready(child: Bun.Subprocess<"ignore", "pipe", "inherit">): Promise<void> {
  for await (const _ of child.stdout) return;
}

async function stop(...args: string[]): Promise<{ code: number; text: string }> {
  const child = Bun.spawn(selfCommand("stop", ...args), {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    cwd: "/",
  });
  const [out, err, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  return { code, text: out + err };
}

test("a pid file holds our id, and only we remove it", () => {
  using folder = new Folder();
  const file = join(folder.path, "phprun.pid");
  expect(readPidFile(file)).toBeNull();
  writePidFile(file);
  expect(readFileSync(file, "utf8")).toBe(`${process.pid}\n`);
  removePidFile(file);
  expect(existsSync(file)).toBeFalse();
  folder.write("phprun.pid", "1\n");
  removePidFile(file);
  expect(existsSync(file)).toBeTrue();
});

test("a pid file of a process that is gone is replaced", async () => {
  using folder = new Folder();
  const gone = Bun.spawn(["true"]);
  await gone.exited;
  const file = folder.write("phprun.pid", `${gone.pid}\n`);
  writePidFile(file);
  expect(readPidFile(file)).toBe(process.pid);
});

test("a pid file of a running server is refused", async () => {
  using folder = new Folder();
  const server = fakeServer(folder, "");
  await ready(server);
  const file = folder.write("phprun.pid", `${server.pid}\n`);
  expect(() => writePidFile(file)).toThrow(`phprun is running already, as process ${server.pid}`);
  server.kill("SIGKILL");
  await server.exited;
});

test("a file that holds no id is an error", () => {
  using folder = new Folder();
  expect(() => readPidFile(folder.write("x.pid", "12ab"))).toThrow("must hold a process id");
});

test("stop waits until the process has gone", async () => {
  using folder = new Folder();
  const server = fakeServer(folder, `process.on("SIGTERM", () => setTimeout(() => process.exit(0), 200));`);
  await ready(server);
  const file = folder.write("phprun.pid", `${server.pid}\n`);
  const { code, text } = await stop("--pid-file", file);
  expect(isAlive(server.pid)).toBeFalse();
  expect({ code, text }).toEqual({ code: 0, text: `✔ Process ${server.pid} has stopped\n` });
});

test("stop gives up after its time, with exit code 1", async () => {
  using folder = new Folder();
  const server = fakeServer(folder, `process.on("SIGTERM", () => {});`);
  await ready(server);
  const { code, text } = await stop("--pid", String(server.pid), "--timeout", "0");
  expect(code).toBe(1);
  expect(text).toContain("it still runs after 0 s");
  server.kill("SIGKILL");
  await server.exited;
});

test("stop leaves a process alone that took over the id in an old pid file", async () => {
  using folder = new Folder();
  const file = folder.write("phprun.pid", `${process.pid}\n`);
  const { code, text } = await stop("--pid-file", file);
  expect(code).toBe(1);
  expect(text).toContain("is left over from process");
});

test("stop without a running server says so", async () => {
  const { code, text } = await stop("--pid-file", "/nonexistent/phprun.pid");
  expect(code).toBe(1);
  expect(text).toContain("phprun does not run");
});

test("signals are kept until somebody asks, and a stop comes before anything else", async () => {
  const signals = new Signals();
  signals.count("reopen");
  expect(await signals.next()).toBe("reopen");
  const next = signals.next();
  signals.count("reopen");
  expect(await next).toBe("reopen");
  signals.count("reopen");
  signals.count("stop");
  expect(await signals.next()).toBe("stop");
  await signals.stopAsked(1);
  const second = signals.stopAsked(2);
  signals.count("stop");
  await second;
});

/** A server that only notes what is asked of it; its graceful stop ends when `finish` is called. */
function notingServer() {
  const asked: string[] = [];
  const stopped = Promise.withResolvers<void>();
  const failed = Promise.withResolvers<never>();
  const server = {
    urls: [],
    banner: "banner",
    onReload: () => undefined,
    reload: async (by: string) => {
      asked.push(`reload by ${by}`);
      return { ok: false as const, reason: "no" };
    },
    stop: () => (asked.push("stop"), stopped.promise),
    stopNow: async () => void asked.push("stopNow"),
    reopenLogs: () => void asked.push("reopenLogs"),
    failed: failed.promise,
  };
  const signals = new Signals();
  const running = runUntilStopped(server, signals, new Notifier({ address: null, watchdogMs: 0 }));
  return { asked, signals, running, finish: stopped.resolve, fail: failed.reject };
}

test("a server reopens its logs and reloads when asked, and ends when its graceful stop has", async () => {
  const { asked, signals, running, finish } = notingServer();
  signals.count("reopen");
  await Bun.sleep(0);
  signals.count("reload");
  await Bun.sleep(0);
  signals.count("stop");
  await Bun.sleep(0);
  expect(asked).toEqual(["reopenLogs", "reload by signal", "stop"]);
  finish();
  await running;
});

test("a second stop does not wait for the first", async () => {
  const { asked, signals, running } = notingServer();
  signals.count("stop");
  await Bun.sleep(0);
  signals.count("stop");
  await running;
  expect(asked).toEqual(["stop", "stopNow"]);
});

test("a server that fails is ended and its error goes on", async () => {
  const { asked, running, fail } = notingServer();
  fail(new Error("every pool is down"));
  await expect(running).rejects.toThrow("every pool is down");
  expect(asked).toEqual(["stopNow"]);
});
