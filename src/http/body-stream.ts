import type { PoolMemory, SlotNews } from "../../ffi/pool-memory.ts";

/** Thrown into Bun to cut the connection: a body that is not whole must not look whole. */
class CutShort extends Error {}

const SLOW_AFTER_MS = 25;

interface DirectController {
  write(bytes: Uint8Array): number | Promise<number>;
  flush(): number | Promise<number>;
  end(): void;
}

/**
 * A response that does not fit its slot, or was flushed: bytes go from the slot's ring to the client as they
 * come. While the client is slow they are taken ahead up to `mostAhead` bytes; beyond that the worker waits.
 */
export class BodyStream {
  readonly stream: ReadableStream<Uint8Array>;
  /** Sent so far. */
  bytes = 0;
  /** When the client last took something while we were waiting for it; 0 when we are not. */
  blockedSinceMs = 0;

  readonly #memory: PoolMemory;
  readonly #slot: number;
  readonly #mostAhead: number;
  /** Bytes of the ring that we know of and have not consumed. */
  #available = 0;
  #readAt = 0;
  #ahead: Uint8Array[] = [];
  #aheadBytes = 0;
  #complete = false;
  #cut = false;
  #slotDone = false;
  #onSlotDone: (() => void) | undefined;
  #onDone: () => void;
  #wake: (() => void) | undefined;

  /** `mostAhead`: so many bytes are taken from the worker ahead of a slow client. */
  constructor(memory: PoolMemory, slot: number, mostAhead: number, onDone: () => void) {
    this.#memory = memory;
    this.#slot = slot;
    this.#mostAhead = mostAhead;
    this.#onDone = onDone;
    this.stream = new ReadableStream({
      type: "direct",
      pull: (controller: DirectController) => this.#pump(controller),
      cancel: () => this.abandon(),
    } as unknown as Bun.UnderlyingSource<Uint8Array>);
  }

  /** Is the worker held up by the client? */
  get stalled(): boolean {
    return this.blockedSinceMs !== 0 && this.#available > 0;
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
      const wake = this.#wake;
      this.#wake = undefined;
      wake();
    } else if (this.#isSlow()) {
      this.#takeAhead();
    }
    if (!complete) return false;
    if (this.#available === 0 || this.#slotDone) return true;
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
    this.#wake?.();
    this.#wake = undefined;
  }

  /** The client has left: read no more, and let the worker run into it. */
  abandon(): void {
    if (this.#slotDone) return;
    this.#slotDone = true;
    this.#ahead = [];
    this.#aheadBytes = 0;
    this.#wake?.();
    this.#wake = undefined;
    this.#finishSlot();
    this.#onDone();
  }

  async #pump(controller: DirectController): Promise<void> {
    for (;;) {
      if (this.#slotDone) return;
      const ahead = this.#ahead.shift();
      if (ahead !== undefined) {
        this.#aheadBytes -= ahead.length;
        const written = this.#write(controller, ahead);
        if (written !== undefined) await written;
      } else if (this.#available > 0) {
        // Bun has copied or sent the bytes when write() returns, so the view need not live longer.
        const view = this.#view();
        const written = this.#write(controller, view);
        this.#consume(view.length);
        if (written !== undefined) await written;
      } else if (this.#complete) {
        this.#slotDone = true;
        this.#onDone();
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
    return this.blockedSinceMs !== 0 && performance.now() - this.blockedSinceMs > SLOW_AFTER_MS;
  }

  #takeAhead(): void {
    while (this.#available > 0 && this.#aheadBytes < this.#mostAhead) {
      const copy = new Uint8Array(this.#view());
      this.#ahead.push(copy);
      this.#aheadBytes += copy.length;
      this.#consume(copy.length);
    }
  }

  #finishSlot(): void {
    const done = this.#onSlotDone;
    this.#onSlotDone = undefined;
    done?.();
  }
}
