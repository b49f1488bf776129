import { afterAll, afterEach, beforeAll, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { join } from "node:path";

import { compile, root } from "../../ffi/compile.ts";
import { Outcome } from "../../ffi/layout.ts";
import { eventually } from "../harness.ts";
import { type Answer, Rig } from "./rig.ts";

let rig: Rig;
beforeAll(async () => {
  rig = await Rig.start({ workers: 1, slots: 4, slowLog: true, ini: { "zend.exception_ignore_args": "0" } });
});
afterAll(async () => {
  await rig[Symbol.asyncDispose]();
});
afterEach(() => {
  rig.log.length = 0;
});

/** A script that says when it is where it should be found; `at()` gives its path and the line that holds a mark. */
function start(code: string, on = rig) {
  const gate = join(on.folder, `gate-${gates++}`);
  const { slot, answer } = on.askFor(`$gate = '${gate}';\n${code}`);
  return { slot, id: slot + 1, answer, gate, reached: () => on.exists(gate) };
}
let gates = 0;

const slow = (on = rig) => on.log.filter(({ level }) => level === "slow");

/** Asks where the worker is, and waits for what it says. */
async function look(id: number, on = rig): Promise<string> {
  const before = slow(on).length;
  on.memory.look(0, id);
  await on.until("the worker tells where it is", () => slow(on).length > before);
  return slow(on).at(-1)?.text.replaceAll(`${on.folder}/`, "") ?? "";
}

/** Until the script is where it says, and sleeps in the kernel. */
async function blocked(request: { reached(): Promise<void> }): Promise<void> {
  await request.reached();
  await eventually(
    "PHP is blocked",
    () =>
      /^State:\s+S/m.test(readFileSync(`/proc/${rig.pids[0]}/task/${rig.pids[0]}/status`, "utf8")) ||
      undefined,
  );
}
/** SIGRTMIN + 5, PHPRUN_DEADLINE_SIGNAL of ffi/php/shim.h. */
const DEADLINE_SIGNAL = 39;

/** Ends a script that sleeps. */
async function stop(request: { slot: number; answer: Promise<Answer> }): Promise<Answer> {
  rig.memory.deadline(request.slot);
  process.kill(rig.pids[0] ?? 0, DEADLINE_SIGNAL);
  return await request.answer;
}

const WAIT = "touch($gate); while (file_exists($gate)) { clearstatcache(); }";

test("a script that computes is found in its innermost function", async () => {
  const request = start(`
class Report {
  public function build(array $secrets) { return self::rows($secrets); }
  private static function rows(array $secrets) {
    ${WAIT.replace("$gate", "$secrets['gate']").replace("$gate", "$secrets['gate']")}
  }
}
(new Report)->build(['gate' => $gate, 'password' => 'hunter2']);`);
  await request.reached();
  const text = await look(request.id);
  expect(text).toMatch(
    /^at (?:(?:file_exists|clearstatcache)\(\) ← )?Report::rows\(\) script-\d+\.php:6 ← Report->build\(\) script-\d+\.php:4 ← \{main\} script-\d+\.php:9$/,
  );
  expect(slow().at(-1)).toEqual(
    expect.objectContaining({ level: "slow", worker: 0, request: request.id, script: "" }),
  );
  await Bun.file(request.gate).delete();
  expect((await request.answer).lost).toBe(false);
});

test.each([
  ["sleep(1)", "sleep", 1000],
  ["usleep(500000)", "usleep", 500],
  ["time_nanosleep(0, 500000000)", "time_nanosleep", 500],
])("%s is found, and neither cut short nor told of it", async (call, name, ms) => {
  const request = start(`function nap() {
  return ${call};
}
touch($gate); $from = hrtime(true); $result = nap();
echo json_encode([$result, (hrtime(true) - $from) / 1e6]);`);
  await blocked(request);
  expect(await look(request.id)).toMatch(
    new RegExp(`^at ${name}\\(\\) ← nap\\(\\) script-\\d+\\.php:3 ← \\{main\\} script-\\d+\\.php:5$`),
  );
  const [result, took] = JSON.parse((await request.answer).body) as [unknown, number];
  expect(result).toBe({ sleep: 0, usleep: null, time_nanosleep: true }[name] as never);
  expect(took).toBeGreaterThanOrEqual(ms);
  expect(took).toBeLessThan(ms + 500);
  expect(slow()).toHaveLength(1);
});

test("a read of a socket that stays silent is found, and goes on", async () => {
  const server = createServer((socket) => void socket.on("error", () => {}));
  const silent = Promise.withResolvers<Socket>();
  server.on("connection", silent.resolve);
  await new Promise<void>((listening) => void server.listen(0, "127.0.0.1", listening));
  try {
    const { port } = server.address() as { port: number };
    const request = start(`$socket = stream_socket_client('tcp://127.0.0.1:${port}');
touch($gate); echo json_encode([fgets($socket), error_get_last()]);`);
    await blocked(request);
    expect(await look(request.id)).toMatch(/^at fgets\(\) ← \{main\} script-\d+\.php:3$/);
    (await silent.promise).end("late\n");
    expect(JSON.parse((await request.answer).body)).toEqual(["late\n", null]);
  } finally {
    server.close();
  }
});

test("stream_select() is not cut short", async () => {
  const request = start(`[$ours, $theirs] = stream_socket_pair(STREAM_PF_UNIX, STREAM_SOCK_STREAM, 0);
touch($gate); $from = hrtime(true); $read = [$ours]; $none = null;
echo json_encode([stream_select($read, $none, $none, 0, 500000), (hrtime(true) - $from) / 1e6]);`);
  await blocked(request);
  expect(await look(request.id)).toMatch(/^at stream_select\(\) ← \{main\} script-\d+\.php:4$/);
  const [found, took] = JSON.parse((await request.answer).body) as [number, number];
  expect(found).toBe(0);
  expect(took).toBeGreaterThanOrEqual(499);
});

test("included files, closures, generators, fibers and destructors have their place", async () => {
  rig.script("included.php", `<?php\n(function () use ($gate) { stop($gate); })();`);
  const request = start(`
function stop($gate) { touch($gate); usleep(5000000); }
class Last {
  function __construct(private $gate) {}
  function __destruct() { $gate = $this->gate; include __DIR__ . '/included.php'; }
}
function inner($gate) { $it = new Last($gate); yield 1; unset($it); yield 2; }
function middle($gate) { yield from inner($gate); }
function outer($gate) { yield from middle($gate); }
(new Fiber(function () use ($gate) { foreach (outer($gate) as $one); }))->start();`);
  await blocked(request);
  const text = (await look(request.id)).replaceAll(/script-\d+\.php/g, "s");
  expect(text.replaceAll(/\{closure[^}]*\}/g, "{closure}").split(" ← ")).toEqual([
    "at usleep()",
    "stop() s:3",
    "Last->{closure}() included.php:2",
    "{include} included.php:2",
    "Last->__destruct() s:6",
    "inner() s:8",
    "middle() s:9",
    "outer() s:10",
    "{closure}() s:11",
    "Fiber->start()",
    "{main} s:11",
  ]);
  await stop(request);
});

