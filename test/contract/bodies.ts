import { describe, expect } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Connection, curl, type Server } from "../harness.ts";
import { get, newId, requestBytes } from "./ask.ts";
import { test } from "./contract-test.ts";
import type { Subject } from "./contract.ts";

const MB = 1024 * 1024;
const LARGE = 64 * MB;

/** Large and slow bodies, in both directions. */
export function bodies(subject: () => Subject): void {
  describe("request bodies", () => {
    test("a slow upload holds no worker", async () => {
      const { strict } = subject();
      const body = "x".repeat(300_000);
      using slow = await Connection.open(strict.url);
      await slow.send(requestBytes("POST /digest.php HTTP/1.1", [`Content-Length: ${body.length}`]));
      await slow.send(body.slice(0, 200_000));
      // The only worker is free for others.
      for (let i = 0; i < 3; i++) expect((await get(strict.url, "/hello.php")).text).toBe("Hello");
      await slow.send(body.slice(200_000));
      expect((await slow.response()).text).toBe(`${body.length} ${md5(body)} ${body.length}`);
    });

    test("a shutdown function reads what the script has left unread", async () => {
      await using server = await subject().start({
        docroot: undefined as never,
        files: {
          "late.php":
            "<?php register_shutdown_function(function () { echo md5(file_get_contents('php://input')); });",
        },
        config: { php: { ini: { enable_post_data_reading: false } } },
      });
      const body = "late ".repeat(50_000);
      const answer = await fetch(`${server.url}/late.php`, { method: "POST", body });
      expect(await answer.text()).toBe(md5(body));
    });

    test("an upload that breaks off runs no script", async () => {
      const { server, url } = subject();
      const id = newId();
      using broken = await Connection.open(url);
      await broken.send(requestBytes(`POST /wait.php?id=${id} HTTP/1.1`, ["Content-Length: 1000"], "part"));
      broken.close();
      expect((await get(url, "/hello.php")).text).toBe("Hello");
      expect(await Bun.file(join(server.folder, "records", id)).exists()).toBe(false);
    });

    test("sizes around the edges of the buffers arrive whole", async () => {
      for (const size of [0, 1, 65_535, 65_536, 65_537, 262_143, 262_144, 262_145, 1_000_003]) {
        const body = "0123456789abcdef".repeat(Math.ceil(size / 16)).slice(0, size);
        const answer = await fetch(`${subject().url}/digest.php`, { method: "POST", body });
        expect(await answer.text()).toBe(`${size} ${md5(body)} ${size}`);
      }
    });

    test("chunked bodies arrive whole, and their length is told", async () => {
      for (const pieces of [["ab", "c", "def"], ["x".repeat(100_000), "y".repeat(100_000)], []]) {
        const body = pieces.join("");
        const chunks = [...pieces, ""]
          .map((piece) => `${piece.length.toString(16)}\r\n${piece}\r\n`)
          .join("");
        using connection = await Connection.open(subject().url);
        await connection.send(
          requestBytes("POST /digest.php HTTP/1.1", ["Transfer-Encoding: chunked"], chunks),
        );
        const answer = await connection.response();
        expect(answer.text).toBe(`${body.length} ${md5(body)} ${body.length}`);
      }
    });

    test("without a limit of their own, large bodies arrive side by side", async () => {
      await using server = await subject().start({ config: { server: { client_max_body_size: 0 } } });
      const sent = ["a", "b", "c", "d"].map((letter) => letter.repeat(400_000));
      const answers = await Promise.all(
        sent.map((body) => fetch(`${server.url}/digest.php`, { method: "POST", body }).then((r) => r.text())),
      );
      expect(answers).toEqual(sent.map((body) => `${body.length} ${md5(body)} ${body.length}`));
    });

    test("64 MB go up and are the same on the other side", async () => {
      const { server, url } = subject();
      const { path, sum } = largeFile(server);
      const before = memoryOf(server);
      const raw = await curl("-H", "Content-Type: application/octet-stream", "-T", path, `${url}/digest.php`);
      expect(raw.text).toBe(`${LARGE} ${sum} ${LARGE}`);
      const form = await curl("-F", `f=@${path}`, `${url}/upload.php`);
      expect(JSON.parse(form.text)).toMatchObject({ files: [{ size: LARGE, md5: sum, error: 0 }] });
      expect(memoryOf(server) - before).toBeLessThan(64);
    });
  });

  describe("response bodies", () => {
    test("64 MB come down and are the same on this side", async () => {
      const { server, url } = subject();
      const { path, sum } = largeFile(server);
      const before = memoryOf(server);
      const answer = await curl(`${url}/download.php?file=${path.split("/").at(-1)}`);
      expect(answer.status).toBe(200);
      expect(md5(answer.body)).toBe(sum);
      expect(memoryOf(server) - before).toBeLessThan(64);
    });

    test("a length the script gives is kept to where it can be, and never contradicted", async () => {
      for (const bytes of [5, 300_000]) {
        const answer = await get(subject().url, `/large.php?length=1&bytes=${bytes}`);
        expect([answer.whole, answer.body.length]).toEqual([true, bytes]);
        const length = answer.header("content-length");
        expect([undefined, String(bytes)]).toContain(length);
        if (length !== undefined) expect(answer.header("transfer-encoding")).toBeUndefined();
      }
    });

    test("bodies around the size of the buffers come whole", async () => {
      for (const bytes of [0, 1, 4096, 261_887, 262_080, 262_144, 262_145, 524_288, 1_048_577, 5_000_000]) {
        const { body, whole } = await get(subject().url, `/large.php?bytes=${bytes}`);
        expect([whole, body.length, md5(body)]).toEqual([true, bytes, md5(pattern(bytes))]);
      }
    });

    test("a slow reader gets everything, while others are served", async () => {
      const { server, url } = subject();
      const id = newId();
      using slow = await Connection.open(url);
      slow.pause();
      await slow.send(requestBytes(`GET /slow-reader.php?id=${id} HTTP/1.1`));
      await server.record(id, /sent 10\n/);
      for (let i = 0; i < 10; i++) expect((await get(url, "/hello.php")).text).toBe("Hello");
      slow.resume();
      const answer = await slow.response();
      expect([answer.whole, answer.body.length]).toEqual([true, 400 * 65_536]);
      expect(md5(answer.body)).toBe(md5(slowReaderBody()));
      await server.record(id, /all sent/);
    });

    test("a reader that stalls and leaves frees its worker", async () => {
      const { strict } = subject();
      const id = newId();
      using slow = await Connection.open(strict.url);
      slow.pause();
      await slow.send(requestBytes(`GET /slow-reader.php?id=${id} HTTP/1.1`));
      await strict.record(id, /sent 10\n/);
      slow.close();
      expect((await get(strict.url, "/hello.php")).text).toBe("Hello");
    });

    test("a client that leaves in the middle of a download ends it", async () => {
      const { strict } = subject();
      const from = strict.log.mark();
      using client = await Connection.open(strict.url);
      await client.send(requestBytes("GET /large.php?bytes=2000000000 HTTP/1.1"));
      await client.until((received) => received.length > 100_000, "100 KB");
      client.close();
      expect((await get(strict.url, "/hello.php")).text).toBe("Hello");
      await strict.waitForLog(/"target":"\/large\.php\?bytes=2000000000"/, from);
    });
  });
}

const md5 = (bytes: string | Uint8Array) => new Bun.CryptoHasher("md5").update(bytes).digest("hex");

/** What the front has resident, in MB. */
function memoryOf(server: Server): number {
  const kilobytes = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${server.pid}/status`, "utf8"))?.[1];
  return Number(kilobytes) / 1024;
}

function largeFile(server: Server): { path: string; sum: string } {
  const path = join(server.folder, "records/large.bin");
  try {
    return { path, sum: readFileSync(`${path}.md5`, "utf8") };
  } catch {
    const block = Buffer.from(Array.from({ length: 65_537 }, (_, i) => (i * i) % 251));
    const bytes = Buffer.alloc(LARGE, block);
    server.write("records/large.bin", bytes);
    server.write("records/large.bin.md5", md5(bytes));
    return { path, sum: md5(bytes) };
  }
}

/** What fixtures/contract/large.php sends. */
function pattern(bytes: number): Buffer {
  const block = new Bun.CryptoHasher("sha512").update("phprun").digest();
  return Buffer.alloc(bytes, block);
}

function slowReaderBody(): Buffer {
  return Buffer.concat(Array.from({ length: 400 }, (_, i) => Buffer.alloc(65_536, 65 + (i % 26))));
}
