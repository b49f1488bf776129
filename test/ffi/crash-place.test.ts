import { afterAll, beforeAll, beforeEach, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";

import { compile, phpIncludes, root } from "../../ffi/compile.ts";
import { Rig } from "./rig.ts";
import { canSanitize } from "./run-c-tests.ts";

let rig: Rig;
beforeAll(async () => {
  rig = await Rig.start({
    workers: 1,
    slots: 4,
    ini: { "ffi.enable": "1", "zend.max_allowed_stack_size": "-1" },
  });
});
afterAll(async () => {
  await rig[Symbol.asyncDispose]();
});
beforeEach(async () => {
  if (rig.pids[0] === undefined) rig.spawn(0);
  await rig.until("a worker runs", () => rig.pids[0] !== undefined);
});

/** Where the worker's last crash was, without the rig's folder. */
function place(): string {
  return rig.memory.worker(0).lastFunction.replaceAll(`${rig.folder}/`, "");
}

const SIGNALS = [
  ["SIGSEGV", 11],
  ["SIGBUS", 7],
  ["SIGABRT", 6],
  ["SIGFPE", 8],
  ["SIGILL", 4],
] as const;

test.each(SIGNALS)(
  "%s tells the PHP function, and ends the worker as it would have",
  async (name, number) => {
    const answer = await rig.run(`
class Bomb {
  static function tick() { (new self)->explode(); }
  function explode() {
    posix_kill(getmypid(), ${name});
    sleep(5);
  }
}
Bomb::tick();`);
    expect(answer.lost).toBe(true);
    expect(rig.exits.at(-1)?.exit).toEqual({ signal: number });
    expect(place()).toMatch(/^posix_kill\(\) ← Bomb->explode\(\) script-\d+\.php:5$/);
  },
);

test("a stack that is full tells the function that recurses", async () => {
  const answer = await rig.run(`
ini_set('memory_limit', -1);
function down() {
  return array_map('down', [1]);
}
down();`);
  expect(answer.lost).toBe(true);
  expect(rig.exits.at(-1)?.exit).toEqual({ signal: 11 });
  expect(place()).toMatch(/^(array_map\(\) ← )?down\(\) script-\d+\.php:[45]$/);
});

test("the top of a script is told as such", async () => {
  await rig.run(`\nposix_kill(getmypid(), SIGSEGV); sleep(5);`);
  expect(place()).toMatch(/^posix_kill\(\) ← \{main\} script-\d+\.php:2$/);
});

const hasFfi = (await Bun.$`php -m`.quiet().nothrow().text()).includes("FFI");

const told = (name: string) => new RegExp(`^${name}\\(\\) ← native\\(\\) script-\\d+\\.php:3$`);

test.skipIf(!hasFfi).each([
  ["abort()", "void abort(void);", "abort()", 6, told("abort")],
  [
    "a pointer to nowhere",
    "size_t strlen(const char *);",
    "strlen(FFI::cast('char *', 16))",
    11,
    told("strlen"),
  ],
  [
    "damaged memory",
    "void *memset(void *, int, size_t);",
    "memset(FFI::addr(FFI::new('int')), 65, 1 << 40)",
    11,
    // Of the stack itself, so no further than this; and PHP's own records may be among what is damaged.
    /^(memset\(\)|$)/,
  ],
] as const)(
  "C code that ends in %s is told by the PHP function that called it",
  async (_what, declaration, call, signal, expected) => {
    const answer = await rig.run(`
function native() {
  FFI::cdef('${declaration}')->${call};
}
native();`);
    expect(answer.lost).toBe(true);
    expect(rig.exits.at(-1)?.exit).toEqual({ signal });
    expect(place()).toMatch(expected);
  },
);

/** Where the executor keeps the innermost frame. */
async function frameOffset(): Promise<number> {
  const source = join(rig.folder, "offset.c");
  writeFileSync(
    source,
    '#include <main/php.h>\nint main(void) { printf("%zu", offsetof(zend_executor_globals, current_execute_data)); }\n',
  );
  const program = join(rig.folder, "offset");
  await Bun.$`${process.env["CC"] || "gcc"} ${phpIncludes()} ${source} -o ${program}`.quiet();
  return Number(await Bun.$`${program}`.text());
}

test.skipIf(!hasFfi)("a PHP stack that is damaged itself is told as far as it can be read", async () => {
  const answer = await rig.run(`
$php = FFI::cdef('
  struct frame { void *opline, *call, *result, *function, *this[2]; struct frame *previous; };
  struct globals { char before[${await frameOffset()}]; struct frame *current; };
  extern struct globals executor_globals;');
$php->executor_globals->current->function = FFI::cast('void *', 0x123456);
posix_kill(getmypid(), SIGSEGV);`);
  expect(answer.lost).toBe(true);
  expect(rig.exits.at(-1)?.exit).toEqual({ signal: 11 });
  expect(place()).toMatch(/^(posix_kill\(\))?$/);
});

test("a long name and a long path are cut so that both can be told", async () => {
  await Bun.$`mkdir -p ${rig.folder}/${"d".repeat(200)}`;
  const path = rig.script(
    `${"d".repeat(200)}/€-deep.php`,
    `<?php class ${"é".repeat(60)} { static function method() { posix_kill(getmypid(), SIGSEGV); sleep(5); } }
${"é".repeat(60)}::method();`,
  );
  // A block holds bytes.
  await rig.ask(Buffer.from(path).toString("latin1")).answer;
  expect(place()).toMatch(/^posix_kill\(\) ← …é+::method\(\) …d+\/€-deep\.php:1$/);
});

test("neither a child that the script forks nor a program it starts tells a crash as the worker's", async () => {
  const answer = await rig.run(`
$child = pcntl_fork();
if ($child === 0) { posix_kill(getmypid(), SIGSEGV); sleep(5); }
pcntl_waitpid($child, $status);
$shell = proc_close(proc_open(['sh', '-c', 'kill -SEGV $$'], [], $pipes));
echo json_encode([pcntl_wifsignaled($status), pcntl_wtermsig($status), $shell]);`);
  expect(answer.lost).toBe(false);
  expect(JSON.parse(answer.body).slice(0, 2)).toEqual([true, 11]);
  expect(place()).toBe("");
});

test("a handler of the script's own comes first", async () => {
  const answer = await rig.run(`
pcntl_async_signals(true);
pcntl_signal(SIGABRT, function () { echo 'handled '; });
posix_kill(getmypid(), SIGABRT);
echo 'and on';
pcntl_signal(SIGABRT, SIG_DFL);`);
  expect(answer.body).toBe("handled and on");
});

test.skipIf(!canSanitize("address"))(
  "a stack in any state of damage is read without harm",
  async () => {
    const program = join(root, "build", "test-address", "damaged-stack");
    const files = ["test/ffi/helpers/damaged-stack.c", "ffi/php/frames.c", "ffi/php/backtrace.c"];
    await compile(
      program,
      files.map((file) => join(root, file)),
      ["-fsanitize=undefined", "-fno-sanitize-recover=all", ...phpIncludes()],
      { sanitize: "address" },
    );
    const { exitCode, stdout, stderr } = await Bun.$`${program}`.quiet().nothrow();
    expect([exitCode, stderr.toString()]).toEqual([0, ""]);
    expect(stdout.toString()).toStartWith("at name€name€name€() …");
  },
  60_000,
);
