import { expect, test } from "bun:test";
import { mkdtempSync, readFileSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { type AccessEntry, type AccessLog, createAccessLog } from "../../src/log/access.ts";
import { TimeStamp } from "../../src/log/time-stamp.ts";

const ENTRY: AccessEntry = {
  remoteAddr: "192.0.2.1",
  method: "GET",
  target: "/index.php?a=1",
  protocol: "HTTP/1.1",
  status: 200,
  bytes: 1234,
  durationMs: 1.23456,
  referer: null,
  userAgent: 'say "hi"',
  requestId: "abc",
  pool: "default",
};

function collect(
  accessFormat: "common" | "combined" | "json",
  access = true,
): { log: AccessLog; writes: string[] } {
  const writes: string[] = [];
  return {
    log: createAccessLog({ access, accessFormat, accessFile: null }, (lines) => void writes.push(lines)),
    writes,
  };
}

test("the common and combined forms are what log readers know", () => {
  const common = collect("common");
  common.log.record({ ...ENTRY, bytes: 0 });
  common.log.close();
  expect(common.writes.join("")).toMatch(
    /^192\.0\.2\.1 - - \[\d\d\/\w{3}\/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "GET \/index\.php\?a=1 HTTP\/1\.1" 200 -\n$/,
  );
  const combined = collect("combined");
  combined.log.record(ENTRY);
  combined.log.close();
  expect(combined.writes.join("")).toEndWith('" 200 1234 "-" "say \\"hi\\""\n');
});

test("the JSON form tells all there is", () => {
  const { log, writes } = collect("json");
  log.record(ENTRY);
  log.close();
  expect(JSON.parse(writes[0] ?? "")).toEqual({
    time: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d$/),
    remote_addr: "192.0.2.1",
    method: "GET",
    target: "/index.php?a=1",
    protocol: "HTTP/1.1",
    status: 200,
    bytes: 1234,
    duration_ms: 1.235,
    referer: null,
    user_agent: 'say "hi"',
    request_id: "abc",
    pool: "default",
  });
});

test("no request can put a line break, a quote or an escape sequence into a line", () => {
  const wild = fc.string({
    unit: fc.oneof(
      fc.constantFrom("\n", "\r", '"', "\\", "\x1b", "\x80", "ÿ"),
      fc.string({ unit: "binary" }),
    ),
  });
  fc.assert(
    fc.property(
      wild,
      wild,
      fc.constantFrom("combined" as const, "json" as const),
      (target, userAgent, format) => {
        const { log, writes } = collect(format);
        log.record({ ...ENTRY, target, userAgent, referer: target });
        log.close();
        const text = writes.join("");
        expect(text).toMatch(/^[\x20-\x7e]*\n$/);
        if (format === "json") expect(JSON.parse(text)).toMatchObject({ target, user_agent: userAgent });
        else expect(text.replace(/\\./g, "").match(/"/g)).toHaveLength(6);
      },
    ),
  );
});

test("lines are written together: when 64 KiB are there, after a moment, or at the end", async () => {
  const { log, writes } = collect("common");
  log.record(ENTRY);
  expect(writes).toEqual([]);
  for (let i = 0; i < 1000; i++) log.record(ENTRY);
  expect(writes).toHaveLength(1);
  expect(Buffer.byteLength(writes[0] ?? "")).toBeWithin(64 * 1024, 65 * 1024);
  while (writes.length < 2) await Bun.sleep(10);
  log.record(ENTRY);
  log.close();
  expect(writes.join("").split("\n")).toHaveLength(1003);
});

test("without an access log nothing is written", () => {
  const { log, writes } = collect("common", false);
  log.record(ENTRY);
  log.close();
  expect(writes).toEqual([]);
});

test("lines from before a rotation go to the old file, later ones to the new", () => {
  const folder = mkdtempSync(join(tmpdir(), "phprun-access-"));
  const accessFile = join(folder, "access.log");
  const log = createAccessLog({ access: true, accessFormat: "common", accessFile });
  log.record({ ...ENTRY, target: "/one" });
  renameSync(accessFile, `${accessFile}.1`);
  log.reopen();
  log.record({ ...ENTRY, target: "/two" });
  log.close();
  expect(readFileSync(`${accessFile}.1`, "utf8")).toContain("/one");
  expect(readFileSync(accessFile, "utf8")).toContain("/two");
  rmSync(folder, { recursive: true });
});

test("a time stamp is that of its second, whichever order the seconds come in", () => {
  const stamp = new TimeStamp();
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 4e12 }), (ms) => {
      expect(new Date(stamp.iso(ms)).getTime()).toBe(ms);
      expect(stamp.common(ms)).toMatch(/^\d\d\/[A-Z][a-z]{2}\/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}$/);
    }),
  );
});
