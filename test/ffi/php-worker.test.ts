import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync } from "node:fs";

import { Outcome } from "../../ffi/layout.ts";
import { REQUEST_FIELDS } from "../../src/http/request-block.ts";
import { eventually } from "../harness.ts";
import { Rig } from "./rig.ts";

let rig: Rig;
beforeAll(async () => {
  rig = await Rig.start({ workers: 1, slots: 4, requestBytes: 64 * 1024 });
});
afterAll(async () => {
  await rig[Symbol.asyncDispose]();
});

test("the values of a block arrive in $_SERVER under their names", async () => {
  const fields = Object.fromEntries(
    REQUEST_FIELDS.filter((name) => !/SCRIPT|ROOT|METHOD|CONTENT_LENGTH|PROTOCOL/.test(name)).map((name) => [
      name,
      `value of ${name}`,
    ]),
  );
  const { body } = await rig.run("echo json_encode($_SERVER);", { fields, pairs: [["HTTP_X_ONE", "1"]] });
  expect(JSON.parse(body)).toMatchObject({ ...fields, HTTP_X_ONE: "1" });
});

test("getenv() finds request variables by their whole name and by nothing else", async () => {
  const name = (code: string) => `var_export(getenv(${code}));`;
  const ask = { pairs: [["HTTP_X_ONE", "1"]] as [string, string][] };
  expect((await rig.run(name("'HTTP_HOST'"), ask)).body).toBe("'localhost'");
  expect((await rig.run(name("'HTTP_X_ONE'"), ask)).body).toBe("'1'");
  for (const other of [
    "'HTTP_HOS'",
    "'HTTP_HOST2'",
    "'HTTP_X_ON'",
    "''",
    // Names with a NUL in them must not be looked up beyond the names that are there.
    "\"HTTP_HOST\\0\" . str_repeat('x', 10000000)",
    "\"HTTP_X_ONE\\0\" . str_repeat('x', 10000000)",
    '"HTTP_X_ONE\\0"',
  ]) {
    const answer = await rig.run(name(other), ask);
    expect([other, answer.lost, answer.body]).toEqual([other, false, "false"]);
  }
});

test.each([
  ["empty", { text: "", values: 0 }],
  [
    "cut off inside a value",
    { text: `${"GET\0".repeat(REQUEST_FIELDS.length)}NAME\0val`, values: REQUEST_FIELDS.length + 2 },
  ],
  ["short of a field", { text: "\0".repeat(REQUEST_FIELDS.length - 1), values: REQUEST_FIELDS.length - 1 }],
  [
    "a name without its value",
    { text: "\0".repeat(REQUEST_FIELDS.length + 1), values: REQUEST_FIELDS.length + 1 },
  ],
  [
    "with a NUL inside a value",
    { text: "\0".repeat(REQUEST_FIELDS.length + 2), values: REQUEST_FIELDS.length },
  ],
])("a block that is %s is refused, and the worker goes on", async (_what, block) => {
  const [pid] = rig.pids;
  expect((await rig.run("echo 'never';", { block })).outcome).toBe(Outcome.badRequest);
  expect((await rig.run("echo getmypid();")).body).toBe(String(pid));
});

test("a request whose client has gone while it waited is not run", async () => {
  const gate = `${rig.folder}/waiting`;
  const first = rig.ask(
    rig.script(
      "first.php",
      `<?php touch('${gate}'); while (file_exists('${gate}')) { usleep(500); clearstatcache(); }`,
    ),
  );
  await rig.exists(gate);
  const second = rig.ask(rig.script("second.php", `<?php touch('${rig.folder}/ran');`));
  rig.memory.clientGone(second.slot);
  await Bun.file(gate).delete();
  expect((await second.answer).outcome).toBe(Outcome.notRun);
  await first.answer;
  expect(await Bun.file(`${rig.folder}/ran`).exists()).toBe(false);
});

test("a worker that dies costs the request it ran and is told with its signal", async () => {
  const before = rig.pids[0];
  const lost = rig.ask(rig.script("dies.php", "<?php posix_kill(getmypid(), SIGKILL);"));
  const next = rig.ask(rig.script("next.php", "<?php echo getmypid();"));
  expect((await lost.answer).lost).toBe(true);
  expect(rig.exits.at(-1)).toMatchObject({ worker: 0, pid: before, exit: { signal: 9 } });
  rig.spawn(0);
  const { body } = await next.answer;
  expect(body).not.toBe(String(before));
  await rig.until("the host has told its pid", () => rig.pids[0] === Number(body));
});

test("a child that a script forks neither answers its request nor becomes a second worker", async () => {
  if ((await rig.run("echo function_exists('pcntl_fork') ? 'yes' : 'no';")).body === "no") {
    console.log("skipped: this PHP has no pcntl");
    return;
  }
  const [pid] = rig.pids;
  const answer = await rig.run(`
    echo 'before ';
    $child = pcntl_fork();
    if ($child === 0) { file_put_contents(__DIR__ . '/child', getmypid()); echo 'child '; flush(); exit(7); }
    pcntl_waitpid($child, $status);
    echo 'parent ', pcntl_wexitstatus($status), fastcgi_finish_request() ? '' : ' not finished';`);
  expect([answer.status, answer.body]).toEqual([200, "before parent 7"]);

  // The same without waiting for it: it outlives the request.
  expect(
    (
      await rig.run(`
    $child = pcntl_fork();
    if ($child !== 0) { exit("parent"); }
    while (!file_exists(__DIR__ . '/go')) { usleep(1000); clearstatcache(); }
    echo 'child'; fastcgi_finish_request();
    file_put_contents(__DIR__ . '/second', getmypid());`)
    ).body,
  ).toBe("parent");
  rig.script("go", "");
  await rig.exists(`${rig.folder}/second`);
  const second = Number(await Bun.file(`${rig.folder}/second`).text());
  for (let i = 0; i < 20; i++) {
    expect((await rig.run("echo getmypid();")).body).toBe(String(pid));
  }
  await eventually("the child has ended", () => !isAlive(second) || undefined);
});

test("a log message of any length arrives as it was written, marked with worker, request and script", async () => {
  const from = rig.log.length;
  // Three bytes a character, so that the seams of the records cannot all fall between two.
  const code = "error_log(str_repeat('€', 5000)); error_log('x' . str_repeat('€', 5000)); error_log('');";
  await rig.run(code);
  await rig.until("all three are there", () => rig.log.length >= from + 3);
  const records = rig.log.slice(from);
  expect(records.map(({ text }) => text)).toEqual(["€".repeat(5000), `x${"€".repeat(5000)}`, ""]);
  for (const record of records) {
    expect(record).toMatchObject({ worker: 0, script: expect.stringContaining(rig.folder), level: "info" });
    expect(record.request).toBeGreaterThan(0);
  }
});

/** A zombie is not: nobody has waited for it, which is the script's business. */
function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}
