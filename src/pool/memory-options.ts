import type { PoolMemoryOptions } from "../../ffi/pool-memory.ts";
import type { PoolConfig } from "../config/config.ts";

/** Requests that wait in the ring beyond those that run, so that a worker never waits for its next one. */
const SPARE_SLOTS = 16;
const MOST_SLOTS = 1024;
/** The request block, and a body that is not spooled, must fit. */
export const REQUEST_BUFFER_BYTES = 256 * 1024;
const RESPONSE_BUFFER_BYTES = 256 * 1024;

/** The shared memory a pool asks for. Its pages are taken only as they are used. */
export function memoryOptions({ workers }: PoolConfig): PoolMemoryOptions {
  return {
    slots: Math.min(MOST_SLOTS, workers.max + SPARE_SLOTS),
    workers: workers.max,
    requestBytes: REQUEST_BUFFER_BYTES,
    responseBytes: RESPONSE_BUFFER_BYTES,
  };
}
