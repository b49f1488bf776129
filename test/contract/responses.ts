import { describe, expect } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { get, send } from "./ask.ts";
import { test } from "./contract-test.ts";
import type { Subject } from "./contract.ts";

/** What a script says about its response. */
export function responses(subject: () => Subject): void {
  describe("responses", () => {
    const ask = (path: string) => get(subject().url, path);

    test("each fixture with an expected output gives it", async () => {
      const folder = subject().server.docroot;
      const expected = readdirSync(folder).filter((name) => name.endsWith(".expected"));
      expect(expected.length).toBeGreaterThan(3);
      for (const name of expected) {
        const answer = await ask(`/${name.replace(".expected", ".php")}`);
        expect(`${name} ${answer.text}`).toBe(`${name} ${readFileSync(join(folder, name), "latin1")}`);
        expect(answer.status).toBe(200);
      }
    });

    test("header() replaces, appends, removes; names keep their case, values are trimmed", async () => {
      const answer = await ask("/headers.php");
      expect(answer.status).toBe(200);
      expect(answer.all("x-one")).toEqual(["second"]);
      expect(answer.all("x-two").join(", ")).toBe("a, b");
      expect(answer.all("x-gone")).toEqual([]);
      expect(answer.headers.map(([name]) => name)).toContain("X-Case-Kept");
      expect(answer.header("x-nospace")).toBe("value");
      expect(answer.header("x-spaces")).toBe("padded");
      expect(answer.header("x-empty")).toBe("");
      expect(answer.header("content-type")).toBe("text/plain; charset=iso-8859-1");
    });

    test("a header that asks the server to send a file tells nobody its path, and the log says so", async () => {
      const { server } = subject();
      const from = server.log.mark();
      const answer = await ask("/hand-over.php");
      expect(answer.all("x-sendfile")).toEqual([]);
      expect(answer.text).toBe("body");
      await server.waitForLog(
        /asks the server to send a file \(X-Sendfile\).*script=\S+(hand-over|contract-worker)\.php/,
        from,
      );
    });

    test("a header that is none is not sent, and the log says so", async () => {
      const { server } = subject();
      const from = server.log.mark();
      const answer = await ask("/headers.php");
      expect(answer.headers.map(([name]) => name)).not.toContain("Bad Name");
      expect(answer.headers.filter(([name]) => name.includes("colon"))).toEqual([]);
      await server.waitForLog(/Cannot send a header.*Bad Name/, from);
    });

    test("every cookie has a header of its own", async () => {
      const answer = await ask("/headers.php");
      expect(answer.all("set-cookie")).toEqual([
        "a=1",
        "b=x%20y; path=/; secure; HttpOnly; SameSite=Lax",
        "c=raw",
        expect.stringMatching(/^d=deleted; expires=.*1970.*; Max-Age=0$/),
      ]);
    });

    test("what belongs to the connection is not the script's to say", async () => {
      const answer = await ask("/headers.php");
      expect(answer.header("connection")).not.toBe("upgrade");
      expect(answer.header("transfer-encoding")).toBeUndefined();
      expect(answer.whole).toBe(true);
    });

    test("apache_response_headers() knows what has been set", async () => {
      const answer = await ask("/headers.php");
      expect(JSON.parse(answer.text)).toMatchObject({ "X-One": "second", "x-nospace": "value" });
    });

    test("PHP's default content type is sent, and X-Powered-By as php.ini says", async () => {
      const answer = await ask("/hello.php");
      expect(answer.header("content-type")).toBe("text/html; charset=UTF-8");
      expect(answer.header("content-length")).toBe("5");
      expect(answer.header("date")).toMatch(/ GMT$/);
    });

    test("http_response_code() sets the status, known or not", async () => {
      for (const code of [200, 201, 202, 299, 400, 402, 404, 418, 451, 499, 500, 503, 507, 599]) {
        const answer = await ask(`/status.php?code=${code}`);
        expect(answer.status).toBe(code);
        expect(answer.text).toBe(`body of ${code}`);
      }
    });

    test("a status that cannot be sent is a 500, and the log says why", async () => {
      const { server } = subject();
      for (const code of [600, 999, 100, 101, 103, 199]) {
        const from = server.log.mark();
        const answer = await ask(`/status.php?code=${code}`);
        expect(answer.status).toBe(500);
        await server.waitForLog(new RegExp(`Cannot send status ${code}`), from);
      }
    });

    test("the status of one request is not that of the next", async () => {
      const { url } = subject().strict;
      expect((await get(url, "/status.php?code=404")).status).toBe(404);
      expect((await get(url, "/hello.php")).status).toBe(200);
      expect((await get(url, "/status-line.php?line=HTTP/1.1+410+Gone")).status).toBe(410);
      expect((await get(url, "/hello.php")).status).toBe(200);
    });

    test("204 and 304 have no body and no length", async () => {
      for (const code of [204, 304]) {
        const answer = await ask(`/status.php?code=${code}`);
        expect(answer.status).toBe(code);
        expect(answer.body).toHaveLength(0);
        expect(answer.header("content-length")).toBeUndefined();
        expect(answer.header("transfer-encoding")).toBeUndefined();
      }
    });

    test("204 and 304 drop whatever body the script makes, large or flushed", async () => {
      const { strict } = subject();
      for (const code of [204, 304]) {
        for (const query of ["bytes=5000000", "bytes=100&flush=1"]) {
          const answer = await get(strict.url, `/large.php?${query}&status=${code}`);
          expect([answer.status, answer.body.length]).toEqual([code, 0]);
          expect((await get(strict.url, "/hello.php")).text).toBe("Hello");
        }
      }
    });

    test("a status line sets the status", async () => {
      const lines = {
        "HTTP/1.1 404 Not Found": 404,
        "HTTP/1.0 403 No": 403,
        "HTTP/1.1 418": 418,
        "HTTP/": 200,
      };
      for (const [line, status] of Object.entries(lines)) {
        const answer = await ask(`/status-line.php?line=${encodeURIComponent(line)}`);
        expect([line, answer.status, answer.text]).toEqual([line, status, String(status)]);
      }
      expect((await ask("/status-line.php?line=HTTP/1.1+99999+Far")).status).toBe(500);
    });

    test("a Status header sets the status, as in CGI, and is not sent itself", async () => {
      const answer = await ask("/status-line.php?line=Status:+404+Nowhere");
      expect(answer.status).toBe(404);
      expect(answer.header("status")).toBeUndefined();
      expect((await ask("/status-line.php?line[]=status:403&line[]=X:y")).status).toBe(403);
      // A status line is the stronger word; what is no number is none.
      expect((await ask("/status-line.php?line[]=HTTP/1.1+410+Gone&line[]=Status:+403")).status).toBe(410);
      expect((await ask("/status-line.php?line=Status:+words")).status).toBe(200);
    });

    test("Location makes a redirect, unless the status already is one", async () => {
      const expected = {
        "": 302,
        "?code=301": 301,
        "?code=308": 308,
        "?status=201": 201,
        "?status=500": 302,
      };
      for (const [query, status] of Object.entries(expected)) {
        const answer = await ask(`/redirect.php${query}`);
        expect([query, answer.status, answer.text]).toEqual([query, status, String(status)]);
        expect(answer.header("location")).toBe("/hello.php?x=1");
      }
      const posted = await send(subject().url, "POST /redirect.php HTTP/1.1", ["Content-Length: 0"]);
      expect(posted.status).toBe(302);
    });

    test("ob_gzhandler and zlib.output_compression send what the client takes", async () => {
      await using compressing = await subject().start({
        config: { php: { ini: { "zlib.output_compression": "1" } } },
      });
      for (const url of [`${subject().url}/gzip.php`, `${compressing.url}/info.php`]) {
        const { pathname, search } = new URL(url);
        const packed = await get(url, pathname + search, "Accept-Encoding: gzip");
        expect([packed.status, packed.header("content-encoding")]).toEqual([200, "gzip"]);
        const plain = await get(url, pathname + search);
        expect(plain.header("content-encoding")).toBeUndefined();
        expect(Bun.gunzipSync(Buffer.from(packed.body)).length).toBeWithin(
          plain.body.length - 200,
          plain.body.length + 200,
        );
      }
      expect(compressing.log.text).not.toContain("headers already sent");
    });

    test("X-Request-Id is on each answer, unlike any other, unless it is turned off", async () => {
      const ids = new Set<string | undefined>();
      for (const path of ["/hello.php", "/nothing.txt", "/status.php?code=204", "/fatal.php?how=exception"]) {
        ids.add((await ask(path)).header("x-request-id"));
      }
      expect(ids.size).toBe(4);
      expect(ids.has(undefined)).toBe(false);
      const { url } = subject().strict;
      expect((await get(url, "/hello.php")).header("x-request-id")).toBeUndefined();
      expect((await get(url, "/nothing.txt")).header("x-request-id")).toBeUndefined();
    });

    test("the Server header is as configured", async () => {
      for (const path of [
        "/hello.php",
        "/nothing.txt",
        "/hello.expected",
        "/included",
        "/large.php?bytes=600000",
      ]) {
        expect([path, (await ask(path)).header("server")]).toEqual([path, "contract"]);
        expect([path, (await get(subject().strict.url, path)).header("server")]).toEqual([path, undefined]);
      }
    });
  });
}
