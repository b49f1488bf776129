import type { FromThread, ToThread } from "./thread.ts";

/** Where the code of a Bun Worker is. In the executable too: build.ts makes worker/ the root of the paths there. */
const ENTRY = new URL("./thread.ts", import.meta.url).href;

/** The life of one PHP worker. */
interface Life {
  readonly started: (thread: number) => void;
  readonly ended: () => void;
  readonly failed: (error: Error) => void;
}

/**
 * The Bun Workers of a host. A Worker lives many lives, one at a time, and is never terminated: the next PHP worker
 * begins in one whose life is over, which takes a tenth of a millisecond (docs/decisions/0008).
 */
export class ThreadKeeper {
  readonly #shim: string;
  readonly #idle: Worker[] = [];
  readonly #lives = new Map<Worker, Life>();

  constructor(shim: string) {
    this.#shim = shim;
  }

  /** Runs a PHP worker. Settles when it has ended; rejects when it cannot be started, or its Bun Worker has died. */
  async run(worker: number, generation: number, started: (thread: number) => void): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const keeper = this.#idle.pop() ?? this.#start();
    this.#lives.set(keeper, { started, ended: resolve, failed: reject });
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a Worker has none
    keeper.postMessage({ shim: this.#shim, worker, generation } satisfies ToThread);
    await promise;
  }

  #start(): Worker {
    const worker = new Worker(ENTRY);
    let cause = "";
    worker.addEventListener("message", ({ data }: MessageEvent<FromThread>) => {
      if (data.kind === "started") return this.#lives.get(worker)?.started(data.thread);
      const life = this.#take(worker);
      this.#idle.push(worker);
      if (data.kind === "ended") life?.ended();
      else life?.failed(Object.assign(new Error(data.message), { errno: data.errno }));
    });
    // Only its text: "close" follows every error, and comes alone when a Worker ends without one.
    worker.addEventListener("error", (event) => {
      event.preventDefault();
      cause = event.message;
    });
    worker.addEventListener("close", () => {
      const place = this.#idle.indexOf(worker);
      if (place >= 0) this.#idle.splice(place, 1);
      this.#take(worker)?.failed(
        new Error(`Cannot go on with a worker: ${cause || "its Bun Worker has ended"}`),
      );
    });
    return worker;
  }

  #take(worker: Worker): Life | undefined {
    const life = this.#lives.get(worker);
    this.#lives.delete(worker);
    return life;
  }
}
