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
  /** What its workers may hold together when they are threads of it; null: they are processes of their own. */
  readonly threadsBytes: number | null;
}

export interface WatchedWorker {
  readonly pool: string;
  readonly number: number;
  readonly generation: number;
  readonly pid: number;
  readonly busy: boolean;
  /**
   * What a worker that is a thread says it holds; 0 until it has said so. A thread cannot be killed: over the hard
   * limit it ends its request itself. null: a process, to be looked at from outside.
   */
  readonly ownBytes: number | null;
}
