import type { CgroupMemory } from "./cgroup.ts";
import { mebibytes } from "./mebibytes.ts";
import type { WatchedHost, WatchedPool, WatchedWorker } from "./watched.ts";

/** What is to be done. `why` goes after "it", as in "replaced a worker: it holds 300 MiB". */
export type Verdict<W extends WatchedWorker = WatchedWorker, H extends WatchedHost = WatchedHost> =
  | { readonly kind: "replace" | "kill"; readonly worker: W; readonly why: string }
  | { readonly kind: "roll-generation"; readonly host: H; readonly why: string };

/**
 * A host that forks runs no requests. After its start its memory stands nearly still, so twice of what it had then,
 * and as much as a large application may load late, is a leak that every new worker would begin with. A host of
 * threads may hold besides what it had what they may: the rest is a leak.
 */
const HOST_GROWTH = 2;
const HOST_SLACK_BYTES = 256 * 1048576;

/** From here on a control group is short of memory. */
const SHORT_SHARE = 0.9;
/** From here on the kernel is about to choose a process to end. */
const CRITICAL_SHARE = 0.97;
/** What was decided last must have had its effect before more is done. */
const RELIEF_INTERVAL_MS = 1000;
/** A worker is replaced for the sake of others only if that gives back so much. */
const LEAST_GAIN_BYTES = 8 * 1048576;

interface WorkerLife<W> {
  worker: W;
  limitBytes: number;
  ownBytes: number;
  replaced: boolean;
  killed: boolean;
}

interface HostLife {
  readonly boundBytes: number;
  rolled: boolean;
}

/**
 * Decides by what processes hold which of them are to be replaced or killed. Each verdict comes once in the life of
 * a process. Passive: it reads nothing, has no clock and does nothing; it is fed samples.
 */
export class MemoryMonitor<W extends WatchedWorker = WatchedWorker, H extends WatchedHost = WatchedHost> {
  readonly #workers = new Map<string, WorkerLife<W>>();
  readonly #hosts = new Map<string, HostLife>();
  /** The least that a worker of a generation was seen to hold: about what its successor will begin with. */
  readonly #leastBytes = new Map<string, number>();
  #frontWarnBytes: number;
  #relievedAtMs = Number.NEGATIVE_INFINITY;

  /** `memoryWarnBytes`: the front's own memory above which a person should know; 0: never. */
  constructor(memoryWarnBytes: number) {
    this.#frontWarnBytes = memoryWarnBytes || Number.POSITIVE_INFINITY;
  }

  /** A worker was seen to hold so much of its own. */
  worker(
    pool: Pick<WatchedPool, "memoryLimitBytes" | "memoryKillBytes">,
    worker: W,
    ownBytes: number,
  ): Verdict<W, H> | undefined {
    const life = this.#lifeOf(worker);
    life.worker = worker;
    life.ownBytes = ownBytes;
    life.limitBytes = pool.memoryLimitBytes;
    const generation = generationKey(worker);
    this.#leastBytes.set(generation, Math.min(ownBytes, this.#leastBytes.get(generation) ?? ownBytes));
    if (isKillable(worker) && ownBytes > pool.memoryKillBytes)
      return kill(life, `a request may take ${mebibytes(pool.memoryKillBytes)}`);
    if (ownBytes > life.limitBytes) return replace(life, `its limit is ${mebibytes(life.limitBytes)}`);
    return undefined;
  }

  /** A host that has started PHP was seen to hold so much of its own. The first time sets its bound. */
  host(host: H, ownBytes: number): Verdict<W, H> | undefined {
    const key = hostKey(host);
    const life = this.#hosts.get(key);
    if (life === undefined) {
      const grown = host.threadsBytes === null ? HOST_GROWTH * ownBytes : ownBytes + host.threadsBytes;
      this.#hosts.set(key, { boundBytes: grown + HOST_SLACK_BYTES, rolled: false });
      return undefined;
    }
    if (life.rolled || ownBytes <= life.boundBytes) return undefined;
    life.rolled = true;
    const why = `holds ${mebibytes(ownBytes)} of its own, its bound is ${mebibytes(life.boundBytes)}`;
    return { kind: "roll-generation", host, why };
  }

