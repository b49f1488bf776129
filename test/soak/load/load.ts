import type { Ask } from "./ask.ts";
import { LoadConnection, type Place } from "./connection.ts";
import { type Result, Tally } from "./tally.ts";

export interface LoadOptions {
  readonly connections: number;
  /** The next request to send. */
  readonly next: () => Ask;
  /** How long an answer may take. @default {15_000} */
  readonly hangMs?: number;
  readonly onResult?: (result: Result) => void;
}

const SWEEP_MS = 250;
/** After a failed connect, so that a server that is gone is not asked a million times. */
const PAUSE_AFTER_REFUSAL_MS = 20;

/** Requests on many connections, in a closed loop or at a fixed rate, until stop(). */
export class Load {
  /** What has become of the requests since it was last taken. */
  tally = new Tally();
  /** Requests that were due at the stop and had found no free connection. */
  behind = 0;
  readonly #options: LoadOptions;
  readonly #connections: LoadConnection[];
  readonly #idle: LoadConnection[];
  readonly #hangMs: number;
  readonly #sweep: Timer;
  #stopping = false;
  #outstanding = 0;
  #pauses = new Map<Timer, () => void>();
  #onRest: (() => void) | undefined;
  #left = Number.POSITIVE_INFINITY;
  /** When those requests were due that have found no free connection yet. */
  readonly #due: number[] = [];
  #pacer: Timer | undefined;

  constructor(place: Place, options: LoadOptions) {
    this.#options = options;
    this.#hangMs = options.hangMs ?? 15_000;
    this.#connections = Array.from({ length: options.connections }, () => new LoadConnection(place));
    for (const connection of this.#connections) connection.onStray = (bytes) => this.#stray(bytes);
    this.#idle = [...this.#connections];
    this.#sweep = setInterval(() => {
      const before = performance.now() - this.#hangMs;
      for (const connection of this.#connections) connection.giveUpBefore(before);
    }, SWEEP_MS);
  }

  /** Each connection asks again as soon as it has its answer; `count` requests in all. */
  closed(count = Number.POSITIVE_INFINITY): this {
    this.#left = count;
    for (const connection of this.#idle.splice(0)) this.#again(connection);
    return this;
  }

  /**
   * So many requests a second, whatever becomes of them. One that finds no free connection waits, and the time
   * it waits counts: a server that stalls is not asked less, as a closed loop would.
   */
  atRate(perSecond: number): this {
    const startedMs = performance.now();
    let due = 0;
    this.#pacer = setInterval(() => {
      const nowMs = performance.now();
      for (; startedMs + (due * 1000) / perSecond <= nowMs; due++) {
        this.#due.push(startedMs + (due * 1000) / perSecond);
      }
      this.#sendDue();
    }, 1);
    return this;
  }

  /** Resolves when `count` requests have been made, all answered or given up, or after end(). */
  async made(): Promise<void> {
    if (this.#stopping || (this.#left === 0 && this.#outstanding === 0)) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#onRest = resolve;
    await promise;
  }

  takeTally(): Tally {
    const { tally } = this;
    this.tally = new Tally();
    return tally;
  }

  /** Sends no more, waits for what is outstanding, and closes every connection. */
  async stop(): Promise<Tally> {
    this.#stopping = true;
    clearInterval(this.#pacer);
    this.behind = this.#due.splice(0).length;
    for (const [timer, go] of this.#pauses) {
      clearTimeout(timer);
      go();
    }
    if (this.#outstanding > 0) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#onRest = resolve;
      await promise;
    }
    this.end();
    return this.tally;
  }

  /** Leaves at once, in the middle of whatever it is. */
  end(): void {
    this.#stopping = true;
    clearInterval(this.#pacer);
    clearInterval(this.#sweep);
    for (const connection of this.#connections) connection.close();
    this.#onRest?.();
  }

  #sendDue(): void {
    while (this.#due.length > 0) {
      const connection = this.#idle.pop();
      if (connection === undefined) return;
      this.#send(connection, this.#due.shift()!, () => {
        this.#idle.push(connection);
        this.#sendDue();
      });
    }
  }

  #again(connection: LoadConnection): void {
    if (this.#stopping || this.#left <= 0) return;
    this.#left--;
    this.#send(connection, performance.now(), ({ ending }) => {
      if (ending !== "refused") return this.#again(connection);
      const go = (): void => {
        this.#pauses.delete(timer);
        this.#again(connection);
      };
      const timer = setTimeout(go, PAUSE_AFTER_REFUSAL_MS);
      this.#pauses.set(timer, go);
    });
  }

  #send(connection: LoadConnection, dueMs: number, then: (result: Result) => void): void {
    this.#outstanding++;
    connection.send(this.#options.next(), dueMs, (result) => {
      this.#outstanding--;
      this.tally.add(result);
      this.#options.onResult?.(result);
      then(result);
      if (this.#outstanding === 0 && (this.#stopping || this.#left <= 0)) this.#onRest?.();
    });
  }

  #stray(bytes: Buffer): void {
    const nowMs = performance.now();
    this.tally.add({
      ask: { kind: "nothing", head: "- -", body: null, expected: { status: 0, line: null, crc: null } },
      ending: "wrong",
      status: 0,
      dueMs: nowMs,
      endedMs: nowMs,
      note: `an answer that nobody asked for: ${JSON.stringify(bytes.toString("latin1", 0, 80))}`,
    });
  }
}
