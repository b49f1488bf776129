import { dlopen, type Pointer } from "bun:ffi";
import { join } from "node:path";
import { compile, root } from "../../ffi/compile.ts";

const library = join(root, "build/test/libpool-model.so");
const transport = ["pool", "front", "wake", "worker"].map((name) => join(root, `ffi/transport/${name}.c`));
await compile(
  library,
  [join(import.meta.dir, "pool-model-worker.c"), ...transport],
  ["-shared", "-DPHPRUN_TEST_POINTS", "-Dsyscall=phprun_test_syscall"],
);

const { symbols } = dlopen(library, {
  phprun_pool_map: { args: ["i32"], returns: "ptr" },
  phprun_pool_unmap: { args: ["ptr"], returns: "void" },
  phprun_model_start: { args: ["ptr", "u32", "u32"], returns: "ptr" },
  phprun_model_step: { args: ["ptr"], returns: "i32" },
  phprun_model_free: { args: ["ptr"], returns: "void" },
});

/** enum step */
export const Step = { onItsWay: 0, asleep: 1, ended: 2, scriptBegun: 3 } as const;

let lastPid = 0;

/** A host whose workers are coroutines, on its own mapping of a pool's memory. See pool-model-worker.c. */
export class ModelHost {
  readonly #pool: Pointer;
  readonly #workers = new Map<number, { readonly worker: Pointer; readonly pid: number }>();

  constructor(fd: number) {
    this.#pool = symbols.phprun_pool_map(fd) as Pointer;
  }

  /** Returns its pid. */
  spawn(number: number): number {
    const pid = ++lastPid;
    this.#workers.set(number, {
      worker: symbols.phprun_model_start(this.#pool, number, pid) as Pointer,
      pid,
    });
    return pid;
  }

  isAlive(number: number): boolean {
    return this.#workers.has(number);
  }

  step(number: number): number {
    const found = this.#workers.get(number);
    return found === undefined ? Step.ended : symbols.phprun_model_step(found.worker);
  }

  /** It does no further step. Returns its pid; 0 when it was not there. */
  reap(number: number): number {
    const found = this.#workers.get(number);
    if (found === undefined) return 0;
    this.#workers.delete(number);
    symbols.phprun_model_free(found.worker);
    return found.pid;
  }

  close(): void {
    for (const number of this.#workers.keys()) this.reap(number);
    symbols.phprun_pool_unmap(this.#pool);
  }
}
