import { Outcome, Phase, RequestOption } from "../../ffi/layout.ts";
import type { SlotNews } from "../../ffi/pool-memory.ts";
import { PhprunError } from "../errors.ts";
import type { Job, JobFacts, Loss, Refusal } from "./job.ts";
import type { Slots } from "./slots.ts";
import { describeExit } from "./workers.ts";

/** The request a new generation must answer. */
export interface Probe {
  /** The request block, and how many values are in it. */
  readonly text: string;
  readonly values: number;
  /** The URL path; null: PHP itself answers that it runs, without a script. */
  readonly path: string | null;
  readonly script: string;
  readonly timeoutMs: number;
}

/** So much of a bad answer is told. */
const TOLD_BYTES = 300;

/** A request of our own: is this generation fit for others? */
export class ProbeJob implements Job {
  readonly isProbe = true;
  readonly settled = false;
  readonly stalled = false;
  readonly repeatable = false;
  /** Rejects with the reason when the answer is not a good one. */
  readonly answered: Promise<void>;
  readonly #probe: Probe;
  readonly #resolve: () => void;
  readonly #reject: (error: unknown) => void;
  #slots: Slots | undefined;
  #slot = -1;
  #body = "";

  constructor(probe: Probe) {
    this.#probe = probe;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.answered = promise;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  get about(): { script: string; uri: string } {
    return { script: this.#probe.script, uri: this.#probe.path ?? "phprun's own probe" };
  }

  get facts(): JobFacts {
    return { id: 0, method: "GET", ...this.about, requestId: null, remoteAddr: "" };
  }

  start(slots: Slots, slot: number): void {
    this.#slots = slots;
    this.#slot = slot;
    const { memory } = slots;
    const blockBytes = memory.bytes.latin1Write(
      this.#probe.text,
      memory.requestAt(slot),
      memory.requestBytes,
    );
    memory.describe(slot, {
      id: 0,
      blockBytes,
      blockValues: this.#probe.values,
      bodyInline: true,
      bodyBytes: 0,
      bodyOffset: blockBytes,
      options: this.#probe.path === null ? RequestOption.probe : 0,
    });
  }

  returned(): void {
    this.#slot = -1;
  }

  news(news: SlotNews): boolean {
    this.#takeBody(news.used);
    if (news.phase !== Phase.ended) return true;
    const status = this.#slots?.memory.status(this.#slot) ?? 0;
    if (news.outcome & Outcome.timedOut) this.giveUp("it exceeded the pool's timeout_ms");
    else if (status < 200 || status > 399) this.giveUp(`status ${status}${this.#told()}`);
    else if (news.outcome & Outcome.fatal) this.giveUp(`a fatal error${this.#told()}`);
    else this.#resolve();
    return true;
  }

  tick(): void {}

  refused(why: Refusal): void {
    this.giveUp(why);
  }

  lost(why: Loss): void {
    this.giveUp(why.kind === "died" ? `the worker died: ${describeExit(why.exit)}` : why.kind);
  }

  giveUp(reason: string): void {
    const { path } = this.#probe;
    const what = path === null ? "PHP" : `The health check ${path}`;
    this.#reject(new PhprunError("PROBE", `${what} did not answer well: ${reason}`));
  }

  #takeBody(bytes: number): void {
    const memory = this.#slots?.memory;
    if (memory === undefined || bytes === 0) return;
    if (this.#body.length < TOLD_BYTES) {
      const start = memory.bodyAt(this.#slot);
      this.#body += memory.bytes.latin1Slice(start, start + Math.min(bytes, TOLD_BYTES));
    }
    memory.consume(this.#slot, bytes);
  }

  #told(): string {
    const text = this.#body
      .replace(/<[^>]*>/g, " ")
      .replace(/\s+/g, " ")
      .trim();
    return text === "" ? "" : `: ${text.slice(0, TOLD_BYTES)}`;
  }
}