  /** The front was seen to hold so much of its own. True when that is worth a warning: once per doubling. */
  front(ownBytes: number): boolean {
    if (ownBytes <= this.#frontWarnBytes) return false;
    while (this.#frontWarnBytes < ownBytes) this.#frontWarnBytes *= 2;
    return true;
  }

  /**
   * Which worker has to go before the kernel chooses a process, when a control group is short of memory. Goes by
   * the last samples of all workers; one worker a second at most.
   */
  cgroup({ usedBytes, limitBytes }: CgroupMemory, nowMs: number): Verdict<W, H> | undefined {
    if (usedBytes <= SHORT_SHARE * limitBytes || nowMs - this.#relievedAtMs < RELIEF_INTERVAL_MS)
      return undefined;
    const of = `${mebibytes(usedBytes)} of ${mebibytes(limitBytes)}`;
    const verdict =
      (usedBytes > CRITICAL_SHARE * limitBytes
        ? this.#killLargest(`the control group uses ${of}`)
        : undefined) ??
      this.#replaceLargest(usedBytes, limitBytes, `the control group is short of memory: it uses ${of}`);
    if (verdict !== undefined) this.#relievedAtMs = nowMs;
    return verdict;
  }

  /** Forgets every process but these. */
  keep(pools: Iterable<WatchedPool>): void {
    const [workers, hosts, generations] = [new Set<string>(), new Set<string>(), new Set<string>()];
    for (const pool of pools) {
      for (const host of pool.hosts) {
        hosts.add(hostKey(host));
        generations.add(generationKey(host));
      }
      for (const worker of pool.workers) {
        workers.add(workerKey(worker));
        generations.add(generationKey(worker));
      }
    }
    forgetOthers(this.#workers, workers);
    forgetOthers(this.#hosts, hosts);
    forgetOthers(this.#leastBytes, generations);
  }

  #killLargest(cause: string): Verdict<W, H> | undefined {
    const candidates = this.#workers
      .values()
      .filter((each) => !each.killed && isKillable(each.worker) && each.ownBytes > each.limitBytes);
    const life = largest(candidates, (each) => each.ownBytes);
    if (life === undefined) return undefined;
    return kill(life, `its limit is ${mebibytes(life.limitBytes)}, and ${cause}`);
  }

  #replaceLargest(usedBytes: number, limitBytes: number, cause: string): Verdict<W, H> | undefined {
    const lives = [...this.#workers.values()];
    const leaving = sum(lives.filter((life) => life.replaced || life.killed));
    // Those that leave after their request, or are about to, will do.
    if (usedBytes - leaving <= SHORT_SHARE * limitBytes) return undefined;
    // What the group has for workers, divided by what each may hold: a small one may be the one that takes too much.
    const room = Math.max(0, SHORT_SHARE * limitBytes - (usedBytes - sum(lives)));
    const entitled = lives.reduce((total, life) => total + life.limitBytes, 0);
    const candidates = lives.filter((life) => !life.replaced && !life.killed && this.#wouldGain(life));
    const life = largest(candidates, (each) => each.ownBytes - (room * each.limitBytes) / entitled);
    return life === undefined ? undefined : replace(life, cause);
  }

  #wouldGain(life: WorkerLife<W>): boolean {
    const fresh = this.#leastBytes.get(generationKey(life.worker)) ?? 0;
    return life.ownBytes >= fresh + LEAST_GAIN_BYTES;
  }

  #lifeOf(worker: W): WorkerLife<W> {
    const key = workerKey(worker);
    let life = this.#workers.get(key);
    if (life === undefined) {
      life = { worker, limitBytes: 0, ownBytes: 0, replaced: false, killed: false };
      this.#workers.set(key, life);
    }
    return life;
  }
}

/** An idle worker leaves as soon as it is told, and a thread cannot be killed. */
function isKillable({ busy, ownBytes }: WatchedWorker): boolean {
  return busy && ownBytes === null;
}

function replace<W extends WatchedWorker>(life: WorkerLife<W>, cause: string): Verdict<W, never> | undefined {
  if (life.replaced || life.killed) return undefined;
  life.replaced = true;
  return {
    kind: "replace",
    worker: life.worker,
    why: `holds ${mebibytes(life.ownBytes)} of its own, ${cause}`,
  };
}

function kill<W extends WatchedWorker>(life: WorkerLife<W>, cause: string): Verdict<W, never> | undefined {
  if (life.killed) return undefined;
  life.killed = true;
  return { kind: "kill", worker: life.worker, why: `holds ${mebibytes(life.ownBytes)} of its own, ${cause}` };
}

/** The one with the most, if that is more than nothing. */
function largest<L>(lives: Iterable<L>, measure: (life: L) => number): L | undefined {
  let found: L | undefined;
  let most = 0;
  for (const life of lives) {
    const amount = measure(life);
    if (amount > most) [found, most] = [life, amount];
  }
  return found;
}

function sum(lives: Iterable<{ ownBytes: number }>): number {
  let bytes = 0;
  for (const life of lives) bytes += life.ownBytes;
  return bytes;
}

function forgetOthers(lives: Map<string, unknown>, known: ReadonlySet<string>): void {
  for (const key of lives.keys()) if (!known.has(key)) lives.delete(key);
}

const generationKey = (process: WatchedHost | WatchedWorker): string =>
  `${process.pool} ${process.generation}`;
const hostKey = (host: WatchedHost): string => `${generationKey(host)} ${host.pid}`;
/** A process id alone may come again; together with these it stands for one life. */
const workerKey = (worker: WatchedWorker): string =>
  `${generationKey(worker)} ${worker.number} ${worker.pid}`;
