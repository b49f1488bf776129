import { afterAll, beforeAll, expect, test } from "bun:test";

import { Outcome } from "../../ffi/layout.ts";
import { runC } from "./c-program.ts";
import { type Answer, Rig } from "./rig.ts";

const RESPONSE_BYTES = 64 * 1024;

let rig: Rig;
beforeAll(async () => {
  rig = await Rig.start({ responseBytes: RESPONSE_BYTES, ini: { output_buffering: "0" } });
});
afterAll(async () => {
  await rig[Symbol.asyncDispose]();
});

/** Less those that PHP adds by itself. */
function ownHeaders(answer: Answer): [string, string][] {
  return answer.headers.filter(([name]) => name.toLowerCase() !== "content-type") as [string, string][];
}

async function headersOf(...lines: string[]): Promise<[string, string][]> {
  return ownHeaders(await rig.run(lines.map((line) => `header(${line}, false);`).join("\n")));
}

test("a header is sent as it was given, less the spaces around its value", async () => {
  expect(await headersOf(`'A: b'`, `'B:c'`, `"C: \\t d e \\t"`, `'D:'`, `'E:   '`, `'F: a: b: c'`)).toEqual([
    ["A", "b"],
    ["B", "c"],
    ["C", "d e"],
    ["D", ""],
    ["E", ""],
    ["F", "a: b: c"],
  ]);
});

test("a repeated header is sent as often as it was set, in order", async () => {
  expect(await headersOf(`'Set-Cookie: a=1'`, `'X: y'`, `'Set-Cookie: b=2'`)).toEqual([
    ["Set-Cookie", "a=1"],
    ["X", "y"],
    ["Set-Cookie", "b=2"],
  ]);
});

test("bytes of a value beyond ASCII are sent as they are", async () => {
  expect(await headersOf(String.raw`"A: \xc3\xa9\xff\x01\x7f"`)).toEqual([["A", "\xc3\xa9\xff\x01\x7f"]]);
});

test("a line that is no header is left out and logged; the others are sent", async () => {
  const from = rig.log.length;
  const strange = [`'nocolon'`, `'A b: c'`, `'A : b'`, `': c'`, `"\\xc3\\x84: b"`, `'(A): b'`];
  expect(await headersOf(`'X: 1'`, ...strange, `'Y: 2'`)).toEqual([
    ["X", "1"],
    ["Y", "2"],
  ]);
  await rig.until("each was logged", () => rig.log.length >= from + strange.length);
  expect(rig.log.slice(from).every(({ text }) => text.startsWith("Cannot send a header: "))).toBe(true);
});

test("a value cannot smuggle in another header", async () => {
  const headers = await headersOf(`"A: b\\r\\nSet-Cookie: c"`, `"B: b\\nC: c"`, `"D: d\\0E: e"`, `'F: f'`);
  expect(headers).toEqual([["F", "f"]]);
});

test.each([
  ["", 200],
  ["http_response_code(404);", 404],
  ["header('HTTP/1.1 299 Odd');", 299],
  ["header('HTTP/1.1 503');", 503],
  ["header('Status: 410 Gone');", 410],
  ["header('Location: /elsewhere');", 302],
  ["http_response_code(201); header('Location: /made');", 201],
  ["header('X: y', true, 418);", 418],
  ["http_response_code(999);", 999],
  ["http_response_code(-5);", 2 ** 32 - 5],
])("after %p the status is %i", async (code, status) => {
  expect((await rig.run(`${code} echo 'body';`)).status).toBe(status);
});

test("a status does not stay for the next request", async () => {
  expect((await rig.run("http_response_code(404); header('A: b');")).status).toBe(404);
  const answer = await rig.run("");
  expect(answer.status).toBe(200);
  expect(ownHeaders(answer)).toEqual([]);
});

test("hundreds of headers arrive", async () => {
  const answer = await rig.run('for ($i = 0; $i < 500; $i++) header("X-$i: $i");');
  expect(ownHeaders(answer)).toEqual(Array.from({ length: 500 }, (_, i) => [`X-${i}`, `${i}`]));
});

