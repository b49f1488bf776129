import { describe, expect } from "bun:test";
import { Connection, start, targets, test } from "../harness.ts";
import { get, requestBytes } from "./ask.ts";

/*
 * A file of its own, to run beside the others: Bun looks at its timeouts every four seconds, and gives a connection
 * ten for its first request, whatever we say.
 */
for (const target of targets) {
  describe(target, () => {
    test("clients that fall silent are cut off: in the headers, in the body, between requests", async () => {
      await using server = await start({
        target,
        files: { "index.php": "<?php echo strlen(file_get_contents('php://input'));" },
        config: {
          server: { receive_timeout_ms: 1000, keep_alive_timeout_ms: 1000 },
          pools: [{ name: "one", worker_count: 1 }],
        },
      });
      using inHeaders = await Connection.open(server.url);
      using inBody = await Connection.open(server.url);
      using between = await Connection.open(server.url);
      using neverBegan = await Connection.open(server.url);
      await inHeaders.send("GET / HTTP/1.1\r\nHost: x\r\nX-Half");
      await inBody.send(requestBytes("POST / HTTP/1.1", ["Content-Length: 200000"], "x".repeat(100_000)));
      await between.send(requestBytes("GET / HTTP/1.1", ["Connection: keep-alive"]));
      expect((await between.response()).text).toBe("0");
      // None of them holds the only worker.
      expect((await get(server.url, "/")).text).toBe("0");
      await Promise.all([inHeaders, inBody, between, neverBegan].map((connection) => connection.end(16_000)));
      expect(inBody.received).not.toContain("200 OK");
      expect((await get(server.url, "/")).text).toBe("0");
    });

    test("keep_alive_timeout_ms: 0 closes each connection after its answer, and says so", async () => {
      await using server = await start({
        target,
        files: {
          "index.php": "<?php echo 'php';",
          "page.html": "page",
          "long.php": "<?= str_repeat('x', 600000);",
        },
        config: { server: { keep_alive_timeout_ms: 0 }, php: { front_controller: null } },
      });
      for (const path of ["/", "/page.html", "/long.php", "/nothing"]) {
        using connection = await Connection.open(server.url);
        await connection.send(requestBytes(`GET ${path} HTTP/1.1`, ["Connection: keep-alive"]));
        const answer = await connection.response();
        expect([path, answer.whole, answer.header("connection")]).toEqual([path, true, "close"]);
        await connection.end();
      }
    });
  });
}
