import type { LogFields } from "../log/log.ts";
import { type CgroupMemory, findMemoryCgroups, type MemoryCgroup, readCgroups } from "./cgroup.ts";
import { mebibytes } from "./mebibytes.ts";
import { MemoryMonitor, type Verdict } from "./memory-monitor.ts";
import { type ProcessMemory, readMemory, readProportional } from "./process-memory.ts";
import { Processors, readProcessors } from "./processors.ts";
import type { WatchedHost, WatchedPool, WatchedWorker } from "./watched.ts";

/** Busy workers, and hosts of busy threads, are looked at so often: a script can take a gigabyte in less than a second. */
const SAMPLE_MS = 250;
/** The others, hosts and the front, only at every so many-th look. */
const SLOW_EVERY = 4;

export interface MonitorActions<W extends WatchedWorker, H extends WatchedHost> {
  /** End this worker after its request, if it has one. */
  replace(worker: W, why: string): void;
  /** End this worker at once; a request that it has fails. */
  kill(worker: W, why: string): void;
  /** Replace this host, and with it all its workers. */
  rollGeneration(host: H, why: string): void;
  warn(text: string, fields: LogFields): void;
}

export interface MonitorOptions<W extends WatchedWorker, H extends WatchedHost> {
  /** Asked at every look. */
  readonly pools: () => Iterable<WatchedPool<W, H>>;
  readonly actions: MonitorActions<W, H>;
  /** The front's own memory above which a warning is logged, and again at each doubling; 0: never. */
  readonly memoryWarnBytes: number;
  /** @default those of this process */
  readonly cgroups?: readonly MemoryCgroup[];
  /** @default {250} */
  readonly sampleMs?: number;
}

/** What was last seen of a process. */
export interface Sample extends ProcessMemory {
  /** Its share of all memory in use (PSS); null when not looked at yet, or not allowed to. Up to minutes old. */
  readonly proportionalBytes: number | null;
  /** On the clock of `performance.now()`. */
  readonly atMs: number;
}

interface Seen extends Sample {
  readonly proportionalAtMs: number;
}

/**
 * Looks at the memory of every process of ours while it runs, and has done what `MemoryMonitor` decides. By the way
 * it sees whether the processors have time left, for the pools that would like to grow.
 */
export class Monitor<W extends WatchedWorker = WatchedWorker, H extends WatchedHost = WatchedHost> {
  readonly #options: MonitorOptions<W, H>;
  readonly #policy: MemoryMonitor<W, H>;
  readonly #cgroups: readonly MemoryCgroup[];
  readonly #processors = new Processors();
  readonly #latest = new Map<number, Seen>();
  #cgroup: CgroupMemory | null = null;
  #timer: Timer | undefined;
  #looks = 0;

  constructor(options: MonitorOptions<W, H>) {
    this.#options = options;
    this.#policy = new MemoryMonitor(options.memoryWarnBytes);
    this.#cgroups = options.cgroups ?? findMemoryCgroups();
  }

  start(): void {
    this.#timer ??= setInterval(() => this.look(performance.now()), this.#options.sampleMs ?? SAMPLE_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** The last sample of a process; undefined when it is none of ours, or was not looked at yet. */
  latest(pid: number): Sample | undefined {
    return this.#latest.get(pid);
  }

  /** The last sample of the control group that is fullest; null when there is no limit. */
  get cgroup(): CgroupMemory | null {
    return this.#cgroup;
  }

  /** Whether the processors have no time left for one more worker with this nice value. */
  cpuSaturated(nice: number): boolean {
    return this.#processors.saturated(nice);
  }

  /** One look at what is due now. The timer calls it. */
  look(nowMs: number): void {
    const pools = [...this.#options.pools()];
    const slow = this.#looks++ % SLOW_EVERY === 0;
    if (slow) this.#forgetOthers(pools);
    for (const pool of pools) {
      for (const worker of pool.workers) if (slow || worker.busy) this.#lookAtWorker(pool, worker, nowMs);
      const busy = pool.workers.some((worker) => worker.busy);
      for (const host of pool.hosts) if (slow || (busy && runsThreads(host))) this.#lookAtHost(host, nowMs);
    }
    const times = readProcessors();
    if (times !== undefined) this.#processors.note(times);
    this.#cgroup = readCgroups(this.#cgroups);
    if (this.#cgroup !== null) this.#carryOut(this.#policy.cgroup(this.#cgroup, nowMs));
    if (!slow) return;
    this.#lookAtFront(nowMs);
    this.#lookAtOneMoreClosely(nowMs);
  }

  #lookAtWorker(pool: WatchedPool<W, H>, worker: W, nowMs: number): void {
    // /proc tells the same of each thread: what the whole host holds.
    const ownBytes = worker.ownBytes ?? this.#sample(worker.pid, nowMs)?.ownBytes;
    if (ownBytes !== undefined && worker.ownBytes !== 0)
      this.#carryOut(this.#policy.worker(pool, worker, ownBytes));
  }

  #lookAtHost(host: H, nowMs: number): void {
    const memory = this.#sample(host.pid, nowMs);
    if (memory !== undefined) this.#carryOut(this.#policy.host(host, memory.ownBytes));
  }

  #lookAtFront(nowMs: number): void {
    const memory = this.#sample(process.pid, nowMs);
    if (memory === undefined || !this.#policy.front(memory.ownBytes)) return;
    this.#options.actions.warn(`the front holds ${mebibytes(memory.ownBytes)} of its own`, {
      pid: process.pid,
      resident: mebibytes(memory.residentBytes),
    });
  }

  #sample(pid: number, nowMs: number): ProcessMemory | undefined {
    const memory = readMemory(pid);
    if (memory === undefined) {
      this.#latest.delete(pid);
      return undefined;
    }
    const before = this.#latest.get(pid);
    this.#latest.set(pid, {
      ...memory,
      proportionalBytes: before?.proportionalBytes ?? null,
      proportionalAtMs: before?.proportionalAtMs ?? Number.NEGATIVE_INFINITY,
      atMs: nowMs,
    });
    return memory;
  }

  /** The costly figure, of the one process whose own is the oldest. */
  #lookAtOneMoreClosely(nowMs: number): void {
    let oldest: [number, Seen] | undefined;
    for (const entry of this.#latest)
      if (oldest === undefined || entry[1].proportionalAtMs < oldest[1].proportionalAtMs) oldest = entry;
    if (oldest === undefined) return;
    const [pid, seen] = oldest;
    const proportionalBytes = readProportional(pid) ?? null;
    this.#latest.set(pid, { ...seen, proportionalBytes, proportionalAtMs: nowMs });
  }

  #carryOut(verdict: Verdict<W, H> | undefined): void {
    if (verdict === undefined) return;
    const { actions } = this.#options;
    switch (verdict.kind) {
      case "replace":
        return actions.replace(verdict.worker, verdict.why);
      case "kill":
        return actions.kill(verdict.worker, verdict.why);
      case "roll-generation":
        return actions.rollGeneration(verdict.host, verdict.why);
      default:
        return verdict satisfies never;
    }
  }

  #forgetOthers(pools: readonly WatchedPool<W, H>[]): void {
    this.#policy.keep(pools);
    const pids = new Set([process.pid]);
    for (const { hosts, workers } of pools) for (const { pid } of [...hosts, ...workers]) pids.add(pid);
    for (const pid of this.#latest.keys()) if (!pids.has(pid)) this.#latest.delete(pid);
  }
}

/** It grows as quickly as the scripts that run in it. */
const runsThreads = (host: WatchedHost): boolean => host.threadsBytes !== null;
