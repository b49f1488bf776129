/** Functions that would act on the whole host are refused where workers are threads of it. */
import { expect } from "bun:test";
import { start, test as anyTest } from "../harness.ts";
import { ztsLibphp } from "../zts.ts";
import { poolOf } from "./control.ts";
import { get, onePool } from "./support.ts";

const test = anyTest.skipIf(ztsLibphp === null);

const REFUSED = [
  "pcntl_fork",
  "pcntl_rfork",
  "pcntl_forkx",
  "pcntl_exec",
  "pcntl_unshare",
  "pcntl_setns",
  "posix_setuid",
  "posix_seteuid",
  "posix_setgid",
  "posix_setegid",
  "posix_initgroups",
  "posix_setsid",
  "posix_setpgid",
  "posix_setrlimit",
  "pcntl_signal",
  "pcntl_alarm",
  "pcntl_sigprocmask",
  "pcntl_sigwaitinfo",
  "pcntl_sigtimedwait",
  "pcntl_wait",
];

/** One line per function that is there: what calling it says. */
const CALL = `<?php
header('Content-Type: text/plain');
foreach (explode(' ', $_GET['names']) as $name) {
  if (!function_exists($name)) { continue; }
  try { $name(); echo "$name() was called\\n"; }
  catch (Error $error) { echo get_class($error), ': ', $error->getMessage(), "\\n"; }
}`;

const callAll = `/call.php?names=${REFUSED.join("+")}`;

test("a thread is refused what would act on all of them, by an error that says what to do", async () => {
  await using server = await start({
    isolation: "thread",
    files: {
      "call.php": CALL,
      "closure.php": "<?php $fork = pcntl_fork(...); $fork();",
      "pid.php": "<?php echo getmypid();",
    },
    config: onePool({ worker_count: 2 }),
  });
  const host = (await get(server, "/pid.php")).text;
  // Twice, so that the second worker, too, is likely to have answered.
  for (const { text } of await Promise.all([get(server, callAll), get(server, callAll)])) {
    const lines = text.trimEnd().split("\n");
    expect(lines.length).toBeGreaterThan(15);
    expect(lines[0]).toBe(
      "Error: pcntl_fork() cannot be used here: the copy would have one thread of the host's and the locks of the others. Use isolation: process for this pool",
    );
    for (const line of lines) {
      expect(line).toMatch(/^Error: \w+\(\) cannot be used here: .+\. Use isolation: process for this pool$/);
    }
  }
  expect((await get(server, "/closure.php")).status).toBe(500);
  await server.waitForLog(/pcntl_fork\(\) cannot be used here/);
  expect((await get(server, "/pid.php")).text).toBe(host);
  const { restarts } = await poolOf(server);
  expect({ crash: restarts.crash, host: restarts.host, exit: restarts.exit }).toEqual({
    crash: 0,
    host: 0,
    exit: 0,
  });
});

test("with the same libphp a process may call them", async () => {
  await using server = await start({
    isolation: "process",
    files: { "alarm.php": "<?php var_dump(pcntl_alarm(0), pcntl_signal(SIGUSR1, SIG_DFL));" },
    config: onePool({ worker_count: 1 }, { php: { libphp: ztsLibphp ?? "auto" } }),
  });
  expect((await get(server, "/alarm.php")).text).toBe("int(0)\nbool(true)\n");
});
