/** What a server tells of itself. Computed when somebody asks; nothing of it is kept for the sake of being told. */
export interface ServerStatus {
  version: string;
  pid: number;
  /** ISO 8601. */
  startedAt: string;
  uptimeMs: number;
  /** The configuration file, absolute; null when there is none. */
  config: string | null;
  docroot: string;
  listeners: string[];
  /** A PHP worker of every pool has answered, and can. */
  ready: boolean;
  state: "starting" | "serving" | "reloading" | "stopping";
  reloads: {
    done: number;
    refused: number;
    last: { at: string; ok: boolean; reason: string | null } | null;
  };
  front: { residentBytes: number };
  pools: PoolStatus[];
}

export interface PoolStatus {
  name: string;
  patterns: string[];
  hosts: string[];
  methods: string[];
  state: "starting" | "serving" | "failed";
  lastError: string | null;
  /** Whether its application boots once per worker, or a script runs anew for each request. */
  mode: "worker" | "classic";
  /** The script that boots it; null in classic mode. */
  workerScript: string | null;
  /** What its workers are: forked processes, or threads of the host. */
  isolation: "process" | "thread";
  /** The one that gets the traffic. */
  generation: number;
  generations: {
    number: number;
    state: "candidate" | "current" | "draining";
    hostPid: number;
    residentBytes: number;
    workers: number;
    inFlight: number;
    ageMs: number;
  }[];
  workers: WorkerStatus[];
  limits: {
    min: number;
    max: number;
    queueMax: number;
    queueTimeoutMs: number;
    timeoutMs: number;
    killAfterMs: number;
    memoryLimitBytes: number;
    maxRequests: number;
    slowMs: number;
  };
  queue: { waiting: number; longestWaitMs: number; mostWaiting: number };
  requests: {
    running: number;
    served: number;
    mostRunning: number;
    refused: { queue_full: number; queue_timeout: number; stopping: number; pool_failed: number };
    lost: number;
    timed_out: number;
    retried: number;
    slow: number;
    client_gone: number;
  };
  /**
   * How many workers were replaced, by reason. `lost`: threads that did not come back. `host`, `emergency` and
   * `renew` count whole generations.
   */
  restarts: {
    max_requests: number;
    memory: number;
    crash: number;
    deadline: number;
    exit: number;
    idle: number;
    memory_kill: number;
    lost: number;
    script: number;
    fatal: number;
    boot: number;
    exception: number;
    refork: number;
    host: number;
    emergency: number;
    renew: number;
  };
}

export interface WorkerStatus {
  number: number;
  generation: number;
  /** Of a worker that is a thread, the thread's id. */
  pid: number;
  /**
   * `booting`, `ending`: its worker script takes no requests yet, or no more. `finishing`: it has answered, its script
   * goes on. `lost`: a thread that does not come back from its request.
   */
  state: "starting" | "booting" | "idle" | "busy" | "finishing" | "ending" | "retiring" | "lost";
  requests: number;
  ageMs: number;
  request: RequestStatus | null;
  memory: {
    phpPeakBytes: number;
    /** What `memory_limit_mb` limits: memory that the worker shares with nobody. Of a thread, PHP's heap. */
    ownBytes: number;
    /** null: a thread, of which the system does not tell; 0: not looked at yet. */
    residentBytes: number | null;
    proportionalBytes: number | null;
  };
}

export interface RequestStatus {
  id: number;
  method: string;
  uri: string;
  script: string;
  requestId: string | null;
  elapsedMs: number;
  remoteAddr: string;
}
