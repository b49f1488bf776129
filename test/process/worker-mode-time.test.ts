/** Worker mode: what takes too long, and clients that do. Deadlines count from the dispatch to the next request. */
import { describe, expect } from "bun:test";
import { Connection, type Server, test, within } from "../harness.ts";
import { type App, appOptions, send, sharedApp } from "./app.ts";
import { recorded } from "./control.ts";
import { get, getBytes, type Under, underEachIsolation } from "./support.ts";

const ID = "basename(readlink('/proc/thread-self'))";
const POOL = { timeout_ms: 300, kill_after_ms: 200 };

const app: App = {
  boot: "register_shutdown_function(fn () => note('boot function', 'ends'));",
  ini: { output_buffering: "0", "ffi.enable": "1" },
  pages: {
    who: `echo ${ID};`,
    loop: "register_shutdown_function(fn () => note('request function', 'ends')); for (;;);",
    sleep: "sleep(60);",
    begun: "echo 'begun'; flush(); for (;;);",
    stubborn: "register_shutdown_function(function () { for (;;); }); for (;;);",
    "tail-loop": "Kept::$tail = static function () { for (;;); }; echo 'answer';",
    "tail-sleep": "Kept::$tail = static function () { sleep(60); for (;;); }; echo 'answer';",
    "tail-stubborn":
      "Kept::$tail = static function () { register_shutdown_function(function () { for (;;); }); for (;;); }; echo 'answer';",
    "finish-loop": "echo 'answer'; phprun_finish_request(); for (;;);",
    "finish-work":
      "echo 'answer'; phprun_finish_request(); gate('work'); note('worked ' . connection_status() . ' ' . file_get_contents('php://input'), 'worked');",
    stream: 'for ($i = 0; $i < 3; $i++) { echo "part $i\\n"; flush(); gate("part-$i"); }',
    large: "for ($i = 0; $i < 64; $i++) echo str_repeat(chr(65 + $i % 26), 1 << 18);",
    head: "header('X-Length: 5'); echo 'hello';",
    status: "http_response_code((int) $_GET['code']); if (isset($_GET['body'])) echo 'body';",
    hold: "gate($_GET['id']); echo 'held';",
    note: "note('ran', $_GET['id']); echo 'ran';",
  },
};

const who = async (server: Server): Promise<string> => (await get(server, "/who")).text;

function deadlines(under: Under): void {
  describe("requests that take too long in worker mode:", () => {
    const server = sharedApp(under, { ...app, pool: POOL });

    for (const path of ["/loop", "/sleep"]) {
      test(`${path} is a 504, and that worker is replaced`, async () => {
        const before = await who(server());
        const from = server().log.mark();
        expect((await get(server(), path)).status).toBe(504);
        await server().waitForLog(/Maximum request time exceeded/, from);
        expect(await who(server())).not.toBe(before);
      });
    }

    test("shutdown functions of the request and of the boot have run", async () => {
      await server().record("ends", /boot function\nrequest function\n/);
    });

    test("after part of the answer is cut off", async () => {
      const answer = await get(server(), "/begun");
      expect([answer.status, answer.text, answer.whole]).toEqual([200, "begun", false]);
      expect((await get(server(), "/who")).status).toBe(200);
    });

    test("one that will not end is killed, or left behind with its host", async () => {
      const from = server().log.mark();
      expect((await get(server(), "/stubborn")).status).toBe(504);
      await server().waitForLog(under.threads ? /does not come back/ : /killed a worker/, from);
      expect((await get(server(), "/who")).status).toBe(200);
    });
  });

  describe("what the script does behind its answer:", () => {
    const server = sharedApp(under, { ...app, pool: POOL });

    for (const path of ["/tail-loop", "/tail-sleep", "/finish-loop"]) {
      test(`${path} has been answered, and is ended at the deadline`, async () => {
        const from = server().log.mark();
        const answer = await get(server(), path);
        expect([answer.status, answer.text, answer.whole]).toEqual([200, "answer", true]);
        await server().waitForLog(/Maximum request time exceeded/, from);
        expect((await get(server(), "/who")).status).toBe(200);
      });
    }

    test("one that hangs for good has been answered, too, and costs its worker", async () => {
      const from = server().log.mark();
      const answer = await get(server(), "/tail-stubborn");
      expect([answer.status, answer.text, answer.whole]).toEqual([200, "answer", true]);
      await server().waitForLog(under.threads ? /does not come back/ : /killed a worker/, from);
      expect((await get(server(), "/who")).status).toBe(200);
    });
  });

  test("a script that will not end when it is told to is ended", async () => {
    const loop = "while (phprun_handle_request($handler)); for (;;);";
    await using server = await under.begin(
      appOptions({ ...app, loop, worker: { boot_timeout_ms: 300 }, pool: { ...POOL, max_requests: 1 } }),
    );
    expect((await get(server, "/who")).status).toBe(200);
    await server.waitForLog(/The worker script of pool "default" takes too long to end/);
    expect((await get(server, "/who")).status).toBe(200);
  });
}

