import { describe, expect } from "bun:test";
import { Connection, raw } from "../harness.ts";
import { get, newId, requestBytes } from "./ask.ts";
import { test } from "./contract-test.ts";
import type { Subject } from "./contract.ts";

/** Output on its way out, and the ways in which a script may end. */
export function endings(subject: () => Subject): void {
  describe("output", () => {
    test("flush() sends what there is at once", async () => {
      const { server, url } = subject();
      const id = newId();
      using connection = await Connection.open(url);
      await connection.send(requestBytes(`GET /flush.php?id=${id} HTTP/1.1`));
      const seen = await connection.until(/first/);
      expect(seen).not.toContain("second");
      server.openGate(`${id}-go`);
      const answer = await connection.response();
      expect(answer.text).toBe("firstsecond");
      expect(answer.whole).toBe(true);
    });

    test("server-sent events arrive one by one", async () => {
      const { server, url } = subject();
      const id = newId();
      using connection = await Connection.open(url);
      await connection.send(requestBytes(`GET /sse.php?id=${id} HTTP/1.1`, ["Accept: text/event-stream"]));
      for (const i of [1, 2, 3]) {
        const seen = await connection.until(new RegExp(`data: event ${i}\n\n`));
        expect(seen).not.toContain(`event ${i + 1}`);
        server.openGate(`${id}-event${i}`);
      }
      const answer = await connection.response();
      expect(answer.header("content-type")).toBe("text/event-stream;charset=UTF-8");
      expect(answer.whole).toBe(true);
    });

    test("a header after flush() is too late, without output it is not", async () => {
      const answer = await get(subject().url, "/flush-header.php");
      expect(answer.header("x-after-flush")).toBe("in time");
      expect(answer.text).toBe("sent: false, then: true");
    });
  });

  describe("the end of a script", () => {
    test("exit in the middle keeps the output, and shutdown functions and destructors still speak", async () => {
      const expected = {
        exit: "before  shutdown destructor",
        number: "before  shutdown destructor",
        text: "before text shutdown destructor",
        die: "before died shutdown destructor",
        nothing: "before after shutdown destructor",
      };
      for (const [how, text] of Object.entries(expected)) {
        const answer = await get(subject().url, `/exit.php?how=${how}`);
        expect([how, answer.status, answer.text]).toEqual([how, 200, text]);
      }
    });

    test("shutdown functions may still set the status and print, also nested ones", async () => {
      const answer = await get(subject().url, "/shutdown.php");
      expect(answer.status).toBe(202);
      expect(answer.text).toBe("script\nshutdown 1\nshutdown 2\nshutdown nested\ndestructor a\n");
    });

    test("fastcgi_finish_request() answers at once, and the script goes on", async () => {
      const { server, url } = subject();
      const id = newId();
      const answer = await raw(
        url,
        requestBytes(`POST /finish.php?id=${id} HTTP/1.1`, ["Content-Length: 4"], "body"),
      );
      expect(answer.text).toBe("response");
      expect(answer.header("x-before")).toBe("yes");
      expect(answer.header("x-after")).toBeUndefined();
      // Other requests are served meanwhile.
      expect((await get(url, "/hello.php")).text).toBe("Hello");
      server.openGate(`${id}-go`);
      const record = JSON.parse(await server.record(id, /}\n/)) as unknown;
      expect(record).toEqual({
        finished: true,
        again: false,
        status: 0,
        aborted: 0,
        input: "body",
      });
      const cookie = answer.header("set-cookie")?.split(";")[0] ?? "";
      const session = await get(url, "/session.php?show=1", `Cookie: ${cookie}`);
      expect(JSON.parse(session.text)).toMatchObject({ after: "written" });
    });

    test("a worker that goes on after fastcgi_finish_request() serves its next request when it is done", async () => {
      const { strict } = subject();
      const id = newId();
      const answer = await get(strict.url, `/finish.php?id=${id}`);
      expect(answer.text).toBe("response");
      const next = get(strict.url, "/hello.php");
      strict.openGate(`${id}-go`);
      expect((await next).text).toBe("Hello");
      await strict.record(id, /finished/);
    });
  });

  describe("a client that leaves", () => {
    test("ends the script at its next output, and shutdown functions know it", async () => {
      const { server, url } = subject();
      const id = newId();
      using connection = await Connection.open(url);
      await connection.send(requestBytes(`GET /abort.php?id=${id} HTTP/1.1`));
      await connection.until(/started/);
      connection.close();
      server.openGate(`${id}-left`);
      const record = await server.record(id, /shutdown/);
      expect(record).toBe("shutdown aborted=1 status=1\n");
    });

    test("does not end a script that ignores it; connection_aborted() tells", async () => {
      const { server, url } = subject();
      const id = newId();
      using connection = await Connection.open(url);
      await connection.send(requestBytes(`GET /abort.php?ignore=1&id=${id} HTTP/1.1`));
      await connection.until(/started/);
      connection.close();
      server.openGate(`${id}-left`);
      const record = await server.record(id, /shutdown/);
      expect(record).toBe("script aborted=1\nshutdown aborted=1 status=1\n");
    });

    test("while its request waits for a worker costs no run", async () => {
      const { strict } = subject();
      const first = newId();
      const second = newId();
      const holding = get(strict.url, `/wait.php?id=${first}`);
      await strict.record(first, /started/);
      const from = strict.log.mark();
      using waiting = await Connection.open(strict.url);
      await waiting.send(requestBytes(`GET /wait.php?id=${second} HTTP/1.1`));
      // The access log tells when the front has noticed.
      waiting.close();
      await strict.waitForLog(/"status":499/, from);
      strict.openGate(`${first}-go`);
      expect((await holding).text).toBe("done");
      expect((await get(strict.url, "/hello.php")).text).toBe("Hello");
      expect(await Bun.file(`${strict.folder}/records/${second}`).exists()).toBe(false);
    });
  });
}
