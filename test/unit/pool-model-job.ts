import { Outcome, Phase, RequestOption } from "../../ffi/layout.ts";
import type { SlotNews } from "../../ffi/pool-memory.ts";
import type { Job, JobFacts, Loss, Refusal } from "../../src/pool/job.ts";
import type { Slots } from "../../src/pool/slots.ts";

/** Of src/http/exchange.ts. */
const MOST_ATTEMPTS = 2;
/** What the scripts of pool-model-worker.c send. */
const BODY_BYTES = { w: 8, e: 8, s: 40 } as const;

export type ScriptKind = keyof typeof BODY_BYTES;

export function must(holds: boolean, rule: string): asserts holds {
  if (!holds) throw new Error(rule);
}

/** What the model has to know of a job while it happens. */
export interface JobWatch {
  starting(job: JobDouble, slots: Slots, slot: number): void;
  returned(job: JobDouble): void;
}

/**
 * A job that does with its slot what an exchange does, and minds that the pool keeps to its side: it is started only
 * when it has no slot, hears of its own slot alone, and ends once.
 */
export class JobDouble implements Job {
  readonly isProbe = false;
  readonly about = {};
  settled = false;
  /** How it was settled. */
  how: "answered" | "timed-out" | "refused" | "lost" | "left" | undefined;
  place: { readonly slots: Slots; readonly slot: number } | undefined;
  /** It had a worker that died: the time it ran is not time it waited, so others may go first. */
  lostItsTurn = false;
  /** So often a worker began with its script. */
  runs = 0;
  starts = 0;
  returns = 0;
  /** Its stream has ended: all of it was read, or it was cut. */
  streamEnd: "whole" | "cut" | "abandoned" | undefined;

  readonly number: number;
  readonly dispatchedAtMs: number;
  readonly kind: ScriptKind;
  readonly #safe: boolean;
  /** Takes at once what there is; otherwise `read` does. */
  #eager: boolean;
  readonly #watch: JobWatch;
  #attempts = 0;
  #streaming = false;
  #available = 0;
  #readAt = 0;
  #received = 0;
  #complete = false;
  #cut = false;
  #ended = false;
  #releaseWhenRead = false;

  constructor(number: number, kind: ScriptKind, safe: boolean, eager: boolean, watch: JobWatch) {
    this.number = number;
    this.dispatchedAtMs = performance.now();
    this.kind = kind;
    this.#safe = safe;
    this.#eager = eager;
    this.#watch = watch;
  }

  get stalled(): boolean {
    return this.#streaming && !this.#eager && this.#available > 0;
  }

  get repeatable(): boolean {
    return this.#attempts < MOST_ATTEMPTS && !this.settled && this.#safe;
  }

  get facts(): JobFacts {
    return { id: this.number, method: "GET", uri: "/", script: "", requestId: null, remoteAddr: "" };
  }

  start(slots: Slots, slot: number): void {
    must(this.place === undefined, "a job is in one place");
    must(!this.settled, "a job that is settled is not started");
    must(this.starts === this.returns, "a job is started again only when it was returned");
    this.#watch.starting(this, slots, slot);
    this.starts++;
    this.#attempts++;
    this.place = { slots, slot };
    const { memory } = slots;
    memory.bytes.latin1Write(this.kind, memory.requestAt(slot), memory.requestBytes);
    memory.describe(slot, {
      id: this.number,
      blockBytes: 1,
      blockValues: 0,
      bodyInline: true,
      bodyBytes: 0,
      bodyOffset: 1,
      options: RequestOption.https,
    });
  }

