/** How long the event loop may be held before requests get their turn. */
const SLICE_MS = 5;

/** Cuts long work into slices, with pauses of the same length: half of the time stays for everybody else. */
export class Pace {
  #since = performance.now();
  #worked = 0;

  get due(): boolean {
    return performance.now() - this.#since > SLICE_MS;
  }

  /** Time spent at work, without the pauses. */
  get workedMs(): number {
    return this.#worked + performance.now() - this.#since;
  }

  async rest(): Promise<void> {
    this.#worked += performance.now() - this.#since;
    await Bun.sleep(SLICE_MS);
    this.#since = performance.now();
  }
}
