import { expect, test } from "bun:test";
import type { Pointer } from "bun:ffi";
import { closeSync, openSync, writeSync } from "node:fs";
import { getPriority, userInfo } from "node:os";
import { join } from "node:path";

import { LAYOUT } from "../../ffi/layout.ts";
import type { transportSymbols } from "../../ffi/symbols.ts";
import { transport } from "../../ffi/transport.ts";
import { readBuild } from "../../src/php/read-build.ts";
import { libphpCandidates } from "../../src/php/locate.ts";
import { homeOf } from "../home.ts";
import { ztsLibphp } from "../zts.ts";

const NO_ZTS = "skipped: no ZTS libphp (run ./setup.sh --zts)";
const EINVAL = -22;
const ENOSYS = -38;

const kindOf = (libphp: string) =>
  libphp === NO_ZTS ? libphp : readBuild(libphp)?.zts ? "thread-safe PHP" : "PHP that is not thread-safe";

test("every function of the transport library can be called as symbols.ts says", () => {
  const { symbols } = transport();
  const fd = symbols.phprun_pool_create(2, 1, 4096, 4096);
  expect(fd).toBeGreaterThan(0);
  const pool = symbols.phprun_pool_map(fd) as Pointer;
  const scratch = openSync("/tmp", 0o20200002, 0o600); // O_TMPFILE | O_RDWR
  writeSync(scratch, "x".repeat(8192));
  const pair = new Int32Array(2);
  const message = Buffer.alloc(200);
  const missing = Buffer.from("/nowhere/libnone.so\0");

  const calls: Record<keyof typeof transportSymbols, () => unknown> = {
    phprun_transport_abi: () => expect(symbols.phprun_transport_abi()).toBeGreaterThan(0),
    phprun_transport_layout: () => {
      const out = new Uint32Array(LAYOUT.length);
      expect(symbols.phprun_transport_layout(out, out.length)).toBe(LAYOUT.length);
    },
    phprun_pool_create: () => expect(symbols.phprun_pool_create(0, 1, 4096, 4096)).toBe(-22),
    phprun_pool_map: () => expect(symbols.phprun_pool_map(scratch)).toBeNull(),
    phprun_pool_base: () => expect(symbols.phprun_pool_base(pool)).toBeTruthy(),
    phprun_submit: () => {
      expect(symbols.phprun_submit(pool, 0)).toBe(0);
      expect(symbols.phprun_submit(pool, 0)).toBe(-22); // it is not free any more
      expect(symbols.phprun_submit(pool, 2)).toBe(-22); // there are two
    },
    phprun_withdraw: () => {
      expect(symbols.phprun_withdraw(pool, 0)).toBe(1);
      expect(symbols.phprun_withdraw(pool, 0)).toBe(0); // it is free
      expect(symbols.phprun_submit(pool, 0)).toBe(0);
    },
    phprun_set_memory_limit: () => symbols.phprun_set_memory_limit(pool, 5e9),
    phprun_set_memory_kill: () => symbols.phprun_set_memory_kill(pool, 5e9),
    phprun_worker_look: () => symbols.phprun_worker_look(pool, 0, 7),
    phprun_wake_one_worker: () => symbols.phprun_wake_one_worker(pool),
    phprun_begin_drain: () => symbols.phprun_begin_drain(pool),
    phprun_next_completed: () => expect(symbols.phprun_next_completed(pool)).toBe(-1),
    phprun_consume: () => symbols.phprun_consume(pool, 1, 0),
    phprun_client_gone: () => symbols.phprun_client_gone(pool, 1),
    phprun_deadline: () => symbols.phprun_deadline(pool, 1),
    phprun_release: () => symbols.phprun_release(pool, 1),
    phprun_worker_retire: () => symbols.phprun_worker_retire(pool, 0),
    phprun_worker_overdue: () => symbols.phprun_worker_overdue(pool, 0),
    phprun_worker_bury: () => expect(symbols.phprun_worker_bury(pool, 0)).toBe(-1),
    phprun_resubmit_orphans: () => expect(symbols.phprun_resubmit_orphans(pool)).toBe(0),
    phprun_socketpair: () => {
      expect(symbols.phprun_socketpair(pair)).toBe(0);
      for (const end of pair) closeSync(end);
    },
    phprun_punch: () => expect(symbols.phprun_punch(scratch, 0, 4096)).toBe(0),
    phprun_raise_open_files: () => expect(symbols.phprun_raise_open_files()).toBeGreaterThan(0),
    phprun_open_global: () => {
      const length = symbols.phprun_open_global(missing, message, message.length);
      expect(message.toString("utf8", 0, length)).toContain("libnone.so");
    },
    phprun_limit_open_files: () => {
      const files = symbols.phprun_raise_open_files();
      expect(symbols.phprun_limit_open_files(files - 1)).toBe(files - 1);
      expect(symbols.phprun_limit_open_files(1e12)).toBe(files); // no more than the hard limit
    },
    phprun_try_socket: () => expect(symbols.phprun_try_socket(missing)).toBe(-2),
    phprun_notify: () => {
      expect(symbols.phprun_notify(missing, message, 1)).toBe(-2);
      expect(symbols.phprun_notify(Buffer.from("@\0"), message, 1)).toBe(-22);
    },
    phprun_monotonic_us: () => expect(symbols.phprun_monotonic_us()).toBeGreaterThan(0),
    phprun_listener_address: () => {
      expect(symbols.phprun_listener_address(scratch, message, message.length)).toBe(-88);
    },
    phprun_make_private: () => expect(symbols.phprun_make_private(scratch)).toBe(0),
    phprun_replace_watched: () => {
      expect(symbols.phprun_replace_watched(scratch, scratch, scratch, 1, 0, 0)).toBe(-1);
    },
    phprun_reap: () => {
      expect(symbols.phprun_reap(-1)).toBe(-22); // any child will not do
      expect(symbols.phprun_reap(process.pid)).toBe(-10);
    },
    phprun_set_nice: () => expect(symbols.phprun_set_nice(getPriority())).toBe(0),
    phprun_set_affinity: () => {
      expect(symbols.phprun_set_affinity(Int32Array.of(-1), 1)).toBe(-22);
    },
    phprun_become_user: () => {
      // The user it is already: the only change a test's own process can take.
      const name = Buffer.from(`${userInfo().username}\0`);
      const id = process.getuid?.() ?? 0;
      const gid = process.getgid?.() ?? 0;
      expect(symbols.phprun_become_user(name, id, gid, message, message.length)).toBe(0);
    },
    phprun_die_with_parent: () => {
      expect(symbols.phprun_socketpair(pair)).toBe(0);
      closeSync(pair[0] ?? -1);
      const child = Bun.spawnSync([process.execPath, join(import.meta.dir, "helpers/die-with-parent.ts")], {
        stdio: ["ignore", "pipe", "inherit", pair[1] ?? -1],
      });
      closeSync(pair[1] ?? -1);
      expect(child.stdout.toString()).toBe("-3"); // nobody is at the other end
    },
    phprun_home_of: () => {
      const length = symbols.phprun_home_of(process.getuid?.() ?? 0, message, message.length);
      expect(message.toString("utf8", 0, length)).toBe(homeOf(process.getuid?.() ?? 0));
      expect(symbols.phprun_home_of(3_999_999_999, message, message.length)).toBe(-2);
    },
    phprun_pool_unmap: () => symbols.phprun_pool_unmap(pool),
  };
  for (const call of Object.values(calls)) call();
  closeSync(scratch);
  closeSync(fd);
});

