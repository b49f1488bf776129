/** An exchange whose worker is done with it, and whose client is not. */
export interface Lingerer {
  tick(nowMs: number): void;
}

const LOOK_MS = 250;

/**
 * Looks after clients whose answer waits in the front alone: no pool looks at them any more, and one that takes
 * nothing must not keep memory and a file for ever.
 */
export class Lingering {
  readonly #all = new Set<Lingerer>();
  #timer: Timer | undefined;

  add(lingerer: Lingerer): void {
    this.#all.add(lingerer);
    this.#timer ??= setInterval(() => this.#look(), LOOK_MS).unref();
  }

  delete(lingerer: Lingerer): void {
    this.#all.delete(lingerer);
  }

  #look(): void {
    const nowMs = performance.now();
    for (const lingerer of this.#all) lingerer.tick(nowMs);
    if (this.#all.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
