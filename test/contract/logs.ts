import { describe, expect } from "bun:test";
import { existsSync, readFileSync, renameSync } from "node:fs";
import { join } from "node:path";
import { eventually, sizeOf } from "../harness.ts";
import { get, newId, send } from "./ask.ts";
import { test } from "./contract-test.ts";
import type { Subject } from "./contract.ts";

export function logs(subject: () => Subject): void {
  describe("the access log", () => {
    test("has a line for each request, whoever answered it", async () => {
      const { server, url } = subject();
      const paths = {
        "/hello.php?%22x": '"GET /hello.php?%22x HTTP/1.1" 200 5',
        "/hello.expected": '"GET /hello.expected HTTP/1.1" 200 5',
        "/nothing": '"GET /nothing HTTP/1.1" 404 \\d+',
        "/status.php?code=418": '"GET /status.php?code=418 HTTP/1.1" 418 11',
        "/status.php?code=204": '"GET /status.php?code=204 HTTP/1.1" 204 -',
        "/large.php?bytes=700000": '"GET /large.php?bytes=700000 HTTP/1.1" 200 700000',
        "/broken": '"GET /broken HTTP/1.1" 301 -',
        "/included": '"GET /included HTTP/1.1" 200 \\d+',
        "/": '"GET / HTTP/1.1" 404 \\d+',
        "/%zz": '"GET /%zz HTTP/1.1" 400 \\d+',
      };
      for (const [path, line] of Object.entries(paths)) {
        const from = server.log.mark();
        await get(url, path);
        const pattern = line.replaceAll(/[.?%]/g, "\\$&");
        await server.waitForLog(new RegExp(`^127\\.0\\.0\\.1 - - \\[[^\\]]+\\] ${pattern}$`, "m"), from);
      }
    });

    test("has one line and no more for a request", async () => {
      const { server, url } = subject();
      const ids = Array.from({ length: 20 }, newId);
      await Promise.all(ids.map((id) => get(url, `/hello.php?${id}`)));
      for (const id of ids) await server.waitForLog(new RegExp(`\\?${id} HTTP`));
      for (const id of ids) expect(server.log.text.split(`?${id} HTTP`)).toHaveLength(2);
    });

    test("in JSON has an object on each line", async () => {
      const { strict } = subject();
      const id = newId();
      await get(strict.url, `/hello.php?${id}`, "Referer: http://a/\xe4", 'User-Agent: say "hi"');
      const [line] = await strict.waitForLog(new RegExp(`^{.*${id}.*}$`, "m"));
      expect(JSON.parse(line)).toEqual({
        time: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
        remote_addr: "127.0.0.1",
        method: "GET",
        target: `/hello.php?${id}`,
        protocol: "HTTP/1.1",
        status: 200,
        bytes: 5,
        duration_ms: expect.any(Number),
        referer: "http://a/\xe4",
        user_agent: 'say "hi"',
        request_id: null,
        pool: "strict",
      });
    });

    test("cannot be forged by a target", async () => {
      const { server, url } = subject();
      const id = newId();
      await send(url, `GET /hello.php?${id}%0a127.0.0.1\x7f\xff HTTP/1.1`);
      const [line] = await server.waitForLog(new RegExp(`^.*${id}.*$`, "m"));
      expect(line).toMatch(/^[\x20-\x7e]+$/);
      expect(line).toEndWith("200 5");
    });
  });

  describe("the error log", () => {
    test("has what PHP logs, with pool, worker and script", async () => {
      const { server, url } = subject();
      const id = newId();
      await get(url, `/log.php?id=${id}`);
      const tags = "pool=contract worker=\\d gen=\\d+ pid=\\d+ script=\\S*/(log|contract-worker)\\.php";
      await server.waitForLog(new RegExp(`info  a message ${id} ${tags}`));
      await server.waitForLog(new RegExp(`two\\\\nlines ${id} ${tags}`));
      await server.waitForLog(new RegExp(`PHP Notice: +a notice ${id} in .* ${tags}`));
      const [long] = await server.waitForLog(new RegExp(`(long ){3000}${id} ${tags}`));
      expect(long.length).toBeGreaterThan(15_000);
      expect(server.log.text).not.toContain("\x1b[31m");
    });

    test("names the request, so that its lines can be found by the client's X-Request-Id", async () => {
      const { server, url } = subject();
      const from = server.log.mark();
      const answer = await get(url, "/status.php?code=600");
      const id = answer.header("x-request-id") ?? "missing";
      await server.waitForLog(new RegExp(`Cannot send status 600.*request_id=${id}`), from);
    });

    test("of several workers do not mix", async () => {
      const { server, url } = subject();
      const ids = Array.from({ length: 12 }, newId);
      await Promise.all(ids.map((id) => get(url, `/log.php?id=${id}`)));
      for (const id of ids) await server.waitForLog(new RegExp(`info  (long ){3000}${id} pool`));
    });
  });

  test("SIGUSR1 opens both logs anew", async () => {
    await using server = await subject().start({
      config: { logging: { file: "error.log", access_file: "access.log" } },
    });
    const path = (name: string) => join(server.folder, name);
    const read = (name: string) => (existsSync(path(name)) ? readFileSync(path(name), "utf8") : "");
    await get(server.url, "/log.php?id=before");
    await eventually("the access log has the line", () => read("access.log").includes("before") || undefined);
    expect(read("error.log")).toContain("a message before");
    renameSync(path("access.log"), path("access.old"));
    renameSync(path("error.log"), path("error.old"));
    server.signal("SIGUSR1");
    await eventually(
      "new files",
      () => (existsSync(path("access.log")) && existsSync(path("error.log"))) || undefined,
    );
    const oldSizes = [sizeOf(path("access.old")), sizeOf(path("error.old"))];
    await get(server.url, "/log.php?id=after");
    await eventually(
      "the new access log has the line",
      () => read("access.log").includes("after") || undefined,
    );
    await eventually(
      "the new error log has the line",
      () => read("error.log").includes("a message after") || undefined,
    );
    expect([sizeOf(path("access.old")), sizeOf(path("error.old"))]).toEqual(oldSizes);
  });
}
