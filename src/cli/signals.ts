export type Asked = "stop" | "reload" | "reopen";

/**
 * What a server is asked to do by signals, as counts. Handlers only count; who waits reads the counts, so that nothing
 * is lost and nothing is done inside a handler.
 */
export class Signals {
  #stops = 0;
  #reloads = 0;
  #reopens = 0;
  #waiting: (() => void)[] = [];

  listen(): void {
    const stop = () => this.count("stop");
    process.on("SIGTERM", stop);
    process.on("SIGINT", stop);
    // As php-fpm and nginx: a gentle stop.
    process.on("SIGQUIT", stop);
    process.on("SIGHUP", () => this.count("reload"));
    // php-fpm's.
    process.on("SIGUSR2", () => this.count("reload"));
    process.on("SIGUSR1", () => this.count("reopen"));
  }

  count(kind: Asked): void {
    if (kind === "stop") this.#stops++;
    else if (kind === "reload") this.#reloads++;
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

  /** Resolves with "stop" from the first stop on, else with what else is asked, each time it is. */
  async next(): Promise<Asked> {
    while (this.#stops === 0) {
      if (this.#reopens > 0) {
        this.#reopens = 0;
        return "reopen";
      }
      if (this.#reloads > 0) {
        this.#reloads = 0;
        return "reload";
      }
      await this.#changed();
    }
    return "stop";
  }

  #changed(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }
}
