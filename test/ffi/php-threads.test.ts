/** A host whose workers are threads, driven without a front. What both kinds of workers do alike is tested elsewhere. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { Outcome } from "../../ffi/layout.ts";
import { eventually, within } from "../harness.ts";
import { ztsLibphp, ztsSince } from "../zts.ts";
import { Rig, type RigOptions } from "./rig.ts";

if (ztsLibphp === null) console.log("skipped: thread isolation, no ZTS libphp (run ./setup.sh --zts)");

const MIB = 1 << 20;

/** exit() called by a library, here by C's own. */
const EXIT = "FFI::cdef('void exit(int status);')->exit(3);";

/** As /proc tells a set of signals. */
const NO_SIGNAL = "0000000000000000";

/** libc's own, which its posix_spawn() ignores in everything it starts. */
const MAY_BE_IGNORED = [32n, 33n].reduce((set, signal) => set | (1n << (signal - 1n)), 0n);

const startRig = async (options: RigOptions = {}): Promise<Rig> =>
  await Rig.start({
    isolation: "thread",
    workers: 2,
    slots: 6,
    ...options,
    ini: { "ffi.enable": "1", ...options.ini },
  });

const tasks = (rig: Rig): number[] => readdirSync(`/proc/${rig.hostPid}/task`).map(Number);
const nameOf = (rig: Rig, thread: number | undefined): string =>
  readFileSync(`/proc/${rig.hostPid}/task/${thread}/comm`, "utf8").trim();

/** Ends a worker between two requests; returns when it has ended. */
async function retire(rig: Rig, worker: number): Promise<void> {
  const before = rig.exits.length;
  rig.memory.retire(worker);
  await rig.until("the worker has ended", () => rig.exits.length > before);
}

async function respawn(rig: Rig, worker: number): Promise<number> {
  const began = performance.now();
  rig.spawn(worker);
  await rig.until("the worker is back", () => rig.pids[worker] !== undefined);
  return performance.now() - began;
}

/** Submits a script that has come to `code` when this returns, behind `first`. */
async function begun(
  rig: Rig,
  code: string,
  first = "",
): Promise<{ slot: number; answer: ReturnType<Rig["run"]> }> {
  const mark = join(rig.folder, `begun-${marks++}`);
  const asked = rig.askFor(`${first} touch('${mark}'); ${code}`);
  await rig.exists(mark);
  return asked;
}
let marks = 0;

const hostEnd = async (rig: Rig): Promise<Rig["end"]> => {
  await rig.until("the host has ended", () => rig.end !== undefined);
  return rig.end;
};

