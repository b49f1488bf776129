import type { PoolConfig } from "../config/config.ts";

/** Workers started together must not all end together. */
const JITTER = 0.1;

export interface RecyclingRules extends Pick<PoolConfig, "maxRequests"> {
  /** Requests after which a worker becomes the template; 0 or left out: never. */
  readonly reforkAfter?: number;
}

interface Tenure {
  readonly mostRequests: number;
  served: number;
  retired: boolean;
}

/** Decides when a worker has served long enough and is to be replaced. Its memory is the monitor's concern. */
export class Recycling {
  readonly #config: RecyclingRules;
  readonly #retire: (worker: number, why: string) => void;
  readonly #promote: (worker: number, served: number) => void;
  /** One worker of a generation becomes the template. */
  #promoted = false;
  readonly #tenures = new Map<number, Tenure>();

  /** `retire` asks a worker to end after its current request, `promote` to become the template after it. */
  constructor(
    config: RecyclingRules,
    retire: (worker: number, why: string) => void,
    promote: (worker: number, served: number) => void = () => undefined,
  ) {
    this.#config = config;
    this.#retire = retire;
    this.#promote = promote;
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
    if (tenure === undefined) return;
    tenure.served++;
    const { reforkAfter = 0 } = this.#config;
    if (reforkAfter > 0 && tenure.served >= reforkAfter && !this.#promoted && !tenure.retired) {
      this.#promoted = true;
      this.#promote(worker, tenure.served);
    }
    if (tenure.served < tenure.mostRequests || tenure.retired) return;
    tenure.retired = true;
    this.#retire(worker, `served ${tenure.served} requests`);
  }
}
