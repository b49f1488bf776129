import { describe, expect, test } from "bun:test";

import { canSanitize, cTests, runCTest } from "./run-c-tests.ts";

/** What each of test/ffi/*.c shows; see the top of the file. */
const CLAIMS: Readonly<Record<string, string>> = {
  "body-stress": "bodies larger than their buffer arrive whole, however slowly they are read",
  descriptors: "a worker keeps the descriptors it needs, with and without close_range()",
  "transport-kill": "workers that die or stop at any step lose no request but the one they run",
  "transport-stress": "millions of requests across the wrap of the indices are each answered once",
  "wire-fuzz": "mutated request blocks and response heads are never read beyond their end",
};

test("every C test is one of these", () => {
  expect(cTests()).toEqual(Object.keys(CLAIMS).sort());
});

const WAYS = [
  ["", undefined, true],
  [" (address and undefined behaviour sanitizers)", "address", canSanitize("address")],
  [" (thread sanitizer)", "thread", canSanitize("thread")],
] as const;

for (const [how, sanitize, possible] of WAYS) {
  describe.skipIf(!possible)(`in C${how}`, () => {
    test.each(Object.entries(CLAIMS))(
      "%s: %s",
      async (name) => {
        const { result, printed } = await runCTest(name, sanitize, "pipe");
        if (result === "failed") console.error(printed);
        expect(result).toBe("passed");
      },
      300_000,
    );
  });
}
