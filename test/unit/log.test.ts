import { expect, test } from "bun:test";
import { mkdtempSync, readFileSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { createLog, type Log, type LogLevel, type LogOptions } from "../../src/log/log.ts";

function collect(options: Partial<LogOptions> = {}): { log: Log; lines: string[] } {
  const lines: string[] = [];
  const write = (line: string) => void lines.push(line);
  return {
    log: createLog({ level: "debug", format: "pretty", file: null, color: false, write, ...options }),
    lines,
  };
}

test("a pretty line tells the time, the level, the message and its fields as key=value", () => {
  const { log, lines } = collect();
  log
    .child({ pool: "fast", worker: 3 })
    .warn("worker replaced", { script: "/a b.php", gone: undefined, code: null });
  expect(lines[0]).toMatch(
    /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} warn {2}worker replaced pool=fast worker=3 script="\/a b\.php" code=null\n$/,
  );
});

test("a JSON line is one object whose own keys no field can take", () => {
  const { log, lines } = collect({ format: "json" });
  log.error("boom", { level: "fake", pool: "p" });
  expect(JSON.parse(lines[0] ?? "")).toEqual({
    time: expect.any(String),
    level: "error",
    message: "boom",
    level_: "fake",
    pool: "p",
  });
});

test("messages below the level are not written", () => {
  const { log, lines } = collect({ level: "warn" });
  for (const level of ["debug", "info", "warn", "error"] as const satisfies LogLevel[]) log[level](level);
  expect(lines).toHaveLength(2);
  expect(log.enabled("info")).toBeFalse();
});

test("whatever a value holds, it stays on its line and sends nothing to the terminal", () => {
  const text = fc.string({
    unit: fc.oneof(
      fc.constantFrom("\n", "\r", "\x1b", "\0", "\x9b", "\u2028", "\u202e", '"'),
      fc.string({ unit: "binary" }),
    ),
  });
  fc.assert(
    fc.property(text, text, fc.constantFrom("pretty" as const, "json" as const), (message, value, format) => {
      const { log, lines } = collect({ format });
      log.info(message, { value, [message]: 1 });
      expect(lines).toHaveLength(1);
      const line = (lines[0] ?? "").slice(0, -1);
      // oxlint-disable-next-line no-control-regex
      expect(line).not.toMatch(/[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e]/);
    }),
  );
});

test("a log that cannot be written does not throw into its caller", () => {
  const { log } = collect({
    write() {
      throw new Error("disk full");
    },
  });
  expect(() => log.error("lost")).not.toThrow();
  const hostile = {
    get value(): string {
      throw new Error("no");
    },
  };
  expect(() => collect().log.error("lost", hostile)).not.toThrow();
});

test("a file that cannot be opened is an error at once", () => {
  expect(() => collect({ file: "/nonexistent/dir/x.log" })).toThrow(
    "Cannot write the log file /nonexistent/dir/x.log",
  );
});

test("after rotation, reopen goes on in a new file", () => {
  const folder = mkdtempSync(join(tmpdir(), "phprun-log-"));
  const file = join(folder, "error.log");
  const log = createLog({ level: "info", format: "json", file });
  log.info("one");
  renameSync(file, `${file}.1`);
  log.info("two");
  log.reopen();
  log.info("three");
  log.close();
  expect(readFileSync(`${file}.1`, "utf8").match(/"message":"\w+"/g)).toEqual([
    '"message":"one"',
    '"message":"two"',
  ]);
  expect(readFileSync(file, "utf8").match(/"message":"\w+"/g)).toEqual(['"message":"three"']);
  rmSync(folder, { recursive: true });
});

test("a full pipe that nobody reads loses lines, not the process", async () => {
  const script = `import { createLog } from ${JSON.stringify(join(import.meta.dir, "../../src/log/log.ts"))};
    const log = createLog({ level: "info", format: "pretty", file: null });
    for (let i = 0; i < 10; i++) log.info("x".repeat(100));
    process.exit(7);`;
  const child = Bun.spawn([process.execPath, "-e", script], { stderr: "pipe", stdout: "ignore" });
  await child.stderr.cancel();
  expect(await child.exited).toBe(7);
});
