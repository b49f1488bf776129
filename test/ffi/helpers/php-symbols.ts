/**
 * Calls every function of the PHP shim, in a process of its own, and prints what came of it as JSON.
 *
 *   bun test/ffi/helpers/php-symbols.ts
 */
import { dlopen } from "bun:ffi";
import { closeSync, openSync } from "node:fs";

import { phpShimPath } from "../../../ffi/embedded.ts";
import { PoolMemory } from "../../../ffi/pool-memory.ts";
import { phpSymbols } from "../../../ffi/symbols.ts";
import { openGlobal, socketPair } from "../../../ffi/system.ts";
import { libphpCandidates } from "../../../src/php/locate.ts";

const text = (value: string) => Buffer.from(`${value}\0`);

openGlobal(libphpCandidates("auto")[0] ?? "");
const { symbols } = dlopen(phpShimPath, phpSymbols);
const [, logTheirs] = socketPair();
const evaluate = (code: string, cap: number) => {
  const out = Buffer.alloc(cap);
  const source = text(code);
  const length = symbols.phprun_php_evaluate(source, out, cap);
  return { length, text: out.toString("latin1", 0, Math.max(length, 0)) };
};

const calls = {
  phprun_php_abi: () => symbols.phprun_php_abi(),
  phprun_php_built_for: () => {
    const out = new Uint32Array(4);
    symbols.phprun_php_built_for(out);
    return [...out];
  },
  phprun_php_start: () => {
    const [ini, name, pool] = [text("memory_limit=64M\n"), text("phprun"), text("main")];
    return symbols.phprun_php_start(ini, name, pool, 1, logTheirs);
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
  phprun_host_run: () => {
    const memory = new PoolMemory({ slots: 1, workers: 1, requestBytes: 4096, responseBytes: 4096 });
    const [ours, theirs] = socketPair();
    closeSync(ours);
    return symbols.phprun_host_run(memory.fd, theirs, theirs, openSync("/dev/null", "r"), 0);
  },
} satisfies Record<keyof typeof phpSymbols, () => unknown>;

const results = Object.fromEntries(Object.entries(calls).map(([name, call]) => [name, call()]));
console.log(JSON.stringify(results));
process.exit(0);
