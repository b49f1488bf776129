import { WorkerState } from "../ffi/layout.ts";
import type { WatchedHost, WatchedPool, WatchedWorker } from "./monitor/watched.ts";
import type { Generation } from "./pool/generation.ts";
import type { Pool } from "./pool/pool.ts";

/** A worker with the generation that can replace or kill it. */
export interface OurWorker extends WatchedWorker {
  readonly source: Generation;
}

export interface OurHost extends WatchedHost {
  readonly owner: Pool;
}

/** The pools as the memory monitor sees them: every host and worker of every generation. */
export function watched(pools: readonly Pool[]): WatchedPool<OurWorker, OurHost>[] {
  return pools.map((pool) => ({
    name: pool.name,
    memoryLimitBytes: pool.config.memoryLimitBytes,
    memoryKillBytes: pool.config.memoryKillBytes,
    hosts: pool.generations.flatMap((generation) =>
      generation.report === undefined || generation.hostPid === null
        ? []
        : [
            {
              pool: pool.name,
              generation: generation.number,
              pid: generation.hostPid,
              threadsBytes: threadsBytes(generation),
              owner: pool,
            },
          ],
    ),
    workers: pool.generations.flatMap((generation) =>
      generation.workers.all
        .filter(({ pid }) => pid !== 0)
        .map(({ number, pid }) => {
          const { state, ownBytes } = generation.slots.memory.worker(number);
          return {
            pool: pool.name,
            number,
            generation: generation.number,
            pid,
            busy: state === WorkerState.busy,
            ownBytes: generation.threads ? ownBytes : null,
            source: generation,
          };
        }),
    ),
  }));
}

function threadsBytes(generation: Generation): number | null {
  const { workers, memoryLimitBytes } = generation.setup.config;
  return generation.threads ? workers.max * memoryLimitBytes : null;
}
