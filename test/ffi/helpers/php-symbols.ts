/**
 * Calls every function of the PHP shim, in a process of its own, and prints what came of it as JSON. Ends with 23,
 * which phprun_exit_now() is told.
 *
 *   bun test/ffi/helpers/php-symbols.ts LIBPHP
 */
import { dlopen } from "bun:ffi";
import { closeSync, openSync } from "node:fs";

import { openable } from "../../../ffi/open.ts";
import { PoolMemory } from "../../../ffi/pool-memory.ts";
import { phpSymbols } from "../../../ffi/symbols.ts";
import { openGlobal, socketPair } from "../../../ffi/system.ts";
import { readBuild } from "../../../src/php/read-build.ts";
import { requireShim } from "../../../src/php/shims.ts";

const text = (value: string) => Buffer.from(`${value}\0`);

const path = process.argv[2] ?? "";
const build = readBuild(path);
if (build === null) throw new Error(`${path} is not libphp`);
openGlobal(path);
const { symbols } = dlopen(openable(requireShim({ path, ...build }).path), phpSymbols);
const [, logTheirs] = socketPair();
const evaluate = (code: string, cap: number) => {
  const out = Buffer.alloc(cap);
  const source = text(code);
  const length = symbols.phprun_php_evaluate(source, out, cap);
  return { length, text: out.toString("latin1", 0, Math.max(length, 0)) };
};
const makeMemory = () => new PoolMemory({ slots: 1, workers: 1, requestBytes: 4096, responseBytes: 4096 });
const [wakeOurs, wake] = socketPair();
const spool = openSync("/dev/null", "r");
const threads = makeMemory();

const calls: Record<keyof typeof phpSymbols, () => unknown> = {
  phprun_php_abi: () => symbols.phprun_php_abi(),
  phprun_php_built_for: () => {
    const out = new Uint32Array(4);
    symbols.phprun_php_built_for(out);
    return [...out];
  },
  phprun_php_start: () => {
    const [ini, name, pool] = [text("memory_limit=64M\n"), text("phprun"), text("main")];
    return symbols.phprun_php_start(ini, name, pool, 1 | (build.zts ? 2 : 0), logTheirs);
  },
  phprun_app_configure: () => {
    const [none, name, root] = [text(""), text("/worker.php"), text("/srv")];
    return symbols.phprun_app_configure(none, name, root, 0);
  },
  phprun_php_evaluate: () => ({
    short: evaluate("PHP_SAPI . ini_get('memory_limit')", 100),
    exact: evaluate("str_repeat('x', 100)", 100),
    // Longer than the buffer, and than what a pipe holds.
    long: evaluate("str_repeat('x', 101)", 100),
    longer: evaluate("str_repeat('x', 1000000)", 100),
    exception: evaluate("throw new Exception", 100),
    dead: evaluate("posix_kill(getmypid(), 9)", 100),
  }),
  phprun_threads_open: () => symbols.phprun_threads_open(threads.fd, wake, spool, 0, 1 << 20),
  phprun_socketpair: () => {
    const pair = new Int32Array(2);
    const result = symbols.phprun_socketpair(pair);
    for (const fd of pair) closeSync(fd);
    return result;
  },
  phprun_thread_start: () => {
    const start = (worker: number) => symbols.phprun_thread_start(worker, 1, socketPair()[1]);
    return build.zts ? { nobody: start(1), first: start(0) } : start(0);
  },
  phprun_threads_measure: () => symbols.phprun_threads_measure(),
  phprun_thread_deadline: () => symbols.phprun_thread_deadline(0),
  phprun_thread_join: () => {
    threads.retire(0);
    return symbols.phprun_thread_join(0);
  },
  phprun_host_run: () => {
    const [ours, theirs] = socketPair();
    closeSync(ours);
    return symbols.phprun_host_run(makeMemory().fd, theirs, theirs, spool, 0);
  },
  phprun_exit_now: () => "comes last",
};

const results = Object.fromEntries(Object.entries(calls).map(([name, call]) => [name, call()]));
console.log(JSON.stringify(results));
closeSync(wakeOurs);
symbols.phprun_exit_now(23);
