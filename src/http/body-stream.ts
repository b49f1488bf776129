import type { PoolMemory, SlotNews } from "../../ffi/pool-memory.ts";
import { AnswerSpool, canSpoolTo, restSpoolTo } from "./answer-spool.ts";

/** Thrown into Bun to cut the connection: a body that is not whole must not look whole. */
class CutShort extends Error {}

/** What a client takes longer for than this is taken ahead into memory. */
const SLOW_AFTER_MS = 25;
/** One that has not caught up with what is in memory for this long gets a file: most that lag for a moment do. */
const SPOOL_AFTER_MS = 200;

/** What may be taken from a worker ahead of a slow client. */
export interface AheadLimits {
  /** Bytes kept in memory. */
  readonly inMemory: number;
  /** Bytes beyond those, kept in a file. */
  readonly inFile: number;
  /** Folder of that file. */
  readonly folder: string;
}

export interface BodyStreamHooks {
  /** The client has all of it, or has left. */
  done(): void;
  /** Nothing can be put in a file just now: the worker waits instead. Told once for all answers that meet it. */
  cannotSpool(error: unknown): void;
  /** What was put in a file cannot be had back: the answer is lost. */
  broken(error: unknown): void;
}

interface DirectController {
  write(bytes: Uint8Array): number | Promise<number>;
  flush(): number | Promise<number>;
  end(): void;
}

/**
 * A response that does not fit its slot, or was flushed: bytes go from the slot's ring to the client as they
 * come. While the client is slow they are taken ahead: into memory, then into a file, and beyond that the worker
 * waits. While the file holds something, all that comes goes there, so that the order is kept.
 */
export class BodyStream {
  readonly stream: ReadableStream<Uint8Array>;
  /** Sent so far. */
  bytes = 0;
  /** When the client last took something while we were waiting for it; 0 when we are not. */
  blockedSinceMs = 0;

  readonly #memory: PoolMemory;
  readonly #slot: number;
  readonly #limits: AheadLimits;
  readonly #hooks: BodyStreamHooks;
  /** Bytes of the ring that we know of and have not consumed. */
  #available = 0;
  #readAt = 0;
  #ahead: Uint8Array[] = [];
  #aheadBytes = 0;
  /** Since when something has been ahead; 0 while the client is level with the worker. */
  #aheadSinceMs = 0;
  #spool: AnswerSpool | undefined;
  /** Bytes of the ring are on their way into the file. */
  #spooling = false;
  #complete = false;
  #cut = false;
  #done = false;
  #onSlotDone: (() => void) | undefined;
  #wake: (() => void) | undefined;

  constructor(memory: PoolMemory, slot: number, limits: AheadLimits, hooks: BodyStreamHooks) {
    this.#memory = memory;
    this.#slot = slot;
    this.#limits = limits;
    this.#hooks = hooks;
    this.stream = new ReadableStream({
      type: "direct",
      pull: (controller: DirectController) => this.#pump(controller),
      cancel: () => this.abandon(),
    } as unknown as Bun.UnderlyingSource<Uint8Array>);
  }

  /** Is the worker held up by the client? */
  get stalled(): boolean {
    // While its bytes go into the file it is the file that it waits for.
    return this.#available > 0 && this.hasClientWaiting && (this.#complete || !this.#spooling);
  }

  /** Is there something that the client has not taken, beside what is in the ring? */
  get hasClientWaiting(): boolean {
    return !this.#done && (this.blockedSinceMs !== 0 || this.#ahead.length > 0 || this.#spool !== undefined);
  }