function clients(under: Under): void {
  describe("answers in worker mode:", () => {
    const server = sharedApp(under, { ...app, config: { logging: { access: true } } });

    test("come in parts when the script flushes", async () => {
      using connection = await Connection.open(server().url);
      await connection.send(getBytes("/stream"));
      for (const i of [0, 1, 2]) {
        const seen = await connection.until(new RegExp(`part ${i}`));
        expect(seen).not.toContain(`part ${i + 1}`);
        server().openGate(`part-${i}`);
      }
      const answer = await connection.response();
      expect([answer.text, answer.whole]).toEqual(["part 0\npart 1\npart 2\n", true]);
    });

    test("that are large come whole, however slow their reader is", async () => {
      using slow = await Connection.open(server().url);
      slow.pause();
      await slow.send(getBytes("/large"));
      slow.resume();
      const answer = await slow.response();
      expect([answer.body.length, answer.whole]).toEqual([64 << 18, true]);
      expect((await get(server(), "/who")).status).toBe(200);
    });

    test("to a reader that goes away in the middle do not cost the worker", async () => {
      const before = await who(server());
      for (let i = 0; i < 3; i++) {
        using connection = await Connection.open(server().url);
        await connection.send(getBytes("/large"));
        await connection.until(/AAAA/);
        connection.close();
      }
      expect(await who(server())).toBe(before);
    });

    test("to HEAD, 204 and 304 have no body", async () => {
      const head = await send(server(), "HEAD /head");
      expect([head.status, head.text, head.header("x-length")]).toEqual([200, "", "5"]);
      for (const code of [204, 304]) {
        const answer = await get(server(), `/status?code=${code}&body`);
        expect([answer.status, answer.text]).toEqual([code, ""]);
      }
      using kept = await Connection.open(server().url);
      for (const path of ["/status?code=204&body", "/status?code=304&body"]) {
        await kept.send(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`);
        expect([(await kept.response()).text, kept.received]).toEqual(["", ""]);
      }
      expect((await get(server(), "/head")).text).toBe("hello");
    });

    test("are there before the work behind phprun_finish_request(), which has its body still", async () => {
      const answer = await within(send(server(), "POST /finish-work", [], "the body"), "the answer");
      expect(answer.text).toBe("answer");
      const next = get(server(), "/who");
      server().openGate("work");
      await server().record("worked", /^worked 0 the body\n$/);
      expect((await next).status).toBe(200);
    });

    test("to nobody are not made: a client that leaves while it waits costs no run", async () => {
      const holding = get(server(), "/hold?id=held");
      await server().record("held", /here/);
      using waiting = await Connection.open(server().url);
      await waiting.send(getBytes("/note?id=unwanted"));
      const other = get(server(), "/note?id=wanted");
      const from = server().log.mark();
      waiting.close();
      // The front has noticed.
      await server().waitForLog(/id=unwanted HTTP\/1\.1" 499/, from);
      server().openGate("held");
      expect((await holding).text).toBe("held");
      expect((await other).text).toBe("ran");
      expect(recorded(server(), "wanted")).toBe("ran\n");
      expect(recorded(server(), "unwanted")).toBe("");
    });
  });
}

underEachIsolation((under) => {
  deadlines(under);
  clients(under);
});