test("names that are long, or hold what no log line may, are cut and made harmless", async () => {
  const request = start(`
$name = 'f' . str_repeat('€', 200);
eval("function $name(\\$gate) { touch(\\$gate); usleep(5000000); }");
$it = new class { function go(...$all) { $all[0]($all[1]); } };
$it->go($name, $gate);`);
  await blocked(request);
  const text = await look(request.id);
  await stop(request);
  expect(text).toMatch(
    /^at usleep\(\) ← f€{66}…\(\) script-\d+\.php\(4\) : eval\(\)'d code:1 ← class@anonymous->go\(\) /,
  );
  expect(text).not.toMatch(/[\0-\x1f\x7f\ufffd]/);
});

test("of a deep recursion the innermost functions are told, and how many are left", async () => {
  const request = start(`function down($left, $gate) {
  if ($left > 0) return down($left - 1, $gate);
  ${WAIT}
}
down(500, $gate);`);
  await request.reached();
  const text = await look(request.id);
  await Bun.file(request.gate).delete();
  await request.answer;
  const parts = text
    .replace("at file_exists() ← ", "at ")
    .replace("at clearstatcache() ← ", "at ")
    .split(" ← ");
  expect(parts[0]).toMatch(/^at down\(\) script-\d+\.php:4$/);
  expect(parts.at(-2)).toMatch(/^down\(\) script-\d+\.php:3$/);
  expect(parts.at(-1)).toBe(`… ${502 - (parts.length - 1)} more`);
  expect(parts.length).toBeWithin(30, 32);
});

test("a recursion without end in sight is not even counted, and long paths fit one record", async () => {
  const deep = "d".repeat(150);
  await Bun.$`mkdir -p ${join(rig.folder, deep)}`;
  const name = "n".repeat(150);
  rig.script(
    `${deep}/deep.php`,
    `<?php function ${name}($left, $gate) { if ($left > 0) return ${name}($left - 1, $gate); touch($gate); usleep(5000000); }`,
  );
  const request = start(`require __DIR__ . '/${deep}/deep.php'; ${name}(3000, $gate);`);
  await blocked(request);
  const text = await look(request.id);
  await stop(request);
  expect(text).toEndWith(" ← … 1000 or more");
  expect(Buffer.byteLength(text)).toBeLessThan(4096);
});

test("nothing is told of a request that has ended, or that another worker might have", async () => {
  const ended = start("touch($gate);");
  await ended.answer;
  rig.memory.look(0, ended.id);
  const request = start(WAIT);
  await request.reached();
  rig.memory.look(0, request.id + 100);
  rig.memory.look(0, 0);
  // Answers come in the order of the questions: the last one shows that the others had none.
  expect(await look(request.id)).toContain("{main}");
  await Bun.file(request.gate).delete();
  await request.answer;
  expect(slow()).toHaveLength(1);
});

