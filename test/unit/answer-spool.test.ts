import { afterEach, beforeEach, expect, test } from "bun:test";
import fc from "fast-check";
import { fstatSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AnswerSpool } from "../../src/http/answer-spool.ts";
import { eventually } from "../harness.ts";
import { descriptors } from "../process/support.ts";

const MIB = 1024 * 1024;
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "phprun-answer-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

/** The descriptors of its unnamed files. */
function openFiles(): number[] {
  return [...descriptors(process.pid)]
    .filter(([, path]) => path.startsWith(`${folder}/`))
    .map(([descriptor]) => descriptor);
}

async function write(spool: AnswerSpool, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) {
    const written = await spool.write(bytes.subarray(at));
    spool.keep(written);
    at += written;
  }
}

test("what was written is taken in the same order, however writing and taking mix", async () => {
  const steps = fc.array(fc.oneof(fc.constant("take" as const), fc.integer({ min: 1, max: 400_000 })), {
    maxLength: 20,
  });
  await fc.assert(
    fc.asyncProperty(steps, async (list) => {
      const spool = new AnswerSpool(folder);
      const written = new Bun.CryptoHasher("md5");
      const taken = new Bun.CryptoHasher("md5");
      const take = async () => await spool.take((bytes) => void taken.update(bytes));
      for (const [i, step] of list.entries()) {
        if (step === "take") {
          if (spool.bytes > 0) await take();
          continue;
        }
        const bytes = Buffer.alloc(step, `piece ${i}, `);
        written.update(bytes);
        // At the same time, as in a server.
        await Promise.all([write(spool, bytes), spool.bytes > 0 ? take() : null]);
      }
      while (spool.bytes > 0) await take();
      expect(taken.digest("hex")).toBe(written.digest("hex"));
      spool.close();
    }),
    { numRuns: 50 },
  );
});

test("what was written and not kept is never seen", async () => {
  const spool = new AnswerSpool(folder);
  await spool.write(Buffer.from("somebody else's"));
  expect(spool.bytes).toBe(0);
  await write(spool, Buffer.from("ours"));
  expect(await spool.take((bytes) => Buffer.from(bytes).toString())).toBe("ours");
  spool.close();
});

test("a long answer does not make the file grow: what has been taken is given back", async () => {
  const spool = new AnswerSpool(folder);
  const [file] = openFiles();
  const piece = Buffer.alloc(MIB, "x");
  await write(spool, piece);
  for (let i = 0; i < 40; i++) {
    await write(spool, piece);
    while (spool.bytes > MIB) await spool.take(() => undefined);
  }
  expect(fstatSync(file!).blocks * 512).toBeLessThan(8 * MIB);
  spool.close();
});

test("the file has no name, and is closed at once, or when what is under way has ended", async () => {
  const spool = new AnswerSpool(folder);
  expect(readdirSync(folder)).toEqual([]);
  expect(openFiles()).toBeArrayOfSize(1);
  const writing = spool.write(Buffer.alloc(100_000));
  spool.close();
  expect(openFiles()).toBeArrayOfSize(1);
  expect(await writing).toBe(100_000);
  await eventually("the file is closed", () => (openFiles().length === 0 ? true : undefined));
});
