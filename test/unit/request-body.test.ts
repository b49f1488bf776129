import { afterEach, beforeEach, expect, test } from "bun:test";
import fc from "fast-check";
import { mkdtempSync, readSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { heapStats } from "bun:jsc";
import { type RequestBody, receiveBody } from "../../src/http/request-body.ts";
import { Spool } from "../../src/pool/spool.ts";

const limits = { inMemory: 64 * 1024, most: 1024 * 1024 };
let folder: string;
let spool: Spool;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "phprun-body-"));
  spool = new Spool(folder, limits.most);
});
afterEach(() => {
  spool.close();
  rmSync(folder, { recursive: true });
});

function requestOf(pieces: readonly Uint8Array[]): Request {
  const waiting = [...pieces];
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      const piece = waiting.shift();
      if (piece === undefined) controller.close();
      else controller.enqueue(piece);
    },
  });
  return new Request("http://localhost/", { method: "POST", body });
}

function contents(body: RequestBody): Buffer {
  if (body.kind === "memory") return Buffer.from(body.bytes);
  const bytes = Buffer.alloc(body.region.bytes);
  for (let at = 0; at < bytes.length;)
    at += readSync(spool.fd, bytes, at, bytes.length - at, body.region.offset + at);
  return bytes;
}

test("a body comes as it was sent, in whatever pieces, in memory or in the spool file", async () => {
  const sizes = fc.oneof(
    fc.integer({ min: 1, max: 40 }),
    fc.integer({ min: 1, max: 70_000 }),
    fc.constantFrom(16_384, 65_536),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(sizes, { minLength: 1, maxLength: 12 }), async (lengths) => {
      const pieces = lengths.map((length, i) => Buffer.alloc(length, `${i} of them, `));
      const sent = Buffer.concat(pieces);
      const received = await receiveBody(requestOf(pieces), null, spool, limits);
      if (!("body" in received) || received.body === null) throw new Error(JSON.stringify(received));
      const { body } = received;
      expect(body.kind).toBe(sent.length > limits.inMemory ? "spooled" : "memory");
      expect(contents(body).equals(sent)).toBe(true);
      if (body.kind === "spooled") spool.give(body.region);
    }),
    { numRuns: 60 },
  );
});

test("a body that comes byte by byte costs no object for each byte", async () => {
  const bytes = 50_000;
  let sent = 0;
  let held = 0;
  const before = objects();
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      if (sent === bytes) {
        held = objects() - before;
        controller.close();
      } else controller.enqueue(Buffer.from([sent++ % 251]));
    },
  });
  const received = await receiveBody(
    new Request("http://localhost/", { method: "POST", body }),
    null,
    spool,
    limits,
  );
  expect("body" in received && received.body?.kind).toBe("memory");
  expect(held).toBeLessThan(bytes / 10);
});

function objects(): number {
  Bun.gc(true);
  return heapStats().objectCount;
}
