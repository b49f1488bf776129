/**
 * The signals of a server, as counts. Handlers only count; who waits reads the counts, so that nothing is lost and
 * nothing is done inside a handler.
 */
export class Signals {
  #stops = 0;
  #reopens = 0;
  #waiting: (() => void)[] = [];

  listen(): void {
    const stop = () => this.count("stop");
    process.on("SIGTERM", stop);
    process.on("SIGINT", stop);
    // The terminal has gone. Reloading will take this signal over; until then it must not end us without a stop.
    process.on("SIGHUP", stop);
    process.on("SIGUSR1", () => this.count("reopen"));
  }

  count(kind: "stop" | "reopen"): void {
    if (kind === "stop") this.#stops++;
    else this.#reopens++;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const wake of waiting) wake();
  }

  get stopping(): boolean {
    return this.#stops > 0;
  }

  /** Resolves once `times` stops were asked for in all. */
  async stopAsked(times: number): Promise<void> {
    while (this.#stops < times) await this.#changed();
  }

  /** Resolves with "stop" from the first stop on, else with each "reopen" as it comes. */
  async next(): Promise<"stop" | "reopen"> {
    while (this.#stops === 0) {
      if (this.#reopens > 0) {
        this.#reopens = 0;
        return "reopen";
      }
      await this.#changed();
    }
    return "stop";
  }

  #changed(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }
}
