import { expect, test } from "bun:test";
import { createLog } from "../../src/log/log.ts";
import { Floods, OnceEach } from "../../src/log/notices.ts";

function recording(): { lines: string[]; log: ReturnType<typeof createLog> } {
  const lines: string[] = [];
  const log = createLog({
    level: "info",
    format: "json",
    file: null,
    write: (line) => void lines.push(line),
  });
  return { lines, log };
}

test("a notice is said once for each message and its fields", () => {
  const { lines, log } = recording();
  const notices = new OnceEach(log);
  notices.warn("refused", { path: "/a" });
  notices.warn("refused", { path: "/a" });
  notices.warn("refused", { path: "/b" });
  expect(lines).toHaveLength(2);
});

test("of a flood the first line comes at once and the rest as a number", async () => {
  const { lines, log } = recording();
  const floods = new Floods(log, 10);
  for (let i = 0; i < 1000; i++) floods.warn("no worker", { pool: "a", uri: `/${i}` });
  expect(lines).toHaveLength(1);
  expect(lines[0]).toContain("/0");
  await Bun.sleep(30);
  expect(lines).toHaveLength(2);
  expect(lines[1]).toContain("no worker (999 more within 0.01 s)");
});
