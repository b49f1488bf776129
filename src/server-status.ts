import { Phase, WorkerState } from "../ffi/layout.ts";
import type { PoolStatus, ServerStatus, WorkerStatus } from "./control/status.ts";
import type { Sample } from "./monitor/monitor.ts";
import type { Generation } from "./pool/generation.ts";
import type { Pool } from "./pool/pool.ts";
import type { Reloader } from "./reload.ts";
import { VERSION } from "./version.ts";

export interface StatusParts {
  readonly reloader: Reloader;
  readonly urls: readonly string[];
  readonly startedAt: Date;
  readonly stopping: boolean;
  readonly sampleOf: (pid: number) => Sample | undefined;
}

/** What the server is doing at this moment. */
export function serverStatus({ reloader, urls, startedAt, stopping, sampleOf }: StatusParts): ServerStatus {
  const { config, pools } = reloader.serving;
  // A pool that has been given up does not make the others start again.
  const serves = pools.every((pool) => pool.ready || pool.failure !== null);
  const ready = !stopping && pools.every((pool) => pool.ready);
  return {
    version: VERSION,
    pid: process.pid,
    startedAt: startedAt.toISOString(),
    uptimeMs: Date.now() - startedAt.getTime(),
    config: config.source,
    docroot: config.php.docroot,
    listeners: [...urls],
    ready,
    state: stopping ? "stopping" : reloader.isRunning ? "reloading" : serves ? "serving" : "starting",
    reloads: { done: reloader.done, refused: reloader.refused, last: reloader.last },
    front: { residentBytes: process.memoryUsage.rss() },
    pools: pools.map((pool) => poolStatus(pool, sampleOf)),
  };
}

function poolStatus(pool: Pool, sampleOf: StatusParts["sampleOf"]): PoolStatus {
  const { config, counters, generations } = pool;
  const { refused } = counters;
  return {
    name: pool.name,
    patterns: [...config.patterns],
    hosts: [...config.hosts],
    methods: [...config.methods],
    state: pool.failure !== null ? "failed" : pool.ready ? "serving" : "starting",
    lastError: pool.failure,
    mode: config.mode,
    workerScript: config.mode === "worker" ? config.workerScript : null,
    isolation: pool.isolation,
    generation: pool.generation,
    generations: generations.map((generation) => ({
      number: generation.number,
      state: generation.role,
      hostPid: generation.hostPid ?? 0,
      residentBytes: sampleOf(generation.hostPid ?? 0)?.residentBytes ?? 0,
      workers: generation.workers.alive,
      inFlight: generation.slots.inFlight,
      ageMs: performance.now() - generation.startedAtMs,
    })),
    workers: generations.flatMap((generation) => workersOf(generation, sampleOf)),
    limits: {
      min: config.workers.min,
      max: config.workers.max,
      queueMax: config.queue.max,
      queueTimeoutMs: config.queue.timeoutMs,
      timeoutMs: config.timeoutMs,
      killAfterMs: config.killAfterMs,
      memoryLimitBytes: config.memoryLimitBytes,
      maxRequests: config.maxRequests,
      slowMs: config.slowMs,
    },
    queue: { waiting: pool.waiting, longestWaitMs: pool.longestWaitMs, mostWaiting: counters.mostWaiting },
    requests: {
      running: generations.reduce((sum, { slots }) => sum + slots.inFlight - slots.waiting, 0),
      served: counters.served,
      mostRunning: counters.mostRunning,
      refused: {
        queue_full: refused["queue-full"],
        queue_timeout: refused["queue-timeout"],
        stopping: refused.stopping,
        pool_failed: refused["pool-failed"],
      },
      lost: counters.lost,
      timed_out: counters.timedOut,
      retried: counters.retried,
      slow: counters.slow,
      client_gone: counters.clientGone,
    },
    restarts: { ...counters.restarts },
  };
}

/** What a worker's record says of one that runs. A worker that is forked is there a moment before its record says so. */
const STATES = new Map<number, WorkerStatus["state"]>([
  [WorkerState.starting, "booting"],
  [WorkerState.busy, "busy"],
  [WorkerState.ending, "ending"],
]);

function workersOf(generation: Generation, sampleOf: StatusParts["sampleOf"]): WorkerStatus[] {
  const { memory } = generation.slots;
  const { threads } = generation;
  const requests = new Map<number, WorkerStatus["request"] & { answered: boolean }>();
  const nowMs = performance.now();
  for (const [slot, running] of [...generation.slots.running(), ...generation.slots.abandoned]) {
    const phase = memory.phase(slot);
    if (phase !== Phase.running && phase !== Phase.responded) continue;
    requests.set(memory.owner(slot), {
      ...running.job.facts,
      elapsedMs: running.runningSinceMs === 0 ? 0 : nowMs - running.runningSinceMs,
      answered: phase === Phase.responded,
    });
  }
  return generation.workers.all.flatMap((worker): WorkerStatus[] => {
    if (worker.state === "absent") return [];
    const record = memory.worker(worker.number);
    // Of a thread /proc tells what its whole process holds.
    const sample = threads ? undefined : sampleOf(worker.pid);
    const found = requests.get(worker.number);
    const { answered = false, ...request } = found ?? {};
    return [
      {
        number: worker.number,
        generation: generation.number,
        pid: worker.pid,
        state:
          worker.state !== "running"
            ? worker.state
            : answered
              ? "finishing"
              : (STATES.get(record.state) ?? "idle"),
        requests: record.requests,
        ageMs: nowMs - worker.startedAtMs,
        request: found === undefined ? null : (request as NonNullable<WorkerStatus["request"]>),
        memory: {
          phpPeakBytes: record.memoryBytes,
          ownBytes: sample?.ownBytes ?? record.ownBytes,
          residentBytes: threads ? null : (sample?.residentBytes ?? 0),
          proportionalBytes: sample?.proportionalBytes ?? null,
        },
      },
    ];
  });
}
