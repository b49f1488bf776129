import type { Log, LogFields } from "./log.ts";

const REMEMBERED = 1000;

/** Says the same thing once: for what clients can cause as often as they like. */
export class OnceEach {
  readonly #log: Log;
  readonly #said = new Set<string>();

  constructor(log: Log) {
    this.#log = log;
  }

  warn(message: string, fields: LogFields = {}): void {
    const key = `${message} ${JSON.stringify(fields)}`;
    if (this.#said.has(key) || this.#said.size >= REMEMBERED) return;
    this.#said.add(key);
    this.#log.warn(message, fields);
  }
}

/** Counts what comes in floods, and tells of each kind once a second at most. */
export class Floods {
  readonly #log: Log;
  readonly #intervalMs: number;
  readonly #counts = new Map<string, number>();

  constructor(log: Log, intervalMs = 1000) {
    this.#log = log;
    this.#intervalMs = intervalMs;
  }

  /** The first of a kind is logged at once; those of the next second together when it is over. */
  warn(message: string, fields: LogFields): void {
    const count = this.#counts.get(message);
    if (count !== undefined) {
      this.#counts.set(message, count + 1);
      return;
    }
    this.#log.warn(message, fields);
    this.#counts.set(message, 0);
    setTimeout(() => this.#tell(message, fields), this.#intervalMs).unref();
  }

  #tell(message: string, fields: LogFields): void {
    const more = this.#counts.get(message) ?? 0;
    this.#counts.delete(message);
    if (more > 0)
      this.#log.warn(`${message} (${more} more within ${this.#intervalMs / 1000} s)`, {
        pool: fields["pool"],
      });
  }
}
