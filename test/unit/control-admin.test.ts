import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Listener } from "../../src/config/config.ts";
import { startAdmin } from "../../src/control/admin.ts";
import { notReadyReason } from "../../src/control/readiness.ts";
import { raw } from "../harness.ts";
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

async function opened(host = "127.0.0.1", own: Listener = { kind: "tcp", host, port: 0 }) {
  const server = new TestServer();
  const { log, lines } = new TestLog();
  const admin = await startAdmin({ listener: own }, server, log);
  if (admin === null) throw new Error("There is no admin listener");
  return { server, lines, url: admin.url, [Symbol.asyncDispose]: () => admin.stop() };
}

const ask = (url: string, path: string, host = "localhost", method = "GET") =>
  raw(url, `${method} ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);

test("there is no admin listener unless it is wanted", async () => {
  expect(await startAdmin({ listener: null }, new TestServer(), new TestLog().log)).toBeNull();
});

test("it is alive as long as it answers: also while it stops, and when it cannot tell more", async () => {
  await using admin = await opened();
  admin.server.told = serverStatus({ state: "stopping", ready: false });
  expect(await ask(admin.url, "/-/health")).toMatchObject({ status: 200, text: "ok\n" });
  admin.server.fails = new Error("no memory record");
  expect(await ask(admin.url, "/-/health")).toMatchObject({ status: 200, text: "ok\n" });
});

test("it is ready when PHP answers, and says why when not", async () => {
  await using admin = await opened();
  const ready = await ask(admin.url, "/-/ready");
  expect([ready.status, JSON.parse(ready.text)]).toEqual([200, { ready: true }]);
  expect(ready.header("cache-control")).toBe("no-store");
  admin.server.told = busyStatus();
  const failed = await ask(admin.url, "/-/ready");
  expect([failed.status, JSON.parse(failed.text)]).toEqual([
    503,
    { ready: false, reason: "pool heavy has failed: 5 workers in a row have died at start" },
  ]);
  admin.server.fails = new Error("no memory record");
  expect((await ask(admin.url, "/-/ready")).status).toBe(503);
  expect(admin.lines.join("")).toContain("no memory record");
});

test.each([
  [serverStatus(), null],
  [serverStatus({ state: "reloading" }), null],
  [serverStatus({ state: "stopping" }), "the server is stopping"],
  [serverStatus({ state: "starting", ready: false }), "the server is starting"],
  [serverStatus({ ready: false }), "no PHP worker can answer"],
  [
    serverStatus({ ready: false, pools: [pool(), pool({ name: "slow", state: "starting" })] }),
    "no PHP worker of pool slow has answered yet",
  ],
  [serverStatus({ ready: false, pools: [pool({ state: "failed" })] }), "pool default has failed"],
])("readiness, case %#", (status, reason) => expect(notReadyReason(status)).toBe(reason));

test("the status tells nothing of visitors: no query strings, no addresses", async () => {
  await using admin = await opened();
  const busy = worker({ state: "busy", request: request(HOSTILE) });
  admin.server.told = serverStatus({ pools: [pool({ workers: [busy, worker()] })] });
  const { status, text } = await ask(admin.url, "/-/status");
  expect(status).toBe(200);
  expect(text).not.toMatch(/geheim|203\.0\.113|remoteAddr/);
  const told = JSON.parse(text) as typeof admin.server.told;
  expect(told.pools[0]?.workers[0]?.request).toMatchObject({ uri: "/x", method: "GET" });
  expect(told.pools[0]?.workers[1]?.request).toBeNull();

  const page = await ask(admin.url, "/-/status?text");
  expect(page.header("content-type")).toStartWith("text/plain");
  expect(page.text).toStartWith("phprun 9.9.9  serving, ready\n");
  expect(page.text).toContain("GET /x\n");
  expect(admin.server.told.pools[0]?.workers[0]?.request?.uri).toBe(HOSTILE);
});

test("only GET and HEAD are answered, and only on the three pages", async () => {
  await using admin = await opened();
  const head = await ask(admin.url, "/-/ready", "localhost", "HEAD");
  expect([head.status, head.text]).toEqual([200, ""]);
  for (const method of ["POST", "PUT", "DELETE", "OPTIONS"]) {
    const refused = await ask(admin.url, "/-/status", "localhost", method);
    expect([refused.status, refused.header("allow")]).toEqual([405, "GET, HEAD"]);
  }
  for (const path of ["/", "/-/", "/-/stop", "/-/health/", "/__proto__", "/constructor"]) {
    expect((await ask(admin.url, path)).status).toBe(404);
  }
});

test("only addresses, localhost and the name of the listener are accepted as Host", async () => {
  await using admin = await opened("LOCALHOST");
  for (const host of ["localhost", "LocalHost:80", "127.0.0.1", "10.1.2.3:9090", "[::1]:9090", "[fe80::1]"]) {
    expect([host, (await ask(admin.url, "/-/health", host)).status]).toEqual([host, 200]);
  }
  for (const host of [
    "evil.example",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "2130706433",
    "a b",
  ]) {
    expect([host, (await ask(admin.url, "/-/status", host)).status]).toEqual([host, 403]);
  }
});

test("a warning when it is open beyond this machine, and none otherwise", async () => {
  await using all = await opened("0.0.0.0");
  expect(all.lines.join("")).toMatch(/WARN.*open beyond this machine/i);
  for (const host of ["127.0.0.1", "127.1.2.3", "::1", "localhost"]) {
    await using local = await opened(host);
    expect(local.lines.join("")).not.toMatch(/WARN/i);
  }
});

test("a unix socket will do, and goes with it", async () => {
  using scratch = new SocketFolder();
  const path = join(scratch.path, "admin.sock");
  {
    await using admin = await opened("", { kind: "unix", path });
    expect(admin.url).toBe(`unix:${path}`);
    const answer = await fetch("http://any.name/-/health", { unix: path, keepalive: false });
    expect(await answer.text()).toBe("ok\n");
  }
  expect(existsSync(path)).toBeFalse();
});

test("an address that is in use is an error", async () => {
  await using admin = await opened();
  const second = opened("127.0.0.1", {
    kind: "tcp",
    host: "127.0.0.1",
    port: Number(new URL(admin.url).port),
  });
  await expect(second).rejects.toThrow(/Cannot open the admin listener on 127\.0\.0\.1:\d+/);
});
