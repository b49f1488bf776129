import { expect, test } from "bun:test";
import fc from "fast-check";

import { LogChannel, type LogRecord } from "../../src/pool/log-channel.ts";
import {
  type HostEvent,
  HostEventReader,
  type HostReport,
  encodeHostReport,
} from "../../src/pool/messages.ts";

/** The same bytes in pieces, as a socket may deliver them. */
function cut(bytes: Buffer, places: readonly number[]): Buffer[] {
  const sorted = [...new Set([0, ...places.map((place) => place % (bytes.length + 1)), bytes.length])].sort(
    (a, b) => a - b,
  );
  return sorted.slice(1).map((end, i) => bytes.subarray(sorted[i], end));
}

const places = fc.array(fc.nat(), { maxLength: 30 });

// ---- events of a host ------------------------------------------------------------------------

const u32 = fc.nat(0xffff_ffff);
const event = fc.oneof(
  fc.record({ kind: fc.constant("spawned" as const), worker: u32, pid: u32, generation: u32 }),
  fc.record({ kind: fc.constant("spawn-failed" as const), worker: u32, errno: u32 }),
  fc.record({
    kind: fc.constant("exited" as const),
    worker: u32,
    pid: u32,
    exit: fc.oneof(fc.record({ code: fc.nat(255) }), fc.record({ signal: fc.integer({ min: 1, max: 64 }) })),
  }),
  fc.record({ kind: fc.constant("booted" as const) }),
  fc.record({ kind: fc.constant("promoted" as const), worker: u32, pid: u32 }),
);

/** As ffi/php/host.c sends it. */
function encode(one: Exclude<HostEvent, { kind: "report" }>): Buffer {
  switch (one.kind) {
    case "spawned":
      return Buffer.from(Uint32Array.of(1, one.worker, one.pid, one.generation).buffer);
    case "spawn-failed":
      return Buffer.from(Uint32Array.of(2, one.worker, 0, one.errno).buffer);
    case "exited": {
      const status = "code" in one.exit ? one.exit.code << 8 : one.exit.signal;
      return Buffer.from(Uint32Array.of(3, one.worker, one.pid, status).buffer);
    }
    case "booted":
      return Buffer.from(Uint32Array.of(4, 0, 0, 0).buffer);
    case "promoted":
      return Buffer.from(Uint32Array.of(5, one.worker, one.pid, 0).buffer);
  }
}

test("events are read whole, however the socket cuts them", () => {
  const failure: HostReport = { ok: false, code: "X", message: "häßlich" };
  fc.assert(
    fc.property(fc.array(event, { maxLength: 20 }), places, (events, where) => {
      const bytes = Buffer.concat([encodeHostReport(failure), ...events.map(encode)]);
      const reader = new HostEventReader();
      const read = cut(bytes, where).flatMap((piece) => [...reader.read(piece)]);
      expect(read).toEqual([{ kind: "report", result: failure }, ...events]);
    }),
  );
});

test("a worker that dumped core has ended by its signal", () => {
  const reader = new HostEventReader();
  const report = encodeHostReport({ ok: false, code: "", message: "" });
  const coreDumped = Uint32Array.of(3, 0, 99, 11 | 0x80);
  const [, exited] = [...reader.read(Buffer.concat([report, Buffer.from(coreDumped.buffer)]))];
  expect(exited).toMatchObject({ exit: { signal: 11 } });
});

// ---- log records -----------------------------------------------------------------------------

const MESSAGE_LEVELS = ["error", "warn", "info", "debug"] as const;
const LEVELS = [...MESSAGE_LEVELS, "slow", "renew"] as const;
/** Of ffi/php/log.c. */
const RECORD_BYTES = 4096;
const HEAD_BYTES = 18;

/** As ffi/php/log.c sends it: in records of at most 4096 bytes, cut between characters. */
function encodeLog(record: LogRecord): Buffer[] {
  const script = Buffer.from(record.script);
  const text = Buffer.from(record.text);
  const room = RECORD_BYTES - HEAD_BYTES - script.length;
  const records: Buffer[] = [];
  let at = 0;
  do {
    let end = Math.min(at + room, text.length);
    while (end < text.length && ((text[end] ?? 0) & 0xc0) === 0x80) end--;
    const part = text.subarray(at, end);
    at += part.length;
    const head = Buffer.alloc(HEAD_BYTES);
    head.writeUInt32LE(HEAD_BYTES - 4 + script.length + part.length, 0);
    head.writeUInt16LE(LEVELS.indexOf(record.level), 4);
    head.writeUInt16LE(at < text.length ? 1 : 0, 6);
    head.writeUInt32LE(record.worker ?? 0xffff_ffff, 8);
    head.writeUInt32LE(record.request, 12);
    head.writeUInt16LE(script.length, 16);
    records.push(Buffer.concat([head, script, part]));
  } while (at < text.length);
  return records;
}

const logRecord = (text: fc.Arbitrary<string>) =>
  fc.record({
    level: fc.constantFrom(...MESSAGE_LEVELS),
    worker: fc.option(fc.nat(511)),
    request: u32,
    script: fc.string({ maxLength: 100 }),
    text,
  });
const ascii = fc.oneof(fc.string(), fc.string({ minLength: 3000, maxLength: 9000 }));
const anyText = fc.oneof(
  fc.string({ unit: "binary" }),
  fc.string({ unit: "binary", minLength: 1500, maxLength: 5000 }),
);

function readLog(bytes: Buffer, where: readonly number[]): LogRecord[] {
  const channel = new LogChannel();
  return cut(bytes, where).flatMap((piece) => [...channel.read(piece)]);
}

test("log records are read whole, however the socket cuts them", () => {
  fc.assert(
    fc.property(fc.array(logRecord(ascii), { maxLength: 8 }), places, (records, where) => {
      expect(readLog(Buffer.concat(records.flatMap(encodeLog)), where)).toEqual(records);
    }),
  );
});

test("a message that goes over several records keeps every character", () => {
  fc.assert(
    fc.property(fc.array(logRecord(anyText), { maxLength: 3 }), places, (records, where) => {
      expect(readLog(Buffer.concat(records.flatMap(encodeLog)), where)).toEqual(records);
    }),
  );
});

test("long messages of several workers do not mix", () => {
  const record = (worker: number): LogRecord => ({
    level: "error",
    worker,
    request: worker,
    script: "/x.php",
    text: String(worker).repeat(9000),
  });
  const [first, second] = [encodeLog(record(1)), encodeLog(record(2))];
  const woven = first.flatMap((part, i) => [part, second[i] ?? Buffer.alloc(0)]);
  expect(readLog(Buffer.concat(woven), [])).toEqual([record(1), record(2)]);
});

test.each(["slow", "renew"] as const)(
  "a %s record may come between two parts of a message of its worker",
  (level) => {
    const message: LogRecord = { level: "warn", worker: 3, request: 7, script: "", text: "x".repeat(9000) };
    const between: LogRecord = { level, worker: 3, request: 7, script: "", text: "at {main} /a.php:1" };
    const [first = Buffer.alloc(0), ...rest] = encodeLog(message);
    expect(readLog(Buffer.concat([first, ...encodeLog(between), ...rest]), [])).toEqual([between, message]);
  },
);
