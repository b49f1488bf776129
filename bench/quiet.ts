import { machineSeconds } from "./processes.ts";

const SAMPLE_MS = 250;
const QUIET = 0.1;

/** Waits until nobody else uses much of the machine, as long as there is patience left; then goes on regardless. */
export class Quiet {
  #patienceMs: number;

  constructor(patienceMs: number) {
    this.#patienceMs = patienceMs;
  }

  /** To be called while the servers are idle. */
  async wait(): Promise<void> {
    while (this.#patienceMs > 0 && (await busyShare()) > QUIET) this.#patienceMs -= SAMPLE_MS;
  }
}

async function busyShare(): Promise<number> {
  const before = machineSeconds().busy;
  const startedMs = performance.now();
  await Bun.sleep(SAMPLE_MS);
  const seconds = (performance.now() - startedMs) / 1000;
  return (machineSeconds().busy - before) / (seconds * navigator.hardwareConcurrency);
}
