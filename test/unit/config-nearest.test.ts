import { expect, test } from "bun:test";
import fc from "fast-check";
import { editDistance, nearest } from "../../src/config/nearest.ts";

test.each([
  ["prot", "port"],
  ["worker-count", "worker_count"],
  ["timeout", "timeout_ms"],
  ["Port", "port"],
])("%s is taken for %s", (word, wanted) => {
  expect(nearest(word, ["host", "port", "worker_count", "timeout_ms"])).toBe(wanted);
});

test("a word that is near to nothing gets no suggestion", () => {
  expect(nearest("banana", ["host", "port"])).toBeUndefined();
});

test("the edit distance is zero for equal words only, and the same both ways", () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 12 }), fc.string({ maxLength: 12 }), (a, b) => {
      const distance = editDistance(a, b);
      expect(distance === 0).toBe(a === b);
      expect(distance).toBe(editDistance(b, a));
      expect(distance).toBeLessThanOrEqual(Math.max(a.length, b.length));
    }),
  );
});
