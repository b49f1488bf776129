import { describe, expect, test } from "bun:test";
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { root } from "../../ffi/compile.ts";
import { ztsLibphp } from "../zts.ts";
import { canSanitize, cTests, runCTest, WITH_PHP } from "./run-c-tests.ts";

/** What each of test/ffi/*.c shows; see the top of the file. */
const CLAIMS: Readonly<Record<string, string>> = {
  "body-stress": "bodies larger than their buffer arrive whole, however slowly they are read",
  descriptors: "a worker keeps the descriptors it needs, with and without close_range()",
  "php-app": "the same with workers in worker mode: scripts run in one that has booted",
  "php-threads": "a host of threads and its front, with a real PHP: nothing races, nothing is left behind",
  "transport-kill": "workers that die or stop at any step lose no request but the one they run",
  "transport-stress": "millions of requests across the wrap of the indices are each answered once",
  "wire-fuzz": "mutated request blocks and response heads are never read beyond their end",
};

test("every C test is one of these", () => {
  expect(cTests()).toEqual(Object.keys(CLAIMS).sort());
});

test("what sanitizers are told to leave out is no code of ours", () => {
  const ours = globSync("{ffi,test/ffi}/**/*.{c,h}", { cwd: root })
    .map((file) => readFileSync(join(root, file), "utf8"))
    .join("\n");
  for (const name of ["php-threads-lsan.txt", "php-threads-tsan.txt"]) {
    const lines = readFileSync(join(import.meta.dir, name), "utf8").split("\n");
    for (const line of lines.filter((text) => text !== "" && !text.startsWith("#"))) {
      const [, left = ""] = /^\w+:\^?([\w.]+)\$?$/.exec(line) ?? [];
      expect([line, left !== "" && !new RegExp(`\\b${left}\\b`).test(ours)]).toEqual([line, true]);
    }
  }
});

const WAYS = [
  ["", undefined, true],
  [" (address and undefined behaviour sanitizers)", "address", canSanitize("address")],
  [" (thread sanitizer)", "thread", canSanitize("thread")],
] as const;

for (const [how, sanitize, possible] of WAYS) {
  describe.skipIf(!possible)(`in C${how}`, () => {
    for (const [name, claim] of Object.entries(CLAIMS)) {
      const lacksPhp = WITH_PHP.has(name) && ztsLibphp === null;
      const title = lacksPhp ? "skipped: no ZTS libphp (run ./setup.sh --zts)" : claim;
      test.skipIf(lacksPhp)(
        `${name}: ${title}`,
        async () => {
          const { result, printed } = await runCTest(name, sanitize, "pipe");
          if (result === "failed") console.error(printed);
          expect(result).toBe("passed");
        },
        300_000,
      );
    }
  });
}
