import type { Tinypool } from "tinypool";
import type { CompressTask } from "../../worker/compress.ts";
import type { Bytes } from "./representation.ts";

export interface CompressJob {
  readonly task: CompressTask;
  /** Asked when its turn comes: what nobody needs any more is skipped. */
  readonly wanted: () => boolean;
  /** The compressed bytes; null when they are not worth keeping, or the file has changed. */
  readonly done: (bytes: Bytes | null) => void;
  /** The reason, in words. */
  readonly failed: (why: string) => void;
}

export interface CompressorOptions {
  /** Jobs that may wait. @default {64} */
  readonly maxWaiting?: number;
  /** How long a job may take before it is forgotten, in milliseconds. @default {60_000} */
  readonly patienceMs?: number;
  /** How long the Worker outlives its last job, in milliseconds. @default {3000} */
  readonly idleMs?: number;
  /** What the Worker runs: a module whose default export takes a task. @default worker/compress.ts */
  readonly module?: URL;
}

/** In the executable, build.ts makes worker/ the root of all paths. */
const compressModule = new URL(
  Bun.isStandaloneExecutable ? "./compress.ts" : "../../worker/compress.ts",
  import.meta.url,
);

/** Compresses files one after the other in a Worker, which is there only while there is something to do. */
export class Compressor {
  readonly #maxWaiting: number;
  readonly #patienceMs: number;
  readonly #idleMs: number;
  readonly #module: URL;
  readonly #waiting: CompressJob[] = [];
  readonly #heard = new WeakSet<object>();
  #running = false;
  #pool: Tinypool | null = null;
  #giveUp: (error: Error) => void = () => undefined;

  constructor(options: CompressorOptions = {}) {
    this.#maxWaiting = options.maxWaiting ?? 64;
    this.#patienceMs = options.patienceMs ?? 60_000;
    this.#idleMs = options.idleMs ?? 3000;
    this.#module = options.module ?? compressModule;
  }

  /** Is there anything in work? */
  get busy(): boolean {
    return this.#running;
  }

  /** False when too many wait already. */
  add(job: CompressJob): boolean {
    if (this.#waiting.length >= this.#maxWaiting) return false;
    this.#waiting.push(job);
    if (!this.#running) {
      this.#running = true;
      // After the answer to who asked: the first time there is a library to load, and always a Worker to start.
      setImmediate(() => void this.#run());
    }
    return true;
  }

  async #run(): Promise<void> {
    for (let job = this.#waiting.shift(); job !== undefined; job = this.#waiting.shift()) {
      if (!job.wanted()) continue;
      try {
        job.done(await this.#compress(job.task));
      } catch (error) {
        this.#abandon();
        job.failed(error instanceof Error ? error.message : String(error));
      }
    }
    this.#running = false;
  }

  /** Whatever state the Worker is in, the next job gets another. Nobody waits: destroy() need not settle. */
  #abandon(): void {
    const workers = this.#pool?.threads ?? [];
    this.#pool = null;
    for (const worker of workers) worker.terminate().catch(() => undefined);
  }

  async #compress(task: CompressTask): Promise<Bytes | null> {
    const pool = (this.#pool ??= await this.#open());
    const { promise, resolve, reject } = Promise.withResolvers<Bytes | null>();
    this.#giveUp = reject;
    const late = () => reject(new Error(`it was not done within ${this.#patienceMs} ms`));
    const timer = setTimeout(late, this.#patienceMs).unref();
    try {
      pool.run(task).then(resolve, reject);
      this.#listen(pool);
      return await promise;
    } finally {
      clearTimeout(timer);
      this.#giveUp = () => undefined;
    }
  }

  async #open(): Promise<Tinypool> {
    const { Tinypool } = await import("tinypool");
    const pool = new Tinypool({
      filename: this.#module.href,
      // "child_process" would run the main program of the executable again.
      runtime: "worker_threads",
      minThreads: 0,
      maxThreads: 1,
      idleTimeout: this.#idleMs,
      trackUnmanagedFds: false,
      // An idle Worker waits in its event loop, where it can be ended at any time.
      useAtomics: false,
    });
    // A Worker that failed before it had the task: tinypool starts no other for it. Unheard, the event would throw.
    pool.on("error", (error: Error) => this.#pool === pool && this.#giveUp(error));
    return pool;
  }

  /** tinypool does not hear a Worker that ends without an error: its task would never settle. */
  #listen(pool: Tinypool): void {
    for (const worker of pool.threads) {
      if (this.#heard.has(worker)) continue;
      this.#heard.add(worker);
      worker.on("exit", () => {
        // One that was idle long enough has been taken out of the pool before it ended.
        if (this.#pool === pool && pool.threads.includes(worker))
          this.#giveUp(new Error("its Worker has ended"));
      });
    }
  }
}