describe.skipIf(ztsLibphp === null)("workers that are threads", () => {
  let rig: Rig;
  beforeAll(async () => {
    rig = await startRig();
  });
  afterAll(async () => {
    await rig[Symbol.asyncDispose]();
  });

  test("a worker is a thread of the host, by its thread id and its name", async () => {
    for (const worker of [0, 1]) {
      expect(tasks(rig)).toContain(rig.pids[worker] ?? 0);
      expect(nameOf(rig, rig.pids[worker])).toBe(`phprun/${worker}`);
      await eventually(
        "its record says so",
        () => rig.memory.worker(worker).pid === rig.pids[worker] || undefined,
      );
    }
    expect(rig.pids).not.toContain(rig.hostPid);
    expect((await rig.run("echo getmypid(), ' ', PHP_ZTS;")).body).toBe(`${rig.hostPid} 1`);
  });

  test("a worker that is retired ends after its request, is told as ended well, and leaves no thread", async () => {
    const { answer } = await begun(rig, "usleep(20000); echo 'to its end';");
    const [first, second] = [...rig.pids];
    for (const worker of [0, 1]) await retire(rig, worker);
    expect((await answer).body).toBe("to its end");
    expect(rig.exits.slice(-2)).toMatchObject([
      { worker: 0, pid: first, exit: { code: 0 } },
      { worker: 1, pid: second, exit: { code: 0 } },
    ]);
    for (const thread of [first, second]) expect(tasks(rig)).not.toContain(thread);
    for (const worker of [0, 1]) await respawn(rig, worker);
    expect((await rig.run("echo 'back';")).body).toBe("back");
  });

  test("a thread is replaced within 20 ms, and its Bun Worker stays", async () => {
    const took: number[] = [];
    for (let life = 0; life < 15; life++) {
      await retire(rig, 0);
      took.push(await respawn(rig, 0));
    }
    // The quickest: others may use the processors meanwhile.
    expect(Math.min(...took)).toBeLessThan(20);
    const threads = tasks(rig).length;
    for (let life = 0; life < 5; life++) {
      await retire(rig, 0);
      await respawn(rig, 0);
    }
    expect(tasks(rig).length).toBeLessThanOrEqual(threads);
  });

  test.each([
    ["a busy loop", "while (true) {}"],
    ["a sleep", "sleep(60);"],
    ["a wait for a socket", "fread(stream_socket_pair(STREAM_PF_UNIX, STREAM_SOCK_STREAM, 0)[0], 1);"],
    ["a call of usort() that never ends", "$a = [1, 2]; usort($a, function () { while (true) {} });"],
  ])("a deadline ends %s, and shutdown functions run", async (_what, code) => {
    const threads = [...rig.pids];
    const first = "register_shutdown_function(function () { echo 'shut down'; });";
    const { slot, answer } = await begun(rig, `${code} while (true) {}`, first);
    // Again and again: the first signal may come just before the call that it is to cut short.
    const again = setInterval(() => rig.deadline(slot), 50);
    rig.deadline(slot);
    const { status, outcome, body } = await within(answer, "the request has ended").finally(() =>
      clearInterval(again),
    );
    expect([status, outcome & (Outcome.timedOut | Outcome.fatal), body]).toEqual([
      500,
      Outcome.timedOut | Outcome.fatal,
      "shut down",
    ]);
    expect(rig.pids).toEqual(threads);
  });

  test("a deadline is for its own thread: the other's sleep is not cut short", async () => {
    const asleep = await begun(rig, "echo sleep(1), usleep(10000);");
    const busy = await begun(rig, "while (true) {}");
    rig.deadline(busy.slot);
    expect((await busy.answer).outcome & Outcome.timedOut).toBe(Outcome.timedOut);
    expect((await asleep.answer).body).toBe("0");
  });

  test("PHP's own time limit ends the script of its thread alone", async () => {
    const other = await begun(
      rig,
      "$end = hrtime(true) + 1.3e9; while (hrtime(true) < $end) {} echo 'whole';",
    );
    const limited = await begun(rig, "set_time_limit(1); while (true) {}");
    expect((await limited.answer).status).toBe(500);
    expect((await other.answer).body).toBe("whole");
    const text = () => rig.log.map((record) => record.text).join("\n");
    await rig.until("PHP has said why", () => text().includes("Maximum execution time of 1 second exceeded"));
  });

  test("a program that a script starts blocks and catches no signal, and SIGTERM ends it", async () => {
    const { body } = await rig.run(`
      $program = proc_open(['sleep', '60'], [], $pipes);
      $pid = proc_get_status($program)['pid'];
      while (trim(file_get_contents("/proc/$pid/comm")) !== 'sleep') usleep(1000);
      preg_match_all('/^Sig(?:Blk|Ign|Cgt):.*$/m', file_get_contents("/proc/$pid/status"), $lines);
      proc_terminate($program);
      while (($status = proc_get_status($program))['running']) usleep(1000);
      echo json_encode([$lines[0], $status['signaled'], $status['termsig']]);`);
    const [lines, signaled, signal] = JSON.parse(body) as [string[], boolean, number];
    expect([signaled, signal]).toEqual([true, 15]);
    const sets = lines.map((line) => line.split(/\s+/)[1] ?? "");
    const ignored = BigInt(`0x${sets[1]}`);
    expect([sets[0], ignored & ~MAY_BE_IGNORED, sets[2]]).toEqual([NO_SIGNAL, 0n, NO_SIGNAL]);
  });

  test.each([
    ["exec()", "exec('ls -l /proc/self/fd', $lines); $text = implode(\"\\n\", $lines);"],
    [
      "proc_open()",
      "$p = proc_open(['ls', '-l', '/proc/self/fd'], [1 => ['pipe', 'w']], $pipes); $text = stream_get_contents($pipes[1]);",
    ],
  ])("no descriptor of the host leaks into what %s starts", async (_what, code) => {
    const { body } = await rig.run(`${code} echo $text;`);
    const links = [...body.matchAll(/ (\d+) -> (.*)$/gm)].map(([, fd, file]) => [Number(fd), file] as const);
    // Besides the three of everybody: what ls itself opens.
    const leaked = links.filter(([fd, file = ""]) => fd > 2 && !/^\/proc\/\d+\/fd$/.test(file));
    expect([links.length >= 3, leaked]).toEqual([true, []]);
  });

  // PHP opens files without close-on-exec, and the workers have their descriptors in common.
  test("what another request has open does not leak into a program either", async () => {
    const other = await begun(
      rig,
      "$file = fopen(__DIR__ . '/secret', 'w'); touch(__DIR__ . '/open'); sleep(60);",
    );
    await rig.exists(join(rig.folder, "open"));
    const { body } = await rig.run("echo shell_exec('ls -l /proc/self/fd');");
    rig.deadline(other.slot);
    await other.answer;
    expect(body).not.toContain("secret");
  });

  test("eight threads answer thousands of requests, each its own", async () => {
    await using many = await startRig({ workers: 8, slots: 24 });
    const script = many.script("own.php", "<?php usleep(random_int(0, 300)); echo $_SERVER['HTTP_X_ITEM'];");
    let next = 0;
    const ask = async (): Promise<void> => {
      while (next < 3000) {
        const item = String(next++);
        const { answer } = many.ask(script, { pairs: [["HTTP_X_ITEM", item]] });
        expect((await answer).body).toBe(item);
      }
    };
    await within(Promise.all(Array.from({ length: 24 }, ask)), "all are answered");
  });
});

