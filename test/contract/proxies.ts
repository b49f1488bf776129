import { describe, expect } from "bun:test";
import { get } from "./ask.ts";
import { test } from "./contract-test.ts";
import type { Subject } from "./contract.ts";
import type { Report } from "./report.ts";

/** Who is asking, behind proxies: believed from trusted ones alone. */
export function proxies(subject: () => Subject): void {
  describe("trusted proxies", () => {
    const ask = async (...headers: string[]) =>
      (JSON.parse((await get(subject().strict.url, "/report.php", ...headers)).text) as Report).server;

    test("X-Forwarded-* tell the client, its scheme, host and port", async () => {
      const server = await ask(
        "X-Forwarded-For: 203.0.113.9",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: shop.example",
        "X-Forwarded-Port: 8443",
      );
      expect(server).toMatchObject({
        REMOTE_ADDR: "203.0.113.9",
        HTTPS: "on",
        REQUEST_SCHEME: "https",
        SERVER_NAME: "shop.example",
        SERVER_PORT: "8443",
      });
    });

    test("the port follows the scheme when nobody names it", async () => {
      expect(await ask("X-Forwarded-Proto: https")).toMatchObject({ HTTPS: "on", SERVER_PORT: "443" });
      const plain = await ask("X-Forwarded-Proto: http");
      expect(plain["SERVER_PORT"]).toBe("80");
      expect(plain).not.toHaveProperty("HTTPS");
    });

    test("Forwarded tells the same, also for IPv6", async () => {
      const server = await ask('Forwarded: for="[2001:db8::7]:4711";proto=https;host="shop.example:444"');
      expect(server).toMatchObject({
        REMOTE_ADDR: "2001:db8::7",
        REMOTE_PORT: "4711",
        HTTPS: "on",
        SERVER_NAME: "shop.example",
        SERVER_PORT: "444",
      });
    });

    test("the nearest hop that is no proxy of ours is the client, whatever stands before it", async () => {
      const chain = "6.6.6.6, 203.0.113.9, 127.0.0.3";
      expect(await ask(`X-Forwarded-For: ${chain}`)).toMatchObject({ REMOTE_ADDR: "203.0.113.9" });
      expect(await ask("Forwarded: for=6.6.6.6, for=203.0.113.9, for=127.0.0.3")).toMatchObject({
        REMOTE_ADDR: "203.0.113.9",
      });
      expect(await ask("X-Forwarded-For: 6.6.6.6", "X-Forwarded-For: 203.0.113.9")).toMatchObject({
        REMOTE_ADDR: "203.0.113.9",
      });
    });

    test("what is no address is not taken for one", async () => {
      for (const value of ["unknown", "_hidden", "203.0.113.9; DROP", "", ",", "999.1.1.1", "<script>"]) {
        expect(await ask(`X-Forwarded-For: ${value}`)).toMatchObject({ REMOTE_ADDR: "127.0.0.1" });
      }
    });

    test("an untrusted peer is believed nothing", async () => {
      const answer = await get(
        subject().url,
        "/report.php",
        "X-Forwarded-For: 203.0.113.9",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: evil.example",
        "X-Forwarded-Port: 443",
        "Forwarded: for=203.0.113.9;proto=https;host=evil.example",
      );
      const { server } = JSON.parse(answer.text) as Report;
      expect(server).toMatchObject({
        REMOTE_ADDR: "127.0.0.1",
        REQUEST_SCHEME: "http",
        SERVER_NAME: "test",
        SERVER_PORT: String(subject().server.port),
      });
      expect(server).not.toHaveProperty("HTTPS");
    });

    test("the access log names the client, not the proxy", async () => {
      const { strict } = subject();
      await ask("X-Forwarded-For: 203.0.113.77");
      await strict.waitForLog(/"remote_addr":"203\.0\.113\.77"/);
    });
  });
}
