import { describe, expect } from "bun:test";
import { existsSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { Connection, curl, raw } from "../harness.ts";
import { get, newId, requestBytes, send } from "./ask.ts";
import { test } from "./contract-test.ts";
import type { Subject } from "./contract.ts";
import type { Report } from "./report.ts";

const hasIpv6 = Object.values(networkInterfaces()).some((list) =>
  list?.some(({ family }) => family === "IPv6"),
);

/** Methods, connections and listeners. */
export function http(subject: () => Subject): void {
  describe("methods", () => {
    test("HEAD runs the script and sends its headers alone", async () => {
      const { server, url } = subject();
      for (const query of ["", "&flush=1"]) {
        const id = newId();
        const answer = await send(url, `HEAD /head.php?id=${id}${query} HTTP/1.1`);
        expect([answer.status, answer.header("x-ran"), answer.body.length]).toEqual([200, "yes", 0]);
        // Unknown is fine, wrong is not.
        expect(answer.header("content-length")).not.toBe("0");
        expect(await server.record(id, /ran/)).toBe("ran HEAD\n");
      }
    });

    test("HEAD keeps the length the script gives, and the connection stays usable", async () => {
      using connection = await Connection.open(subject().url);
      for (let i = 0; i < 3; i++) {
        const path = `/head.php?length=1&id=${newId()}`;
        await connection.send(requestBytes(`HEAD ${path} HTTP/1.1`, ["Connection: keep-alive"]));
        const answer = await connection.response("HEAD");
        expect([answer.status, answer.header("content-length")]).toEqual([200, "12345"]);
        expect(connection.received).toBe("");
      }
    });

    test("PUT, PATCH, DELETE, OPTIONS, PROPFIND and others reach the script with their bodies", async () => {
      for (const method of ["PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "REPORT", "MKCOL", "LOCK"]) {
        const answer = await curl("-X", method, "--data-binary", "payload", `${subject().url}/input.php`);
        expect(answer.text).toBe(`${method} 7 321c3cf486ed509164edec1e1981fec8 same`);
        const bare = await send(subject().url, `${method} /input.php HTTP/1.1`);
        expect(bare.text).toStartWith(`${method} 0 `);
      }
    });

    test("TRACE is refused with 405", async () => {
      const answer = await send(subject().url, "TRACE /hello.php HTTP/1.1");
      expect(answer.status).toBe(405);
      expect(answer.header("allow")).toContain("GET");
    });
  });

  describe("connections", () => {
    test("one connection carries many requests, of all kinds", async () => {
      const { url } = subject();
      using connection = await Connection.open(url);
      for (let i = 0; i < 60; i++) {
        const keep = ["Connection: keep-alive"];
        const kind = i % 4;
        if (kind === 0) await connection.send(requestBytes("GET /hello.php HTTP/1.1", keep));
        if (kind === 1) {
          await connection.send(
            requestBytes("POST /input.php HTTP/1.1", [...keep, "Content-Length: 3"], "abc"),
          );
        }
        if (kind === 2) await connection.send(requestBytes("GET /status.php?code=404 HTTP/1.1", keep));
        if (kind === 3) await connection.send(requestBytes("GET /large.php?bytes=300000 HTTP/1.1", keep));
        const answer = await connection.response();
        expect([answer.whole, answer.status]).toEqual([true, kind === 2 ? 404 : 200]);
        if (kind === 3) expect(answer.body).toHaveLength(300_000);
      }
      expect(connection.received).toBe("");
      expect(connection.closed).toBe(false);
    });

    test("Connection: close is kept to, also after a streamed answer", async () => {
      for (const path of ["/hello.php", "/large.php?bytes=600000"]) {
        using connection = await Connection.open(subject().url);
        await connection.send(requestBytes(`GET ${path} HTTP/1.1`));
        expect((await connection.response()).whole).toBe(true);
        await connection.end();
      }
    });

    test("an HTTP/1.0 client gets no chunks, and the connection closes", async () => {
      const { url } = subject();
      for (const [path, length] of [
        ["/hello.php", 5],
        ["/large.php?bytes=600000", 600_000],
      ] as const) {
        using connection = await Connection.open(url);
        await connection.send(`GET ${path} HTTP/1.0\r\n\r\n`);
        const answer = await connection.response();
        expect(answer.header("transfer-encoding")).toBeUndefined();
        expect(answer.body).toHaveLength(length);
        await connection.end();
      }
    });

    test("100 requests at once are all answered, each with its own answer", async () => {
      const { url } = subject();
      const answers = await Promise.all(
        Array.from({ length: 100 }, async (_, i) => {
          const got = (await (await fetch(`${url}/report.php?n=${i}`)).json()) as Report;
          return got.get["n"];
        }),
      );
      expect(answers).toEqual(Array.from({ length: 100 }, (_, i) => String(i)));
    });

    test("Expect: 100-continue is answered before the body is sent", async () => {
      using connection = await Connection.open(subject().url);
      await connection.send(
        requestBytes("POST /input.php HTTP/1.1", ["Content-Length: 7", "Expect: 100-continue"]),
      );
      await connection.until(/^HTTP\/1\.1 100 Continue\r\n\r\n/);
      await connection.send("payload");
      expect((await connection.response()).text).toBe("POST 7 321c3cf486ed509164edec1e1981fec8 same");
    });

    test("a request that comes byte by byte is one", async () => {
      using connection = await Connection.open(subject().url);
      for (const byte of requestBytes("POST /input.php HTTP/1.1", ["Content-Length: 7"], "payload")) {
        await connection.send(byte);
      }
      expect((await connection.response()).text).toStartWith("POST 7 321c3cf4");
    });
  });

  describe("listeners", () => {
    test("IPv4, IPv6 and unix sockets serve side by side", async () => {
      const listen = ["127.0.0.1:0", "unix:php.sock", ...(hasIpv6 ? ["[::1]:0"] : [])];
      const server = await subject().start({ config: { server: { listen } } });
      const socket = join(server.folder, "php.sock");
      try {
        expect(server.urls).toHaveLength(listen.length);
        for (const url of server.urls) {
          const { server: seen } = JSON.parse((await get(url, "/report.php")).text) as Report;
          if (url.startsWith("unix:")) {
            expect(seen).toMatchObject({ REMOTE_ADDR: "", SERVER_NAME: "test", HTTP_HOST: "test" });
          } else {
            const { port, hostname } = new URL(url);
            const address = hostname.replaceAll(/[[\]]/g, "");
            expect(seen).toMatchObject({ SERVER_PORT: port, REMOTE_ADDR: address, SERVER_ADDR: address });
          }
        }
        const byCurl = await curl(
          "--unix-socket",
          socket,
          "-H",
          "X-Forwarded-For: 203.0.113.5",
          "http://x/report.php",
        );
        expect((JSON.parse(byCurl.text) as Report).server["REMOTE_ADDR"]).toBe("203.0.113.5");
        expect(await server.stop()).toBe(0);
        expect(existsSync(socket)).toBe(false);
      } finally {
        await server[Symbol.asyncDispose]();
      }
    });

    test.skipIf(!hasIpv6)("an IPv4 client of a wildcard IPv6 listener is seen as what it is", async () => {
      await using server = await subject().start({ config: { server: { listen: ["[::]:0"] } } });
      const answer = await raw(`http://127.0.0.1:${server.port}`, requestBytes("GET /report.php HTTP/1.1"));
      expect((JSON.parse(answer.text) as Report).server["REMOTE_ADDR"]).toBe("127.0.0.1");
    });

    test("--port 0 takes a free port and the banner tells it", async () => {
      await using server = await subject().start({
        config: { server: {} },
        args: ["--host", "127.0.0.1", "--port", "0"],
      });
      expect(server.port).toBeGreaterThan(1023);
      expect((await get(server.url, "/hello.php")).text).toBe("Hello");
    });
  });
}
