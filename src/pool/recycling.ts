import { readFileSync } from "node:fs";
import type { PoolConfig } from "../config/config.ts";

/** Page size of every platform phprun runs on with the kernels distributions ship. */
const PAGE_BYTES = 4096;
/** Workers started together must not all end together. */
const JITTER = 0.1;

interface Tenure {
  readonly pid: number;
  readonly mostRequests: number;
  served: number;
  retired: boolean;
}

/** Decides when a worker has served long enough, or holds too much memory, and is to be replaced. */
export class Recycling {
  readonly #config: Pick<PoolConfig, "maxRequests" | "memoryLimitBytes">;
  readonly #retire: (worker: number, why: string) => void;
  readonly #tenures = new Map<number, Tenure>();

  /** `retire` asks a worker to end after its current request. */
  constructor(
    config: Pick<PoolConfig, "maxRequests" | "memoryLimitBytes">,
    retire: (worker: number, why: string) => void,
  ) {
    this.#config = config;
    this.#retire = retire;
  }

  started(worker: number, pid: number): void {
    const { maxRequests } = this.#config;
    const mostRequests =
      maxRequests === 0 ? Number.POSITIVE_INFINITY : Math.ceil(maxRequests * (1 - Math.random() * JITTER));
    this.#tenures.set(worker, { pid, mostRequests, served: 0, retired: false });
  }

  ended(worker: number): void {
    this.#tenures.delete(worker);
  }

  /** A worker has finished a request. */
  served(worker: number): void {
    const tenure = this.#tenures.get(worker);
    if (tenure === undefined || ++tenure.served < tenure.mostRequests || tenure.retired) return;
    tenure.retired = true;
    this.#retire(worker, `served ${tenure.served} requests`);
  }

  /** Looks at the memory of every worker. Meant for about once a second. */
  sampleMemory(): void {
    const limit = this.#config.memoryLimitBytes;
    for (const [worker, tenure] of this.#tenures) {
      if (tenure.retired) continue;
      const bytes = ownMemory(tenure.pid);
      if (bytes <= limit) continue;
      tenure.retired = true;
      this.#retire(worker, `holds ${Math.round(bytes / 1048576)} MiB`);
    }
  }
}

/** Resident memory less what is shared with others (opcache, code); 0 when the process is gone. */
function ownMemory(pid: number): number {
  try {
    const [, resident = 0, shared = 0] = readFileSync(`/proc/${pid}/statm`, "latin1").split(" ").map(Number);
    return (resident - shared) * PAGE_BYTES;
  } catch {
    return 0;
  }
}
