import { describe, expect } from "bun:test";
import { get } from "./ask.ts";
import { test } from "./contract-test.ts";
import type { Subject } from "./contract.ts";

/** Requests that take too long. */
export function timeLimits(subject: () => Subject): void {
  describe("time limits", () => {
    test("max_execution_time and set_time_limit() end a loop with PHP's own error", async () => {
      const { server, strict } = subject();
      const [from, fromStrict] = [server.log.mark(), strict.log.mark()];
      const [bySetting, byCall] = await Promise.all([
        get(strict.url, "/loop.php"),
        get(server.url, "/loop.php?limit=1"),
      ]);
      expect([bySetting.status, byCall.status]).toEqual([500, 500]);
      await server.waitForLog(/Maximum execution time of 1 second exceeded/, from);
      await server.waitForLog(/the shutdown function ran/, from);
      await strict.waitForLog(/Maximum execution time of 1 second exceeded/, fromStrict);
      expect((await get(strict.url, "/hello.php")).text).toBe("Hello");
    });

    test("timeout_ms ends loops and waits alike with 504, and the worker serves on", async () => {
      await using server = await subject().start({
        config: { pools: [{ name: "short", worker_count: 1, timeout_ms: 300, kill_after_ms: 5000 }] },
      });
      for (const path of ["/loop.php", "/sleep.php?ms=20000"]) {
        const from = server.log.mark();
        const answer = await get(server.url, path);
        expect([path, answer.status]).toEqual([path, 504]);
        await server.waitForLog(/Maximum request time exceeded/, from);
        expect((await get(server.url, "/hello.php")).text).toBe("Hello");
      }
      expect(server.log.text).not.toMatch(/worker (ended|died)/);
      expect(server.log.text).toContain("the shutdown function ran");
    });

    test("a script that will not end is killed after kill_after_ms", async () => {
      await using server = await subject().start({
        config: { pools: [{ name: "short", worker_count: 1, timeout_ms: 200, kill_after_ms: 200 }] },
      });
      const answer = await get(server.url, "/stubborn.php");
      expect(answer.status).toBe(504);
      await server.waitForLog(subject().isolation === "thread" ? /does not come back/ : /killed a worker/);
      expect((await get(server.url, "/hello.php")).text).toBe("Hello");
    });

    test("a request that finds no worker in time gets 503 and is told when to come back", async () => {
      await using server = await subject().start({
        config: { pools: [{ name: "short", worker_count: 1, queue: { max: 100, timeout_ms: 100 } }] },
      });
      const holding = get(server.url, "/wait.php?id=hold");
      await server.record("hold", /started/);
      const answer = await get(server.url, "/hello.php");
      expect(answer.status).toBe(503);
      expect(answer.header("retry-after")).toMatch(/^\d+$/);
      server.openGate("hold-go");
      expect((await holding).text).toBe("done");
      expect((await get(server.url, "/hello.php")).text).toBe("Hello");
    });
  });
}