  returned(tried: boolean): void {
    must(this.starts > this.returns, "a job is returned only when it was started");
    must(!this.#streaming, "a job that has been answered in part is not started again");
    this.returns++;
    if (tried) this.lostItsTurn = true;
    else this.#attempts--;
    this.place = undefined;
    this.#watch.returned(this);
  }

  news(news: SlotNews): boolean {
    const { place } = this;
    must(place !== undefined, "only a job with a slot has news of one");
    must(place.slots.memory.requestId(place.slot) === this.number, "a job hears of its own slot");
    this.#ended = news.phase === Phase.ended;
    const complete = this.#ended || news.phase === Phase.responded;
    const cut = (news.outcome & Outcome.truncated) !== 0;
    if (this.#streaming) return this.#streamNews(news.used, complete, cut);
    if (this.settled) {
      if (!complete && news.used > 0) place.slots.memory.consume(place.slot, news.used);
      return true;
    }
    if (complete) return this.#answerWhole(news, cut);
    if ((news.outcome & Outcome.head) === 0) return true;
    this.#stream();
    this.#streamNews(news.used, false, false);
    return false;
  }

  tick(): void {}

  refused(_why: Refusal): void {
    must(this.place === undefined, "a job with a slot is not refused");
    this.#settle("refused");
  }

  lost(why: Loss): void {
    must(this.place !== undefined, "only a job with a slot is lost");
    this.place = undefined;
    if (!this.#streaming) {
      if (!this.settled) this.#settle(why.kind === "killed-by-deadline" ? "timed-out" : "lost");
      return;
    }
    this.#available = 0;
    this.streamEnd ??= "cut";
  }

  /** Its slot has been given to others. */
  released(): void {
    must(this.place !== undefined, "a slot is released once");
    must(this.#ended, "a slot is released when its worker is done with it");
    must(!this.#streaming || this.streamEnd !== undefined, "a slot is released when it was read to its end");
    must(this.settled, "a job that is not answered keeps its slot");
    this.place = undefined;
  }

  leave(): void {
    if (this.#ended && !this.#streaming) return;
    if (this.place !== undefined && !this.#ended) this.place.slots.memory.clientGone(this.place.slot);
    if (!this.#streaming) {
      if (!this.settled) this.#settle("left");
      return;
    }
    if (this.streamEnd !== undefined) return;
    this.streamEnd = "abandoned";
    this.#finishSlot();
  }

  /** From now on its answer is taken as it comes, or no longer. */
  changeMind(): void {
    this.#eager = !this.#eager;
  }

  /** The client takes what there is. */
  read(most = Number.POSITIVE_INFINITY): void {
    const { place } = this;
    if (!this.#streaming || place === undefined || this.streamEnd !== undefined) return;
    const { memory } = place.slots;
    must(memory.requestId(place.slot) === this.number, "a stream reads from its own slot");
    const bytes = Math.min(most, this.#available);
    this.#check(memory.bytes, memory.bodyAt(place.slot), memory.bodySize(place.slot), bytes);
    this.#available -= bytes;
    if (bytes > 0) memory.consume(place.slot, bytes);
    if (this.#available > 0 || !this.#complete) return;
    this.#endStream();
    this.#finishSlot();
  }

  #answerWhole(news: SlotNews, cut: boolean): boolean {
    if (news.outcome & Outcome.timedOut) this.#settle("timed-out");
    else if (news.outcome & Outcome.notRun)
      must(false, "a job whose client is there is run"); // Its own `leave` has settled it.
    else if (this.#eager && news.used === BODY_BYTES[this.kind] && !cut) {
      const { slots, slot } = this.place!;
      this.#check(slots.memory.bytes, slots.memory.bodyAt(slot), slots.memory.bodySize(slot), news.used);
      this.#settle("answered");
    } else {
      this.#stream();
      return this.#streamNews(news.used, true, cut);
    }
    return true;
  }

  #stream(): void {
    this.#streaming = true;
    this.#settle("answered");
  }

  #streamNews(used: number, complete: boolean, cut: boolean): boolean {
    if (this.streamEnd === "abandoned") return complete;
    this.#available = used;
    this.#complete = complete;
    this.#cut = cut;
    // As a stream whose client is slow does: it may be done with the slot before this call returns.
    if (this.#eager) this.read();
    if (!complete) return false;
    if (this.#available === 0) {
      if (this.streamEnd === undefined) this.#endStream();
      return true;
    }
    this.#releaseWhenRead = true;
    return false;
  }

  #endStream(): void {
    this.streamEnd = this.#cut ? "cut" : "whole";
    if (!this.#cut) must(this.#received === BODY_BYTES[this.kind], "what is not whole does not look whole");
  }

  #finishSlot(): void {
    if (!this.#releaseWhenRead) return;
    this.#releaseWhenRead = false;
    const { place } = this;
    if (this.#ended && place !== undefined) place.slots.release(place.slot);
  }

  #check(bytes: Buffer, start: number, size: number, count: number): void {
    for (let i = 0; i < count; i++) {
      const expected = (this.number >>> (8 * ((this.#received + i) % 4))) & 255;
      const found = bytes[start + ((this.#readAt + i) % size)];
      must(found === expected, `the answer to job ${this.number} is its own`);
    }
    this.#received += count;
    this.#readAt = (this.#readAt + count) % size;
  }

  #settle(how: NonNullable<JobDouble["how"]>): void {
    must(!this.settled, "a job ends once");
    this.settled = true;
    this.how = how;
  }
}
