import { memoryOf } from "../../bench/processes.ts";
import type { Phprun } from "./phprun.ts";

const EVERY_MS = 100;
/** Who runs in the pool changes; looking through every process of the machine costs more than the memory of a few. */
const LOOK_MS = 500;

/** The proportional memory of all workers together, again and again. */
export class WorkerMemory implements Disposable {
  mostBytes = 0;
  samples = 0;
  /** Workers seen in all. */
  readonly seen = new Set<number>();
  readonly #timer: Timer;
  #workers: number[] = [];
  #lookedMs = 0;

  constructor(server: Phprun, onSample: (bytes: number) => void = () => undefined) {
    this.#timer = setInterval(() => {
      const nowMs = performance.now();
      if (nowMs - this.#lookedMs > LOOK_MS || this.#workers.some((pid) => pssOf(pid) === 0)) {
        this.#workers = server.workers();
        this.#lookedMs = nowMs;
        for (const pid of this.#workers) this.seen.add(pid);
      }
      const bytes = this.#workers.reduce((sum, pid) => sum + pssOf(pid), 0);
      this.samples++;
      this.mostBytes = Math.max(this.mostBytes, bytes);
      onSample(bytes);
    }, EVERY_MS);
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}

/** 0 when the process is gone. */
function pssOf(pid: number): number {
  try {
    return memoryOf(pid).pssBytes;
  } catch {
    return 0;
  }
}

export function mebibytes(bytes: number): string {
  return `${Math.round(bytes / 1048576)} MiB`;
}