test("headers that fill the buffer to the last byte leave room for a body of any length", async () => {
  // Content-Type goes with them; a page of the buffer is kept for the body.
  const others = "A\0\0Content-type\0text/html; charset=UTF-8\0".length;
  const room = RESPONSE_BYTES - 4096 - others;
  const answer = await rig.run(`header('A: ' . str_repeat('v', ${room})); echo str_repeat('b', 300000);`);
  expect(answer.status).toBe(200);
  expect(ownHeaders(answer)).toEqual([["A", "v".repeat(room)]]);
  expect(answer.body).toBe("b".repeat(300_000));

  const longer = await rig.run(`header('A: ' . str_repeat('v', ${room + 1})); echo 'body';`);
  expect(longer.status).toBe(500);
  expect(longer.headers).toEqual([]);
  expect(longer.body).toBe("");
});

test("a body many times the size of its buffer arrives whole", async () => {
  const code = "for ($i = 0; $i < 2000; $i++) echo str_repeat(chr(33 + $i % 90), $i % 1777);";
  const expected = Array.from({ length: 2000 }, (_, i) =>
    String.fromCharCode(33 + (i % 90)).repeat(i % 1777),
  ).join("");
  expect((await rig.run(code)).body).toBe(expected);
});

test("an error that the script has handled does not make its response a failed one", async () => {
  const handled = "set_error_handler(fn () => true); trigger_error('x', E_USER_ERROR);";
  for (const code of [
    `${handled} echo 'fine';`,
    `${handled} echo 'fine'; fastcgi_finish_request();`,
    `register_shutdown_function(function () { ${handled} }); echo 'fine';`,
    `class A { function __destruct() { ${handled} } } $a = new A; echo 'fine';`,
  ]) {
    const answer = await rig.run(code);
    expect([code, answer.status, answer.outcome, answer.body]).toEqual([code, 200, Outcome.head, "fine"]);
  }
});

test.each([
  ["an uncaught exception", "throw new Exception('x');"],
  ["a fatal error", "trigger_error('x', E_USER_ERROR);"],
  ["a fatal error in a shutdown function", "register_shutdown_function(function () { nothing(); });"],
  ["a fatal error in a destructor", "class A { function __destruct() { nothing(); } } $a = new A;"],
  ["a syntax error", "echo 'x"],
  ["running out of memory", "ini_set('memory_limit', '8M'); str_repeat('x', 1 << 24);"],
])("%s is a 500", async (_what, code) => {
  const answer = await rig.run(code);
  expect([answer.status, answer.outcome]).toEqual([500, Outcome.head | Outcome.fatal]);
});

test("the head is not shown before the script has flushed it, whenever the front may look", async () => {
  // Late news of an earlier request in the same slot, made here by setting its bit in the completion set.
  const completedAt = Number(
    await runC(`#include "transport/transport.h"
      #include <stdio.h>
      int main(void) { printf("%zu", offsetof(struct phprun_header, completed)); }`),
  );
  const gate = `${rig.folder}/gate`;
  const wait = (name: string) =>
    `while (!file_exists('${gate}-${name}')) { usleep(1000); clearstatcache(); }`;
  const script = rig.script(
    "head.php",
    `<?php echo 'first'; touch('${gate}-echoed'); ${wait("flush")} flush(); ${wait("end")} echo 'second';`,
  );
  const { slot, answer } = rig.ask(script);
  await rig.exists(`${gate}-echoed`);
  rig.memory.bytes[completedAt] = 1 << slot;
  rig.memory.beginDrain();
  expect(rig.memory.nextCompleted()).toBe(slot);
  expect(rig.memory.news(slot).outcome).toBe(0);

  rig.script("gate-flush", "");
  await rig.until("the first part is there", () => rig.soFar(slot) === "first");
  rig.script("gate-end", "");
  expect((await answer).body).toBe("firstsecond");
});

test("a script whose client has gone stops at its next output", async () => {
  const script = rig.script(
    "gone.php",
    `<?php register_shutdown_function(fn () => file_put_contents(__DIR__ . '/aborted', connection_status()));
     for (;;) { echo str_repeat('x', 1000); flush(); }`,
  );
  const { slot, answer } = rig.ask(script);
  await rig.until("some of it is there", () => rig.soFar(slot) !== "");
  rig.memory.clientGone(slot);
  await answer;
  expect(await Bun.file(`${rig.folder}/aborted`).text()).toBe("1");
});
