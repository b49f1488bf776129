import { closeSync } from "node:fs";
import { PoolMemory } from "../../../ffi/pool-memory.ts";
import type { PoolConfig } from "../../config/config.ts";
import { memoryOptions } from "../../pool/memory-options.ts";
import { fail, type Finding, ok } from "./finding.ts";

/** Make a pool's shared memory for a moment. It comes from memfd_create(2): /dev/shm and its size play no part. */
export function checkSharedMemory(pool: PoolConfig): Finding {
  try {
    const memory = new PoolMemory(memoryOptions(pool));
    closeSync(memory.fd);
    const mib = Math.ceil(memory.bytes.length / 1024 ** 2);
    return ok(`Shared memory: pool "${pool.name}" gets its ${mib}MiB, taken only as they are used`);
  } catch (error) {
    return fail(
      `Shared memory: pool "${pool.name}" gets none: ${error instanceof Error ? error.message : String(error)}`,
      "Give the process more address space (ulimit -v), or let it call memfd_create (a container's seccomp profile)",
    );
  }
}
