import { describe, expect } from "bun:test";
import { Connection } from "../harness.ts";
import { get, newId, requestBytes } from "./ask.ts";
import { test } from "./contract-test.ts";
import type { Subject } from "./contract.ts";

const HOW = [
  "exception",
  "function",
  "memory",
  "memory-slowly",
  "error",
  "parse",
  "require",
  "recursion",
  "destructor",
  "shutdown",
] as const;

/** A script that fails is a 500, and a response that is not whole never looks whole. */
export function failures(subject: () => Subject): void {
  describe("a script that fails", () => {
    const ask = (how: string, when: string, status = 200) =>
      get(subject().url, `/fatal.php?how=${how}&when=${when}&status=${status}`);

    for (const when of ["start", "buffered", "output"]) {
      test(`is a 500, whatever the error (${when})`, async () => {
        for (const how of HOW) {
          const answer = await ask(how, when);
          expect([how, answer.status]).toEqual([how, 500]);
          expect(answer.text).not.toContain("secret");
          expect(answer.text).not.toContain(subject().server.docroot);
        }
        expect((await get(subject().url, "/hello.php")).text).toBe("Hello");
      });
    }

    test("without output gets the error page, as JSON for who asks for it", async () => {
      const { url } = subject();
      const page = await get(url, "/fatal.php?how=exception");
      expect(page.header("content-type")).toStartWith("text/html");
      expect(page.text).toContain("500");
      const json = await get(url, "/fatal.php?how=exception", "Accept: application/json");
      expect(json.header("content-type")).toStartWith("application/json");
      expect(JSON.parse(json.text)).toMatchObject({ error: { status: 500 } });
    });

    test("is told in the log, with its script, and its shutdown function has run", async () => {
      const { server } = subject();
      for (const how of ["exception", "memory", "function"]) {
        const from = server.log.mark();
        await ask(how, "start");
        await server.waitForLog(
          /error PHP Fatal error: .*fatal\.php.*pool=contract worker=\d .*script=\S*(fatal|contract-worker)\.php/,
          from,
        );
        await server.waitForLog(/the shutdown function ran/, from);
      }
    });

    test("with a parse error is a 500", async () => {
      const from = subject().server.log.mark();
      expect((await get(subject().url, "/parse-error.php")).status).toBe(500);
      await subject().server.waitForLog(/PHP Parse error/, from);
    });

    test("after what was sent cuts the connection", async () => {
      const { server, url } = subject();
      for (const how of ["exception", "memory", "function"]) {
        const id = newId();
        const from = server.log.mark();
        using connection = await Connection.open(url);
        await connection.send(requestBytes(`GET /fatal.php?how=${how}&when=flushed&id=${id} HTTP/1.1`));
        await connection.until(/some output/);
        server.openGate(`${id}-go`);
        const answer = await connection.response();
        expect([how, answer.status, answer.whole]).toEqual([how, 200, false]);
        await server.waitForLog(/the response was cut short/, from);
      }
    });

    test("after a large output cuts the connection", async () => {
      for (const how of ["exception", "memory"]) {
        const answer = await ask(how, "large");
        expect([how, answer.status, answer.whole]).toEqual([how, 200, false]);
      }
    });

    test("right after flush() is either cut or a 500, never a whole success", async () => {
      for (let i = 0; i < 20; i++) {
        const answer = await ask("exception", "flushed", i % 2 === 0 ? 200 : 202);
        expect(answer.status === 500 || !answer.whole).toBe(true);
      }
    });

    test("and handles it itself has the last word on the status", async () => {
      const answer = await ask("handled", "start");
      expect([answer.status, answer.text]).toEqual([503, "handled: mine"]);
    });

    test("only to the degree of a warning has not failed", async () => {
      const answer = await ask("warning", "start");
      expect([answer.status, answer.text]).toEqual([200, "still fine"]);
    });
  });

  describe("a worker that dies", () => {
    test("is a 502 for its request alone, and is replaced", async () => {
      const { server, url } = subject();
      const from = server.log.mark();
      const id = newId();
      const other = get(url, `/wait.php?id=${id}`);
      await server.record(id, /started/);
      const answer = await get(url, "/kill.php");
      expect(answer.status).toBe(502);
      if (subject().isolation === "thread") {
        // They share a process, and its end.
        await server.waitForLog(/worker crashed.*SIGSEGV.*worker=\d.*uri=\/kill\.php/, from);
        expect((await other).status).toBe(502);
      } else {
        await server.waitForLog(/worker died.*SIGSEGV.*worker=\d.*uri=\/kill\.php/, from);
        server.openGate(`${id}-go`);
        expect((await other).text).toBe("done");
      }
      for (let i = 0; i < 20; i++) expect((await get(url, "/hello.php")).text).toBe("Hello");
    });

    test("after part of its response was sent cuts the connection", async () => {
      const { url } = subject();
      const answer = await get(url, "/kill.php?flush=1");
      expect(answer.status === 502 || !answer.whole).toBe(true);
      expect((await get(url, "/hello.php")).text).toBe("Hello");
    });
  });
}
