import type { PoolConfig } from "../config/config.ts";

/** Workers started together must not all end together. */
const JITTER = 0.1;

interface Tenure {
  readonly mostRequests: number;
  served: number;
  retired: boolean;
}

/** Decides when a worker has served long enough and is to be replaced. Its memory is the monitor's concern. */
export class Recycling {
  readonly #config: Pick<PoolConfig, "maxRequests">;
  readonly #retire: (worker: number, why: string) => void;
  readonly #tenures = new Map<number, Tenure>();

  /** `retire` asks a worker to end after its current request. */
  constructor(config: Pick<PoolConfig, "maxRequests">, retire: (worker: number, why: string) => void) {
    this.#config = config;
    this.#retire = retire;
  }

  started(worker: number): void {
    const { maxRequests } = this.#config;
    const mostRequests =
      maxRequests === 0 ? Number.POSITIVE_INFINITY : Math.ceil(maxRequests * (1 - Math.random() * JITTER));
    this.#tenures.set(worker, { mostRequests, served: 0, retired: false });
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
}