test("a message longer than its buffer is cut", () => {
  const { symbols } = transport();
  const path = Buffer.from(`/${"x".repeat(300)}.so\0`);
  const message = Buffer.alloc(32, 0xff);
  expect(symbols.phprun_open_global(path, message, 16)).toBe(15);
  expect(message.subarray(15)).toEqual(Buffer.concat([Buffer.of(0), Buffer.alloc(16, 0xff)]));
});

/** The libphp of the machine, and one whose workers can be threads. */
const LIBPHPS = [...new Set([libphpCandidates("auto")[0] ?? "", ztsLibphp ?? NO_ZTS])];

for (const libphp of LIBPHPS) {
  const build = libphp === NO_ZTS ? null : readBuild(libphp);
  test.skipIf(libphp === NO_ZTS)(
    `every function of the PHP shim can be called as symbols.ts says: ${kindOf(libphp)}`,
    async () => {
      const helper = join(import.meta.dir, "helpers/php-symbols.ts");
      const child = Bun.spawn([process.execPath, helper, libphp], { stdio: ["ignore", "pipe", "inherit"] });
      const results = JSON.parse(await child.stdout.text());
      expect(results).toEqual({
        phprun_php_abi: expect.any(Number),
        phprun_php_built_for: [build?.zendApi, Number(build?.zts), Number(build?.debug), expect.any(Number)],
        phprun_php_start: 0,
        phprun_php_evaluate: {
          short: { length: 9, text: "phprun64M" },
          exact: { length: 100, text: "x".repeat(100) },
          long: { length: 100, text: "x".repeat(100) },
          longer: { length: 100, text: "x".repeat(100) },
          exception: { length: -5, text: "" },
          dead: { length: -5, text: "" },
        },
        phprun_threads_open: build?.zts ? 0 : ENOSYS,
        phprun_socketpair: 0,
        phprun_thread_start: build?.zts ? { nobody: EINVAL, first: expect.any(Number) } : ENOSYS,
        phprun_host_run: 0,
        phprun_exit_now: "comes last",
      });
      if (build?.zts) expect([-1, 0, child.pid]).not.toContain(results.phprun_thread_start.first);
      expect(await child.exited).toBe(23);
    },
  );
}
