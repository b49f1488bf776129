/** A status as a server would tell it, and a server that tells it: small, but over real sockets. */
import { mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Controlled, ReloadOutcome } from "../../src/control/controlled.ts";
import type { PoolStatus, ServerStatus, WorkerStatus } from "../../src/control/status.ts";
import { createLog, type Log } from "../../src/log/log.ts";

const MIB = 1024 * 1024;

export const HOSTILE = "/x?\x1b]0;owned\x07\x1b[2J\r\n\u202e\u00e9\u2028\ud83d\ude00&token=geheim";

export function worker(own: Partial<WorkerStatus> = {}): WorkerStatus {
  return {
    number: 0,
    generation: 1,
    pid: 4712,
    state: "idle",
    requests: 1234,
    ageMs: 3_725_000,
    request: null,
    memory: {
      phpPeakBytes: 2.5 * MIB,
      ownBytes: 18 * MIB,
      residentBytes: 52 * MIB,
      proportionalBytes: null,
    },
    ...own,
  };
}

export function request(uri: string, own: Partial<NonNullable<WorkerStatus["request"]>> = {}) {
  return {
    id: 7,
    method: "GET",
    uri,
    script: "/srv/app/public/index.php",
    requestId: "abc",
    elapsedMs: 1250,
    remoteAddr: "203.0.113.9",
    ...own,
  };
}

export function pool(own: Partial<PoolStatus> = {}): PoolStatus {
  return {
    name: "default",
    patterns: ["/*"],
    hosts: [],
    methods: [],
    state: "serving",
    lastError: null,
    mode: "classic",
    workerScript: null,
    isolation: "process",
    generation: 1,
    generations: [
      {
        number: 1,
        state: "current",
        hostPid: 4711,
        residentBytes: 30 * MIB,
        workers: 1,
        inFlight: 0,
        ageMs: 60_000,
      },
    ],
    workers: [worker()],
    limits: {
      min: 1,
      max: 1,
      queueMax: 1000,
      queueTimeoutMs: 10_000,
      timeoutMs: 30_000,
      killAfterMs: 5000,
      memoryLimitBytes: 128 * MIB,
      maxRequests: 0,
      slowMs: 0,
    },
    queue: { waiting: 0, longestWaitMs: 0, mostWaiting: 0 },
    requests: {
      running: 0,
      served: 1234,
      mostRunning: 1,
      refused: { queue_full: 0, queue_timeout: 0, stopping: 0, pool_failed: 0 },
      lost: 0,
      timed_out: 0,
      retried: 0,
      slow: 0,
      client_gone: 0,
    },
    restarts: {
      max_requests: 0,
      memory: 0,
      crash: 0,
      deadline: 0,
      exit: 0,
      idle: 0,
      memory_kill: 0,
      lost: 0,
      script: 0,
      fatal: 0,
      boot: 0,
      exception: 0,
      refork: 0,
      host: 0,
      emergency: 0,
      renew: 0,
    },
    ...own,
  };
}

export function serverStatus(own: Partial<ServerStatus> = {}): ServerStatus {
  return {
    version: "9.9.9",
    pid: 4710,
    startedAt: "2026-11-20T10:00:00.000Z",
    uptimeMs: 11_520_000,
    config: "/srv/app/phprun.yaml",
    docroot: "/srv/app/public",
    listeners: ["http://127.0.0.1:8080"],
    ready: true,
    state: "serving",
    reloads: { done: 0, refused: 0, last: null },
    front: { residentBytes: 38.24 * MIB },
    pools: [pool()],
    ...own,
  };
}

/** A busy server with two pools: one grows and drains an old generation, the other has failed. */
export function busyStatus(): ServerStatus {
  const base = pool();
  return serverStatus({
    listeners: ["http://127.0.0.1:8080", "unix:/run/app.sock"],
    state: "reloading",
    ready: false,
    reloads: {
      done: 3,
      refused: 1,
      last: {
        at: "2026-11-20T13:10:00.000Z",
        ok: false,
        reason:
          "the health path answered 500 in place of 200 to 399: syntax error in /srv/app/public/a.php\nsecond line",
      },
    },
    pools: [
      pool({
        name: "fast",
        generation: 3,
        generations: [
          {
            number: 2,
            state: "draining",
            hostPid: 4711,
            residentBytes: 30 * MIB,
            workers: 1,
            inFlight: 1,
            ageMs: 180_000,
          },
          {
            number: 3,
            state: "current",
            hostPid: 5000,
            residentBytes: 31 * MIB,
            workers: 3,
            inFlight: 2,
            ageMs: 4_200,
          },
        ],
        workers: [
          worker({ generation: 2, state: "finishing", request: request("/old.php", { elapsedMs: 92_000 }) }),
          worker({ generation: 3, pid: 5001, state: "busy", requests: 12, request: request(HOSTILE) }),
          worker({
            number: 1,
            generation: 3,
            pid: 5002,
            state: "busy",
            memory: {
              phpPeakBytes: 2 * MIB,
              ownBytes: 300 * MIB,
              residentBytes: 2048 * MIB,
              proportionalBytes: 1,
            },
            request: request(`/long/${"abcdefghij".repeat(20)}`, { method: "POST", elapsedMs: 80 }),
          }),
          worker({ number: 2, generation: 3, pid: 5003, state: "starting", requests: 0, ageMs: 12 }),
        ],
        limits: { ...base.limits, min: 2, max: 8 },
        queue: { waiting: 3, longestWaitMs: 420, mostWaiting: 17 },
        requests: {
          ...base.requests,
          served: 1_234_567,
          refused: { queue_full: 2, queue_timeout: 10, stopping: 0, pool_failed: 0 },
          lost: 1,
          timed_out: 2,
          slow: 5,
        },
        restarts: { ...base.restarts, max_requests: 3, crash: 1, memory: 12 },
      }),
      pool({
        name: "heavy",
        state: "failed",
        lastError: "5 workers in a row have died at start",
        workers: [],
        generations: [],
      }),
    ],
  });
}

/** What a server does when it is told to, written down. */
export class TestServer implements Controlled {
  told: ServerStatus = serverStatus({ pid: process.pid });
  outcome: ReloadOutcome | Promise<ReloadOutcome> = { ok: true, notes: [] };
  fails: Error | null = null;
  readonly asked: string[] = [];

  status(): Promise<ServerStatus> {
    return this.fails === null ? Promise.resolve(this.told) : Promise.reject(this.fails);
  }

  async reload(by: string): Promise<ReloadOutcome> {
    this.asked.push(`reload by ${by}`);
    return await this.outcome;
  }

  stop(): void {
    this.asked.push("stop");
  }
}

export class TestLog {
  readonly lines: string[] = [];
  readonly log: Log = createLog({
    level: "debug",
    format: "pretty",
    file: null,
    color: false,
    write: (line) => this.lines.push(line),
  });
}

/** A temporary folder with a short name: a socket's path has 107 bytes at most. */
export class SocketFolder implements Disposable {
  readonly path = realpathSync(mkdtempSync(join(tmpdir(), "phprun-ctl-")));

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}