describe.skipIf(ztsLibphp === null)("the end of a host of threads", () => {
  let rig: Rig;
  beforeEach(async () => {
    rig = await startRig();
  });
  afterEach(async () => {
    await rig[Symbol.asyncDispose]();
  });

  test("exit() called by a C library on a thread ends the host at once, with 250", async () => {
    const { answer: other } = await begun(rig, "sleep(60);");
    const exits = rig.askFor(EXIT);
    expect(await hostEnd(rig)).toMatchObject({ code: 250 });
    expect([(await exits.answer).lost, (await other).lost]).toEqual([true, true]);
  });

  test.each([
    ["in PHP", "while (true) {}", ""],
    [
      "in C, with every signal blocked",
      "$c->pause();",
      `$c = FFI::cdef('int sigfillset(void *); int pthread_sigmask(int, void *, void *); int pause();', 'libc.so.6');
       $set = $c->new('char[128]'); $c->sigfillset(FFI::addr($set)); $c->pthread_sigmask(2, FFI::addr($set), null);`,
    ],
  ])("END ends it at once, though a thread is stuck %s", async (_what, code, first) => {
    const { answer } = await begun(rig, code, first);
    const began = performance.now();
    rig.sendEnd();
    expect(await hostEnd(rig)).toMatchObject({ code: 0 });
    expect(performance.now() - began).toBeLessThan(2000);
    expect((await answer).lost).toBe(true);
  });

  test("a thread that crashes ends the host by its signal, and tells its PHP function", async () => {
    const { answer } = await begun(rig, "sleep(60);");
    rig.askFor("function bomb() { FFI::cdef('int raise(int);')->raise(11); } bomb();");
    const end = await hostEnd(rig);
    expect(end?.signal).toBe("SIGSEGV");
    expect((await answer).lost).toBe(true);
    const told = [0, 1].map((worker) => rig.memory.worker(worker).lastFunction).filter((text) => text !== "");
    expect(told).toEqual([expect.stringMatching(/^raise\(\) ← bomb\(\) /)]);
  });
});