test("a child that the script forks neither answers nor keeps its parent from it", async () => {
  const request = start(`
$child = pcntl_fork();
if ($child === 0) { for ($i = 0; $i < 1e6; $i++); exit(3); }
touch($gate); pcntl_waitpid($child, $status); usleep(100000); echo pcntl_wexitstatus($status);`);
  await blocked(request);
  let looks = 0;
  // touch() may sleep, too.
  await eventually("it waits for its child", async () => {
    looks++;
    return /^at (pcntl_waitpid|usleep)\(\) ← \{main\}/.test(await look(request.id)) || undefined;
  });
  expect((await request.answer).body).toBe("3");
  expect(slow()).toHaveLength(looks);
});

test("the deadline reaches PHP beside the thread", async () => {
  const request = start("touch($gate); sleep(5);");
  await blocked(request);
  await look(request.id);
  const answer = await stop(request);
  expect([answer.lost, answer.outcome & Outcome.timedOut]).toEqual([false, Outcome.timedOut]);
});

test("the thread is there only with a slow log, and takes no signals", async () => {
  const threads = (pid = 0) =>
    readdirSync(`/proc/${pid}/task`)
      .filter((id) => id !== String(pid))
      .map((id) => `/proc/${pid}/task/${id}`);
  const [thread = "", ...others] = threads(rig.pids[0]);
  expect(others).toEqual([]);
  await eventually(
    "it has its name",
    () => readFileSync(`${thread}/comm`, "utf8") === "phprun/look\n" || undefined,
  );
  // All but KILL (9), STOP (19) and the two of the C library (32, 33).
  expect(/^SigBlk:\s+(\w+)/m.exec(readFileSync(`${thread}/status`, "utf8"))?.[1]).toBe("fffffffe7ffbfeff");
  await using without = await Rig.start();
  await without.run("");
  expect(threads(without.pids[0])).toEqual([]);
});

/** Allocates, throws, declares, includes and frees, in requests of some 20 ms. */
const BUSY = `<?php
function work($depth) {
  if ($depth > 0) {
    try { return array_map('work', [$depth - 1]); } finally { $GLOBALS['n']++; }
  }
  throw new RuntimeException(str_repeat('x', random_int(1, 100000)));
}
class Gone { function __destruct() { $this->all = range(1, 50); } public $all; }
$n = 0;
for ($i = 0; $i < 200; $i++) {
  try { work($i % 20); } catch (RuntimeException $e) { $e = $e->getTraceAsString(); }
  $code = eval('return new class { function run() { return (function () { yield new Gone; yield strrev(str_repeat("ab", 100)); })(); } };');
  foreach ($code->run() as $one) { unset($one); }
  $all = range(1, 20);
  usort($all, fn ($a, $b) => $b <=> $a);
  include __DIR__ . '/busy-part.php';
}
echo $n;`;

async function stress(on: Rig): Promise<string[]> {
  on.script("busy-part.php", "<?php return array_filter(range(1, 20), fn ($x) => $x % 2);");
  const script = on.script("busy.php", BUSY);
  const [pid] = on.pids;
  const end = performance.now() + 2000;
  let id = 0;
  const asking = setInterval(() => on.memory.look(0, id), 1);
  while (performance.now() < end) {
    const request = on.ask(script);
    id = request.slot + 1;
    const { lost, body } = await request.answer;
    expect([lost, body]).toEqual([false, "1900"]);
  }
  clearInterval(asking);
  expect((await on.run("echo getmypid();")).body).toBe(String(pid));
  expect(on.log.find(({ level, script: from }) => level !== "slow" && from === script)).toBeUndefined();
  return slow(on).map(({ text }) => text.replaceAll(`${on.folder}/`, ""));
}

const PIECE =
  /^(?:at )?(?:[\w@\\{}():/.-]+(?:->|::))?[\w@{}:()/.-]+(?: [\w.-]+\.php(?:\(\d+\) : eval\(\)'d code)?(?::\d+)?)?$/;

function expectSane(texts: string[]): void {
  for (const text of texts) {
    if (text === "not in a PHP function") continue;
    expect(text.split(" ← ").filter((piece) => !PIECE.test(piece) && !/^… \d+ more$/.test(piece))).toEqual(
      [],
    );
  }
}

test("a busy script that is asked every millisecond goes on", async () => {
  const texts = await stress(rig);
  expect(texts.length).toBeGreaterThan(50);
  expectSane(texts);
}, 20_000);

test("reading the stack of a script that runs on does it no harm", async () => {
  const library = join(root, "build", "test", "no-look-wait.so");
  await compile(library, [join(root, "test/ffi/helpers/no-look-wait.c")], ["-shared"]);
  await using racing = await Rig.start({ slowLog: true, env: { LD_PRELOAD: library } });
  const texts = await stress(racing);
  expect(texts.length).toBeGreaterThan(50);
  // What is read so may be nonsense now and then, but it is always one line of text.
  expect(
    texts.filter((text) => !/^(at [^\0-\x1f]+|not in a PHP function|in a PHP stack .*)$/.test(text)),
  ).toEqual([]);
}, 20_000);
