import { afterEach, beforeEach, expect, test } from "bun:test";
import fc from "fast-check";
import { fstatSync, mkdtempSync, readdirSync, readSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { Spool, type SpoolRegion } from "../../src/pool/spool.ts";

const LARGEST = 100_000;
/** What a file system needs to remember where the holes are. */
const SLACK = 64 * 1024;
let folder: string;
let spool: Spool;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "phprun-spool-"));
  spool = new Spool(folder, LARGEST);
});
afterEach(() => {
  spool.close();
  rmSync(folder, { recursive: true });
});

/** As a worker reads it. */
function contents(region: SpoolRegion): Buffer {
  const bytes = Buffer.alloc(region.bytes);
  for (let at = 0; at < bytes.length;)
    at += readSync(spool.fd, bytes, at, bytes.length - at, region.offset + at);
  return bytes;
}

const usedBytes = () => fstatSync(spool.fd).blocks * 512;

test("the file has no name", () => {
  expect(readdirSync(folder)).toEqual([]);
  expect(fstatSync(spool.fd).nlink).toBe(0);
  expect(fstatSync(spool.fd).mode & 0o777).toBe(0o600);
});

test("what was appended to a region is read from it", async () => {
  const region = spool.take();
  for (const text of ["one ", "two ", "three"]) await spool.append(region, Buffer.from(text));
  expect(contents(region).toString()).toBe("one two three");
});

test("a region that was given back holds nothing of the body before", async () => {
  const kept = spool.take();
  await spool.append(kept, Buffer.from("kept"));
  const secret = spool.take();
  await spool.append(secret, Buffer.alloc(LARGEST, "s"));
  const before = usedBytes();
  spool.give(secret);
  expect(before - usedBytes()).toBeGreaterThanOrEqual(LARGEST - SLACK);
  const next = spool.take();
  expect(next).toEqual({ offset: secret.offset, bytes: 0 });
  next.bytes = LARGEST;
  expect(contents(next).every((byte) => byte === 0)).toBe(true);
  expect(contents(kept).toString()).toBe("kept");
});

test("the file is cut to nothing when no body is left in it", async () => {
  const regions = [spool.take(), spool.take(), spool.take()];
  for (const region of regions) await spool.append(region, Buffer.alloc(LARGEST, "x"));
  for (const region of regions) spool.give(region);
  expect(fstatSync(spool.fd).size).toBe(0);
  expect(usedBytes()).toBe(0);
});

test("bodies never overlap, and the file never grows beyond the most that were there at once", async () => {
  const step = fc.oneof(
    fc.record({ do: fc.constant("begin" as const), bytes: fc.nat(LARGEST) }),
    fc.record({ do: fc.constant("end" as const), which: fc.nat() }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
      spool.close();
      spool = new Spool(folder, LARGEST);
      const open: { region: SpoolRegion; fill: number }[] = [];
      let most = 0;
      for (const [i, one] of steps.entries()) {
        if (one.do === "begin") {
          const begun = { region: spool.take(), fill: 1 + (i % 255) };
          for (let left = one.bytes; left > 0; left -= 40_000) {
            await spool.append(begun.region, Buffer.alloc(Math.min(left, 40_000), begun.fill));
          }
          open.push(begun);
        } else if (open.length > 0) {
          spool.give((open.splice(one.which % open.length, 1)[0] as (typeof open)[0]).region);
        }
        most = Math.max(most, open.length);
        for (const { region, fill } of open)
          expect(contents(region).every((byte) => byte === fill)).toBe(true);
        expect(fstatSync(spool.fd).size).toBeLessThanOrEqual(most * (LARGEST + 4096));
        expect(usedBytes()).toBeLessThanOrEqual(
          open.reduce((sum, { region }) => sum + region.bytes + 4096, SLACK),
        );
      }
      for (const { region } of open.splice(0)) spool.give(region);
      expect(usedBytes()).toBe(0);
    }),
    { numRuns: 40 },
  );
});

test("a folder that cannot hold the file is named", () => {
  expect(() => new Spool("/nowhere/at/all", 1)).toThrow("Cannot make the spool file in /nowhere/at/all");
});
