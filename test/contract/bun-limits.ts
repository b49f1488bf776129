import { describe, expect } from "bun:test";
import { Connection, raw } from "../harness.ts";
import { get, requestBytes, send } from "./ask.ts";
import { test } from "./contract-test.ts";
import type { Subject } from "./contract.ts";
import type { Report } from "./report.ts";

/**
 * What Bun 1.4.4 does differently from nginx and leaves us no say in. These tests say what happens today, so that we
 * notice when it changes.
 */
export function bunLimits(subject: () => Subject): void {
  describe("Bun", () => {
    const ask = async (path: string, ...headers: string[]) =>
      JSON.parse((await get(subject().url, path, ...headers)).text) as Report;

    test("Bun: the body of a GET is dropped", async () => {
      const answer = await send(subject().url, "GET /input.php HTTP/1.1", ["Content-Length: 4"], "body");
      expect(answer.text).toStartWith("GET 0 ");
    });

    test("Bun: pipelined requests close the connection", async () => {
      using connection = await Connection.open(subject().url);
      const one = requestBytes("GET /sleep.php?ms=50 HTTP/1.1", ["Connection: keep-alive"]);
      await connection.send(one + one);
      await connection.end();
      expect(connection.received).toBe("");
    });

    test("Bun: a reason phrase of the script's own is not sent", async () => {
      const answer = await get(subject().url, "/status-line.php?line=HTTP/1.1+404+Nobody+Home");
      expect(answer.statusLine).toBe("HTTP/1.1 404 Not Found");
      expect((await get(subject().url, "/status.php?code=299")).statusLine).toBe("HTTP/1.1 299 HM");
    });

    test("Bun: REQUEST_URI is normalised", async () => {
      const uri = async (target: string) => (await ask(target)).server["REQUEST_URI"];
      expect(await uri("/x/../report.php?a=/../")).toBe("/report.php?a=/../");
      expect(await uri("/x/%2e%2e/report.php")).toBe("/report.php");
      expect(await uri("/x\\..\\report.php")).toBe("/report.php");
      expect(await uri("/report.php?a=<'\">")).toBe("/report.php?a=%3C%27%22%3E");
      expect(await uri("/report.php?a=\xe4")).toBe("/report.php?a=%EF%BF%BD");
    });

    test("Bun: the authority of an absolute target is ignored in favour of Host", async () => {
      const answer = await raw(
        subject().url,
        requestBytes("GET http://other.example/report.php HTTP/1.1", ["Host: test.example"]),
      );
      expect((JSON.parse(answer.text) as Report).server).toMatchObject({
        HTTP_HOST: "test.example",
        REQUEST_URI: "/report.php",
      });
    });

    test("Bun: request headers come sorted and in lower case", async () => {
      const got = await ask("/report.php", "X-Zz: 1", "X-Aa: 2");
      const names = Object.keys(got.headers).filter((name) => name.startsWith("X-"));
      expect(names).toContain("X-Aa");
      expect(got.server["SERVER_PROTOCOL"]).toBe("HTTP/1.1");
    });

    test("Bun: response headers of one name are joined, cookies apart", async () => {
      const answer = await get(subject().url, "/headers.php");
      expect(answer.all("x-two")).toEqual(["a, b"]);
    });

    test("Bun: an HTTP/1.0 request is told to the script as HTTP/1.1", async () => {
      const answer = await raw(subject().url, "GET /report.php HTTP/1.0\r\nHost: x\r\n\r\n");
      expect((JSON.parse(answer.text) as Report).server["SERVER_PROTOCOL"]).toBe("HTTP/1.1");
    });

    test("Bun: unknown methods close the connection without an answer", async () => {
      using connection = await Connection.open(subject().url);
      await connection.send("FOO /hello.php HTTP/1.1\r\nHost: x\r\n\r\n");
      await connection.end();
      expect(connection.received).not.toContain("200");
    });

    test("Bun: more than about 200 headers are a 431", async () => {
      const headers = Array.from({ length: 250 }, (_, i) => `X-H${i}: v`);
      expect((await get(subject().url, "/hello.php", ...headers)).status).toBe(431);
    });

    test("Bun: Expect: 100-continue in another letter case gets no interim answer", async () => {
      using connection = await Connection.open(subject().url);
      const headers = ["Content-Length: 1", "Expect: 100-Continue"];
      await connection.send(requestBytes("POST /input.php HTTP/1.1", headers, "a"));
      await connection.until(/\r\n\r\n/);
      expect(connection.received).toStartWith("HTTP/1.1 200");
    });
  });
}
