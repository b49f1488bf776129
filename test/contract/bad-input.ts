import { describe, expect } from "bun:test";
import { chmodSync } from "node:fs";
import { join } from "node:path";
import { Connection, type HttpResponse } from "../harness.ts";
import { get, requestBytes, send } from "./ask.ts";
import { test } from "./contract-test.ts";
import type { Subject } from "./contract.ts";

/** What no client should send: each gets a clear answer or is cut off, and nobody else notices. */
export function badInput(subject: () => Subject): void {
  const stillServes = async () => expect((await get(subject().url, "/hello.php")).text).toBe("Hello");
  /** A status, or 0 for a connection that was closed without an answer. */
  const sendRaw = async (bytes: string): Promise<HttpResponse> => {
    using connection = await Connection.open(subject().url);
    await connection.send(bytes);
    connection.endSending();
    return await connection.response();
  };

  describe("bad input", () => {
    const malformed: Record<string, string> = {
      "no version": "GET /hello.php\r\nHost: x\r\n\r\n",
      "a version that is none": "GET /hello.php HTTP/9.9\r\nHost: x\r\n\r\n",
      "no target": "GET HTTP/1.1\r\nHost: x\r\n\r\n",
      "two spaces": "GET  /hello.php HTTP/1.1\r\nHost: x\r\n\r\n",
      "a space in the target": "GET /hello .php HTTP/1.1\r\nHost: x\r\n\r\n",
      "no method": " /hello.php HTTP/1.1\r\nHost: x\r\n\r\n",
      "no Host": "GET /hello.php HTTP/1.1\r\nConnection: close\r\n\r\n",
      "TLS on a plain port": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
      NULs: "GET /\0hello.php HTTP/1.1\r\nHost: x\r\n\r\n",
      "control characters": "GET /\x01\x02 HTTP/1.1\r\nHost: x\r\n\r\n",
      "a header without a colon": "GET /hello.php HTTP/1.1\r\nHost: x\r\nnonsense\r\n\r\n",
      "a space before the colon": "GET /hello.php HTTP/1.1\r\nHost: x\r\nX-A : 1\r\n\r\n",
      "a folded header": "GET /hello.php HTTP/1.1\r\nHost: x\r\nX-A: 1\r\n  more\r\n\r\n",
      "a NUL in a header": "GET /hello.php HTTP/1.1\r\nHost: x\r\nX-A: 1\0 2\r\n\r\n",
      "a header without a name": "GET /hello.php HTTP/1.1\r\nHost: x\r\n: 1\r\n\r\n",
      "a Host with a space": "GET /hello.php HTTP/1.1\r\nHost: exa mple\r\nConnection: close\r\n\r\n",
      "a Host with a path": "GET /hello.php HTTP/1.1\r\nHost: x/../y\r\nConnection: close\r\n\r\n",
      "a Host with credentials": "GET /hello.php HTTP/1.1\r\nHost: a@b\r\nConnection: close\r\n\r\n",
      "bare line feeds": "GET /hello.php HTTP/1.1\nHost: x\n\n",
      "two lengths":
        "POST /input.php HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
      "a length with a sign": "POST /input.php HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\na",
      "a length that is none": "POST /input.php HTTP/1.1\r\nHost: x\r\nContent-Length: one\r\n\r\na",
      "a negative length": "POST /input.php HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
      "a length and chunks":
        "POST /input.php HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      "an unknown coding": "POST /input.php HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
      "a coding that looks like chunked":
        "POST /input.php HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
      "a chunk size that is none":
        "POST /input.php HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
      "a chunk longer than it says":
        "POST /input.php HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n",
      "only line ends": "\r\n\r\n\r\n\r\n",
      nonsense: "\xff\xfe\xfd".repeat(100),
      CONNECT: "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\nConnection: close\r\n\r\n",
      "OPTIONS *": "OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    };
    for (const [name, bytes] of Object.entries(malformed)) {
      test(`${name}: refused, and the server serves on`, async () => {
        const answer = await sendRaw(bytes);
        expect(answer.status === 0 || (answer.status >= 400 && answer.status !== 500)).toBe(true);
        expect(answer.text).not.toContain("Hello");
        await stillServes();
      });
    }

    test("half a request and then silence costs nobody anything", async () => {
      using connection = await Connection.open(subject().url);
      await connection.send("GET /hello.php HTTP/1.1\r\nHost: x\r\nX-");
      await stillServes();
    });

    test("a wrong escape or a NUL in the path is a 400", async () => {
      for (const path of [
        "/%zz",
        "/%",
        "/%1",
        "/hello%00.php",
        "/hello.php%00",
        "/hello.php%00.txt",
        "/%00",
      ]) {
        const answer = await get(subject().url, path);
        expect([path, answer.status]).toEqual([path, 400]);
        await stillServes();
      }
    });

    test("a wrong escape in the query is the script's business", async () => {
      const answer = await get(subject().url, "/report.php?a=%zz&b=%00&%=1");
      expect(answer.status).toBe(200);
      expect(JSON.parse(answer.text)).toMatchObject({ get: { a: "%zz", b: "\0" } });
    });

    test("no path leads out of the docroot", async () => {
      const secret = "harness.ts";
      for (const up of [
        "../",
        "..%2f",
        "%2e%2e/",
        "%2e%2e%2f",
        "..\\",
        "..%5c",
        ".%2e/",
        "%252e%252e%252f",
        "....//",
      ]) {
        for (const path of [
          `/${up.repeat(2)}${secret}`,
          `/included/${up.repeat(3)}${secret}`,
          `/hello.php/${up.repeat(4)}x`,
        ]) {
          const answer = await get(subject().url, path);
          expect([path, answer.status >= 400 || answer.text === "Hello"]).toEqual([path, true]);
          expect(answer.text).not.toContain("What process and contract tests share");
        }
      }
      await stillServes();
    });

    test("a script is never sent as text, however its name is bent", async () => {
      const { url } = subject();
      for (const name of [
        "/hello.php%20",
        "/hello.php.",
        "/hello.PHP",
        "/hello.Php",
        "/hello.php~",
        "/hello.php%0a",
        "/hello.php::$DATA",
        "/hello.ph%E1%B4%98",
        "/hello.php%c2%a0",
        "/./hello.php/.",
        "//hello.php//",
        "/_lib.php%2f",
      ]) {
        const answer = await get(url, name);
        expect([name, answer.text.includes("<?php")]).toEqual([name, false]);
        expect([name, [200, 400, 403, 404].includes(answer.status), answer.status]).toEqual([
          name,
          true,
          answer.status,
        ]);
      }
      await stillServes();
    });

    test("an overlong path is a 414", async () => {
      for (const length of [8200, 20_000]) {
        const answer = await get(subject().url, `/${"a".repeat(length)}`);
        expect([length, answer.status]).toEqual([length, 414]);
      }
      expect((await get(subject().url, `/${"a".repeat(4000)}`)).status).toBe(404);
      await stillServes();
    });

    test("a long query counts as the path does", async () => {
      expect((await get(subject().url, `/report.php?a=${"b".repeat(7000)}`)).status).toBe(200);
      expect((await get(subject().url, `/report.php?a=${"b".repeat(30_000)}`)).status).toBe(414);
      await stillServes();
    });

    test("headers that are too large are a 431", async () => {
      for (const headers of [
        [`X-Large: ${"x".repeat(70_000)}`],
        Array.from({ length: 100 }, () => `X-A: ${"x".repeat(1000)}`),
      ]) {
        const answer = await get(subject().url, "/hello.php", ...headers);
        expect(answer.status).toBe(431);
        await stillServes();
      }
    });

    test("a body that is too large is a 413, by its length or as it comes", async () => {
      const { strict } = subject();
      const chunk = `10000\r\n${"x".repeat(0x10000)}\r\n`;
      using declared = await Connection.open(strict.url);
      await declared.send(requestBytes("POST /input.php HTTP/1.1", ["Content-Length: 1048577"]));
      expect((await declared.response()).status).toBe(413);
      using chunked = await Connection.open(strict.url);
      await chunked.send(requestBytes("POST /input.php HTTP/1.1", ["Transfer-Encoding: chunked"]));
      // No more than it takes: what the server does not read would reset the connection and its answer with it.
      for (let i = 0; i < 17; i++) await chunked.send(chunk);
      expect((await chunked.response()).status).toBe(413);
      expect((await get(strict.url, "/hello.php")).text).toBe("Hello");
      // Exactly as much as is allowed.
      const whole = await fetch(`${strict.url}/digest.php`, { method: "POST", body: "x".repeat(1_048_576) });
      expect([whole.status, (await whole.text()).split(" ")[0]]).toEqual([200, "1048576"]);
    });

    test("a body shorter than its length runs no script", async () => {
      using connection = await Connection.open(subject().url);
      await connection.send(requestBytes("POST /input.php HTTP/1.1", ["Content-Length: 100"], "short"));
      connection.endSending();
      const answer = await connection.response();
      expect(answer.text).not.toContain("POST");
      await stillServes();
    });

    test("a body longer than its length does not become a request", async () => {
      using connection = await Connection.open(subject().url);
      const hidden = "GET /status.php?code=418 HTTP/1.1\r\nHost: x\r\n\r\n";
      await connection.send(requestBytes("POST /input.php HTTP/1.1", ["Content-Length: 2"], `ab${hidden}`));
      const answer = await connection.response();
      expect(answer.status === 200 || answer.status === 400 || answer.status === 0).toBe(true);
      expect(connection.received).not.toContain("418");
      await stillServes();
    });

    test("unknown methods are refused", async () => {
      for (const method of ["FOO", "get", "G\x01T", "A".repeat(1000)]) {
        const answer = await sendRaw(`${method} /hello.php HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
        expect([0, 400, 405, 501, 505]).toContain(answer.status);
        await stillServes();
      }
    });

    test("a script that is a folder is not run", async () => {
      await using server = await subject().start({
        docroot: undefined as never,
        files: { "folder.php/inside.txt": "inside", "hello.php": "<?php echo 'Hello';" },
      });
      expect((await get(server.url, "/folder.php")).status).toBe(301);
      expect((await get(server.url, "/folder.php/")).status).toBe(404);
      expect((await get(server.url, "/folder.php/inside.txt")).text).toBe("inside");
      expect((await get(server.url, "/hello.php")).text).toBe("Hello");
    });

    const asRoot = process.getuid?.() === 0;
    test.skipIf(asRoot)(
      "a script that cannot be read is a 403 (skipped as root, who reads all)",
      async () => {
        await using server = await subject().start({
          docroot: undefined as never,
          files: { "secret.php": "<?php echo 'secret';", "hello.php": "<?php echo 'Hello';" },
        });
        chmodSync(join(server.docroot, "secret.php"), 0);
        expect((await get(server.url, "/secret.php")).status).toBe(403);
        expect((await get(server.url, "/hello.php")).text).toBe("Hello");
      },
    );

    test("a script that goes away is a 404, and back when it is back", async () => {
      await using server = await subject().start({
        docroot: undefined as never,
        files: { "a.php": "<?php echo 'one';" },
      });
      expect((await get(server.url, "/a.php")).text).toBe("one");
      await Bun.file(join(server.docroot, "a.php")).delete();
      expect((await get(server.url, "/a.php")).status).toBe(404);
      await Bun.write(join(server.docroot, "a.php"), "<?php echo 'two and more';");
      expect((await get(server.url, "/a.php")).text).toBe("two and more");
    });

    test("one bad client among many costs the others nothing", async () => {
      const { url } = subject();
      const good = Array.from({ length: 30 }, () => get(url, "/hello.php"));
      const bad = Object.values(malformed).map((bytes) => sendRaw(bytes));
      for (const answer of await Promise.all(good)) expect(answer.text).toBe("Hello");
      await Promise.all(bad);
      await send(url, "GET /hello.php HTTP/1.1");
    });
  });
}