test.skipIf(ztsLibphp === null)(
  "a host of threads ends with its front, though a thread is stuck",
  async () => {
    const options = JSON.stringify({ isolation: "thread", libphp: ztsLibphp });
    const front = Bun.spawn([process.execPath, join(import.meta.dir, "helpers/host-as.ts"), options], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const reader = front.stdout.getReader();
    let text = "";
    while (!text.includes('"worker"')) text += new TextDecoder().decode((await reader.read()).value);
    const { news } = JSON.parse(text.trim().split("\n").at(-1) ?? "") as { news: { host: number } };
    expect(existsSync(`/proc/${news.host}`)).toBe(true);
    front.kill("SIGKILL");
    await eventually("the host has ended", () => !existsSync(`/proc/${news.host}`) || undefined);
    await front.exited;
  },
);

/** Code that goes deeper and deeper: in PHP's own stack, or in C's. */
const DEPTHS: Readonly<Record<string, string>> = {
  "PHP functions": "function down($n) { return down($n + 1) + 1; } down(0);",
  "array_map() callbacks": "function down($n) { return array_map('down', [$n + 1]); } down(0);",
  "usort() callbacks":
    "function down() { $a = [1, 2]; usort($a, function ($x, $y) { down(); return 0; }); } down();",
  "magic methods":
    "class Deep { function __get($name) { return (new Deep)->{$name . 'x'}; } } echo (new Deep)->x;",
  destructors: "class Deep { function __destruct() { new Deep; } } new Deep;",
  "nested arrays that are freed":
    "$a = []; for ($i = 0; $i < 400_000; $i++) $a = [$a]; unset($a); echo 'freed';",
  "json_encode()":
    "$a = []; for ($i = 0; $i < 400_000; $i++) $a = [$a]; echo strlen((string) json_encode($a, 0, PHP_INT_MAX));",
  "json_decode()":
    "json_decode(str_repeat('[', 2_000_000) . str_repeat(']', 2_000_000), true, 2_147_483_647);",
  "unserialize()":
    "$n = 400_000; unserialize(str_repeat('a:1:{i:0;', $n) . 'i:1;' . str_repeat('}', $n), ['max_depth' => 0]);",
  "a regular expression without JIT":
    "ini_set('pcre.backtrack_limit', PHP_INT_MAX); echo var_export(preg_match('/^(?:(a)|b)*$/', str_repeat('ab', 5_000_000)), true);",
};

describe.skipIf(ztsLibphp === null)("deep recursion on a thread", () => {
  test.each(Object.entries(DEPTHS))(
    "through %s ends in PHP's error or an answer, or else with the host",
    async (_what, code) => {
      await using rig = await startRig({
        workers: 1,
        ini: { "pcre.jit": "0", memory_limit: "1G" },
      });
      const answer = await within(
        rig.askFor(`ini_set('memory_limit', '1G'); ${code}`).answer,
        "the request has ended",
        60_000,
      );
      if (answer.lost) {
        expect((await hostEnd(rig))?.signal).toBe("SIGSEGV");
        expect(rig.memory.worker(0).lastFunction).not.toBe("");
      } else {
        expect(rig.end).toBeUndefined();
        expect((await rig.run("echo 'goes on';")).body).toBe("goes on");
      }
    },
    90_000,
  );

  const limited = ztsSince("8.3");
  const unlimited = limited ? "" : " (skipped: before PHP 8.3 it does not look)";
  test.skipIf(!limited).each([1, 4, 16])(
    `PHP knows how large the stack is: %d MiB${unlimited}`,
    async (mib) => {
      await using rig = await startRig({ workers: 1, threadStackBytes: mib * MIB });
      const { body } = await rig.run(
        "function down() { return array_map('down', [1]); } try { down(); } catch (Error $e) { echo $e->getMessage(); }",
      );
      const [, bytes] = /^Maximum call stack size of (\d+) bytes/.exec(body) ?? [body];
      expect(Number(bytes)).toBeGreaterThan(0.7 * mib * MIB);
      expect(Number(bytes)).toBeLessThanOrEqual(mib * MIB);
    },
  );
});
