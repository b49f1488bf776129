/** What the monitor has to know of a pool. A pool tells it anew each time it is asked. */
export interface WatchedPool<W extends WatchedWorker = WatchedWorker, H extends WatchedHost = WatchedHost> {
  readonly name: string;
  /** A worker's own memory above which it is replaced after its request. */
  readonly memoryLimitBytes: number;
  /** A worker's own memory above which it is killed at once, with the request that it runs. */
  readonly memoryKillBytes: number;
  /** Hosts that have started PHP, of every generation that still lives. */
  readonly hosts: readonly H[];
  readonly workers: readonly W[];
}

export interface WatchedHost {
  readonly pool: string;
  readonly generation: number;
  readonly pid: number;
}

export interface WatchedWorker {
  readonly pool: string;
  readonly number: number;
  readonly generation: number;
  readonly pid: number;
  readonly busy: boolean;
}
