import type { Ask } from "./ask.ts";
import { Histogram } from "./histogram.ts";

/** How a request ended. */
export type Ending =
  | "ok"
  /** An answer that is not that of this request, or not whole although it looks it. The worst there is. */
  | "wrong"
  | "502"
  | "503"
  | "504"
  /** Another status than expected. */
  | "status"
  /** No connection could be made. */
  | "refused"
  | "cut before the head"
  | "cut in the body"
  /** No answer within the time allowed. */
  | "hang";

export interface Result {
  readonly ask: Ask;
  readonly ending: Ending;
  readonly status: number;
  /** When it was due, which in a closed loop is when it was sent; performance.now(). */
  readonly dueMs: number;
  readonly endedMs: number;
  readonly note: string;
}

/** Failures that are told one by one; the rest is only counted. */
const MOST_TOLD = 12;

/** What became of many requests. */
export class Tally {
  readonly endings = new Map<Ending, number>();
  readonly kinds = new Map<string, number>();
  readonly ok = new Histogram();
  readonly refused = new Histogram();
  readonly told: string[] = [];
  total = 0;
  readonly #startedMs = performance.now();

  add(result: Result): void {
    const { ending, ask } = result;
    this.total++;
    this.endings.set(ending, (this.endings.get(ending) ?? 0) + 1);
    this.kinds.set(ask.kind, (this.kinds.get(ask.kind) ?? 0) + 1);
    const tookMs = result.endedMs - result.dueMs;
    if (ending === "ok") this.ok.add(tookMs);
    else if (ending === "503") this.refused.add(tookMs);
    if (ending === "ok" || ending === "503" || this.told.length >= MOST_TOLD) return;
    const at = ((result.endedMs - this.#startedMs) / 1000).toFixed(2);
    this.told.push(
      `${at} s: ${ending}: ${ask.kind} ${ask.head.split(" ", 2)[1]} status ${result.status} after ${tookMs.toFixed(1)} ms ${result.note}`,
    );
  }

  of(...endings: Ending[]): number {
    return endings.reduce((sum, ending) => sum + (this.endings.get(ending) ?? 0), 0);
  }

  get failed(): number {
    return this.total - this.of("ok");
  }

  describe(): string {
    return `${this.total} requests: ${listOf(this.endings) || "none"}`;
  }

  describeKinds(): string {
    return listOf(this.kinds);
  }
}

function listOf(counts: ReadonlyMap<string, number>): string {
  return [...counts].map(([name, count]) => `${count} ${name}`).join(", ");
}