  /**
   * There is more in the ring, or the response is complete. Returns whether the ring has been read to its end;
   * if not, `onRead` is called once it has.
   */
  news(news: SlotNews, complete: boolean, cut: boolean, onRead: () => void): boolean {
    this.#available = news.used;
    this.#complete = complete;
    this.#cut = cut;
    if (this.#wake !== undefined) {
      this.#rouse();
    } else if (this.#isSlow()) {
      this.#takeAhead();
    }
    if (!complete) return false;
    if (this.#available === 0 || this.#done) return true;
    this.#onSlotDone = onRead;
    return false;
  }

  /** Called a few times a second: a client that has been slow for a while must not hold the worker. */
  tick(): void {
    if (this.#isSlow()) this.#takeAhead();
  }

  /** The worker is gone: what came is all that will come. */
  cut(): void {
    // The slot is about to be reused: nothing more may be read from it.
    this.#available = 0;
    this.#complete = true;
    this.#cut = true;
    this.#rouse();
  }

  /** The client has left: read no more, and let the worker run into it. */
  abandon(): void {
    if (this.#done) return;
    this.#done = true;
    // Nobody is waited for any more: the deadline of the script goes on.
    this.blockedSinceMs = 0;
    this.#ahead = [];
    this.#aheadBytes = 0;
    this.#closeSpool();
    this.#rouse();
    this.#finishSlot();
    this.#hooks.done();
  }

  async #pump(controller: DirectController): Promise<void> {
    for (;;) {
      // Of a client that was given up, the connection is still there: it must not see an end.
      if (this.#done) throw new CutShort("The response was abandoned");
      const ahead = this.#ahead.shift();
      if (ahead !== undefined) {
        this.#aheadBytes -= ahead.length;
        const written = this.#write(controller, ahead);
        if (written !== undefined) await written;
      } else if (this.#spool !== undefined && this.#spool.bytes > 0) {
        await this.#sendSpooled(controller, this.#spool);
      } else if (this.#available > 0 && !this.#spooling) {
        this.#closeSpool();
        this.#aheadSinceMs = 0;
        // Bun has copied or sent the bytes when write() returns, so the view need not live longer.
        const view = this.#view();
        const written = this.#write(controller, view);
        this.#consume(view.length);
        if (written !== undefined) await written;
      } else if (this.#complete && !this.#spooling) {
        this.#done = true;
        this.#closeSpool();
        this.#hooks.done();
        if (this.#cut) throw new CutShort("The response was cut short");
        controller.end();
        return;
      } else {
        controller.flush();
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    }
  }

  #write(controller: DirectController, bytes: Uint8Array): Promise<void> | undefined {
    this.bytes += bytes.length;
    const written = controller.write(bytes);
    if (typeof written === "number") return undefined;
    this.blockedSinceMs = performance.now();
    return written.then(
      () => {
        this.blockedSinceMs = 0;
      },
      () => this.abandon(),
    );
  }

  /** The longest contiguous piece of the ring. */
  #view(): Uint8Array {
    const memory = this.#memory;
    const start = memory.bodyAt(this.#slot) + this.#readAt;
    const length = Math.min(this.#available, memory.bodySize(this.#slot) - this.#readAt);
    // Only what a script has written into the pool's memory can say so; there is nothing more to be had from it.
    if (!(length > 0)) this.cut();
    return memory.bytes.subarray(start, start + length);
  }

  #consume(bytes: number): void {
    const memory = this.#memory;
    this.#readAt = (this.#readAt + bytes) % memory.bodySize(this.#slot);
    this.#available -= bytes;
    memory.consume(this.#slot, bytes);
    if (this.#available === 0 && this.#complete) this.#finishSlot();
  }

  /** A client that takes its bytes as they come is blocked too, for moments; copying for it would only cost. */
  #isSlow(): boolean {
    if (this.#spool !== undefined) return true;
    return this.blockedSinceMs !== 0 && performance.now() - this.blockedSinceMs > SLOW_AFTER_MS;
  }

  #takeAhead(): void {
    if (this.#done) return;
    if (this.#aheadSinceMs === 0) this.#aheadSinceMs = performance.now();
    while (this.#available > 0 && this.#spool === undefined && this.#aheadBytes < this.#limits.inMemory) {
      const copy = new Uint8Array(this.#view());
      this.#ahead.push(copy);
      this.#aheadBytes += copy.length;
      this.#consume(copy.length);
    }
    if (this.#room() > 0 && !this.#spooling) void this.#spoolRing();
  }

  /** How much of the ring may go into the file now. */
  #room(): number {
    const { inFile, folder } = this.#limits;
    if (this.#available === 0 || inFile === 0 || !canSpoolTo(folder)) return 0;
    if (performance.now() - this.#aheadSinceMs < SPOOL_AFTER_MS) return 0;
    return Math.min(this.#available, inFile - (this.#spool?.bytes ?? 0));
  }

  /** Moves the ring into the file until the client has caught up, piece by piece: no disk holds up the others. */
  async #spoolRing(): Promise<void> {
    this.#spooling = true;
    try {
      this.#spool ??= new AnswerSpool(this.#limits.folder);
      const spool = this.#spool;
      do {
        const written = await spool.write(this.#view().subarray(0, this.#room()));
        // The client has left, or the worker is gone and the slot is somebody else's.
        if (this.#done || this.#available === 0) break;
        spool.keep(written);
        this.#consume(written);
        this.#rouse();
      } while (this.#room() > 0 && (spool.bytes > 0 || this.#ahead.length > 0));
    } catch (error) {
      const isOurs = !this.#done && this.#available > 0;
      if (isOurs && restSpoolTo(this.#limits.folder)) this.#hooks.cannotSpool(error);
    }
    this.#spooling = false;
    if (this.#spool?.bytes === 0) this.#closeSpool();
    this.#rouse();
  }

  async #sendSpooled(controller: DirectController, spool: AnswerSpool): Promise<void> {
    try {
      await spool.take((bytes) => (this.#done ? undefined : this.#write(controller, bytes)));
    } catch (error) {
      if (!this.#done) this.#hooks.broken(error);
      throw new CutShort("The response was cut short", { cause: error });
    }
    if (spool.bytes === 0 && !this.#spooling) this.#closeSpool();
    this.#takeAhead();
  }

  #closeSpool(): void {
    this.#spool?.close();
    this.#spool = undefined;
  }

  #rouse(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }

  #finishSlot(): void {
    const done = this.#onSlotDone;
    this.#onSlotDone = undefined;
    done?.();
  }
}
