import { closeSync } from "node:fs";
import { constants } from "node:os";
import { type Pointer, toArrayBuffer } from "bun:ffi";
import type { Layout } from "./layout.ts";
import { PhprunError } from "../src/errors.ts";
import { check, transport } from "./transport.ts";

export interface PoolMemoryOptions {
  readonly slots: number;
  readonly workers: number;
  readonly requestBytes: number;
  readonly responseBytes: number;
}

const RING_FULL = -constants.errno.EAGAIN;
/** PHPRUN_FUNCTION_BYTES */
const FUNCTION_BYTES = 192;

/** Buffer's own methods, which its types leave out: one native call each, without an encoding to look up. */
interface Latin1Methods {
  latin1Write(text: string, offset: number, length: number): number;
  latin1Slice(start: number, end: number): string;
}

/** What the front sees of a slot when there is news of it. */
export interface SlotNews {
  phase: number;
  outcome: number;
  /** Bytes in the body ring. */
  used: number;
}

export interface WorkerRecord {
  readonly state: number;
  readonly pid: number;
  readonly generation: number;
  readonly requests: number;
  /** When its request started, in nanoseconds of CLOCK_MONOTONIC; 0 when idle. */
  readonly startedNs: number;
  /** Peak of PHP's heap in the last request. */
  readonly memoryBytes: number;
  /** Resident memory less what is shared, when the worker last looked. */
  readonly ownBytes: number;
  readonly droppedLogs: number;
  /** Why it ended of its own accord: `Leaving`. */
  readonly leaving: number;
  /** Worker mode: when its script first asked for a request; 0: not yet. */
  readonly bootedNs: number;
  /** Where a crash found it; empty when not known. */
  readonly lastFunction: string;
}

/** The shared memory of one pool, from the front's side. See ffi/transport/transport.h. */
export class PoolMemory {
  /** To be inherited by hosts. */
  readonly fd: number;
  readonly slotCount: number;
  readonly requestBytes: number;
  readonly responseBytes: number;
  /** The whole mapping. Views of it are valid until close(). */
  bytes: Buffer<ArrayBuffer> & Latin1Methods;
  #words: Uint32Array;
  #longs: BigUint64Array;
  readonly #layout: Layout;
  readonly #symbols: ReturnType<typeof transport>["symbols"];
  readonly #pool: Pointer;
  readonly #slotsAt: number;
  readonly #workersAt: number;
  readonly #requestsAt: number;
  readonly #responsesAt: number;
  #closed = false;
  readonly #news: SlotNews = { phase: 0, outcome: 0, used: 0 };

  constructor(options: PoolMemoryOptions) {
    const { symbols, layout } = transport();
    this.#symbols = symbols;
    this.#layout = layout;
    this.fd = check(
      symbols.phprun_pool_create(options.slots, options.workers, options.requestBytes, options.responseBytes),
      "make the shared memory of a pool",
    );
    const pool = symbols.phprun_pool_map(this.fd);
    const base = pool === null ? null : symbols.phprun_pool_base(pool);
    if (pool === null || base === null) {
      closeSync(this.fd);
      throw new PhprunError(
        "SYSTEM",
        "Cannot map the shared memory of a pool: not enough memory or address space",
      );
    }
    this.#pool = pool as Pointer;
    const header = new DataView(toArrayBuffer(base as Pointer, 0, 4096));
    const total = Number(header.getBigUint64(layout.headerTotalBytes, true));
    const mapping = toArrayBuffer(base as Pointer, 0, total);
    this.bytes = Buffer.from(mapping) as Buffer<ArrayBuffer> & Latin1Methods;
    this.#words = new Uint32Array(mapping);
    this.#longs = new BigUint64Array(mapping);
    this.slotCount = options.slots;
    this.requestBytes = header.getUint32(layout.headerRequestBytes, true);
    this.responseBytes = header.getUint32(layout.headerResponseBytes, true);
    this.#slotsAt = header.getUint32(layout.headerSlotsAt, true);
    this.#workersAt = header.getUint32(layout.headerWorkersAt, true);
    this.#requestsAt = Number(header.getBigUint64(layout.headerRequestsAt, true));
    this.#responsesAt = Number(header.getBigUint64(layout.headerResponsesAt, true));
  }

  /** Gives the memory back. Whoever still holds a slot of it reads nothing from then on. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    // Before the mapping goes: a view of it would read from an address that is somebody else's by then.
    this.bytes = Buffer.alloc(0) as Buffer<ArrayBuffer> & Latin1Methods;
    this.#words = new Uint32Array(0);
    this.#longs = new BigUint64Array(0);
    this.#symbols.phprun_pool_unmap(this.#pool);
    closeSync(this.fd);
  }

  /** Where a slot's request buffer starts in `bytes`. */
  requestAt(slot: number): number {
    return this.#requestsAt + slot * this.requestBytes;
  }

  /** Describes the request in a slot's buffer. `bodyOffset` is in the spool file unless the body is inline. */
  describe(
    slot: number,
    request: {
      id: number;
      blockBytes: number;
      blockValues: number;
      bodyInline: boolean;
      bodyBytes: number;
      bodyOffset: number;
      options: number;
    },
  ): void {
    const at = this.#slotsAt + slot * this.#layout.slotBytes;
    const words = this.#words;
    const layout = this.#layout;
    words[(at + layout.slotId) >> 2] = request.id;
    words[(at + layout.slotBlockBytes) >> 2] = request.blockBytes;
    words[(at + layout.slotBlockValues) >> 2] = request.blockValues;
    words[(at + layout.slotBodyInline) >> 2] = request.bodyInline ? 1 : 0;
    words[(at + layout.slotOptions) >> 2] = request.options;
    this.#setLong(at + layout.slotBodyBytes, request.bodyBytes);
    this.#setLong(at + layout.slotBodyOffset, request.bodyOffset);
  }

  /** Hands a slot to the workers; none is woken before wakeWorker(). False when the ring has no room just now. */
  submit(slot: number): boolean {
    if (this.#closed) return false;
    const result = this.#symbols.phprun_submit(this.#pool, slot);
    return result === RING_FULL ? false : check(result, `submit slot ${slot}`) === 0;
  }

  /** Takes a submitted slot back. False when a worker was quicker. */
  withdraw(slot: number): boolean {
    if (this.#closed) return false;
    return this.#symbols.phprun_withdraw(this.#pool, slot) === 1;
  }

  /** What a worker may hold after a request before it ends to be replaced; 0: no limit. */
  setMemoryLimit(bytes: number): void {
    if (this.#closed) return;
    this.#symbols.phprun_set_memory_limit(this.#pool, bytes);
  }

  /** What a worker that is a thread may hold during a request before it ends it; 0: no limit. */
  setHardMemoryLimit(bytes: number): void {
    if (this.#closed) return;
    this.#symbols.phprun_set_memory_kill(this.#pool, bytes);
  }

  /** Asks where a worker is in a request; the answer comes on the log channel. */
  look(worker: number, requestId: number): void {
    if (this.#closed) return;
    this.#symbols.phprun_worker_look(this.#pool, worker, requestId);
  }

  /** After one or several submissions: wakes one worker, which wakes the next while work is left. */
  wakeWorker(): void {
    if (this.#closed) return;
    this.#symbols.phprun_wake_one_worker(this.#pool);
  }

  beginDrain(): void {
    if (this.#closed) return;
    this.#symbols.phprun_begin_drain(this.#pool);
  }

  /** The next slot with news, or -1. */
  nextCompleted(): number {
    if (this.#closed) return -1;
    return this.#symbols.phprun_next_completed(this.#pool);
  }

  /** The snapshot taken by nextCompleted(). The object is reused by the next call. */
  news(slot: number): SlotNews {
    const at = this.#slotsAt + slot * this.#layout.slotBytes;
    this.#news.phase = this.#word(at + this.#layout.slotSeenPhase);
    this.#news.outcome = this.#word(at + this.#layout.slotSeenOutcome);
    this.#news.used = this.#word(at + this.#layout.slotSeenUsed);
    return this.#news;
  }

  requestId(slot: number): number {
    return this.#word(this.#slotField(slot, this.#layout.slotId));
  }

  status(slot: number): number {
    return this.#word(this.#slotField(slot, this.#layout.slotStatus));
  }

  /** The response head: name, NUL, value, NUL, … as one byte string. */
  head(slot: number): string {
    const at = this.#responsesAt + slot * this.responseBytes;
    return this.bytes.latin1Slice(at, at + this.#word(this.#slotField(slot, this.#layout.slotHeadBytes)));
  }

  /** Where the body ring lies in `bytes`. */
  bodyAt(slot: number): number {
    return (
      this.#responsesAt +
      slot * this.responseBytes +
      this.#word(this.#slotField(slot, this.#layout.slotBodyAt))
    );
  }

  bodySize(slot: number): number {
    return this.#word(this.#slotField(slot, this.#layout.slotBodySize));
  }

  /** Nanoseconds PHP spent on the request, in milliseconds. */
  phpMilliseconds(slot: number): number {
    const started = this.#long(this.#slotField(slot, this.#layout.slotStartedNs));
    const ended = this.#long(this.#slotField(slot, this.#layout.slotEndedNs));
    return ended > started ? (ended - started) / 1e6 : 0;
  }

  consume(slot: number, bytes: number): void {
    if (this.#closed) return;
    this.#symbols.phprun_consume(this.#pool, slot, bytes);
  }

  clientGone(slot: number): void {
    if (this.#closed) return;
    this.#symbols.phprun_client_gone(this.#pool, slot);
  }

  deadline(slot: number): void {
    if (this.#closed) return;
    this.#symbols.phprun_deadline(this.#pool, slot);
  }

  release(slot: number): void {
    if (this.#closed) return;
    this.#symbols.phprun_release(this.#pool, slot);
  }

  retire(worker: number): void {
    if (this.#closed) return;
    this.#symbols.phprun_worker_retire(this.#pool, worker);
  }

  /** Worker mode: its boot or its end takes too long. */
  overdue(worker: number): void {
    if (this.#closed) return;
    this.#symbols.phprun_worker_overdue(this.#pool, worker);
  }

  /** Repairs what a dead worker left. Returns the slot it was running, or -1. */
  bury(worker: number): number {
    if (this.#closed) return -1;
    return this.#symbols.phprun_worker_bury(this.#pool, worker);
  }

  resubmitOrphans(): number {
    if (this.#closed) return 0;
    return this.#symbols.phprun_resubmit_orphans(this.#pool);
  }

  /** Which worker runs a slot; meaningful once it has been taken. */
  owner(slot: number): number {
    return this.#word(this.#slotField(slot, this.#layout.slotClaim)) >>> 3;
  }

  phase(slot: number): number {
    return this.#word(this.#slotField(slot, this.#layout.slotClaim)) & 7;
  }

  workerSlot(worker: number): number {
    return this.#word(this.#workersAt + worker * this.#layout.workerBytes + this.#layout.workerSlot);
  }

  worker(worker: number): WorkerRecord {
    const at = this.#workersAt + worker * this.#layout.workerBytes;
    const layout = this.#layout;
    return {
      state: this.#word(at + layout.workerState),
      pid: this.#word(at + layout.workerPid),
      generation: this.#word(at + layout.workerGeneration),
      requests: this.#long(at + layout.workerRequests),
      startedNs: this.#long(at + layout.workerStartedNs),
      memoryBytes: this.#long(at + layout.workerMemoryBytes),
      ownBytes: this.#long(at + layout.workerOwnBytes),
      droppedLogs: this.#word(at + layout.workerDroppedLogs),
      leaving: this.#word(at + layout.workerLeaving),
      bootedNs: this.#long(at + layout.workerBootedNs),
      lastFunction: this.#text(at + layout.workerLastFunction, FUNCTION_BYTES),
    };
  }

  /** A NUL-terminated text that a worker wrote, and may have been killed while it did. */
  #text(at: number, most: number): string {
    const end = this.bytes.indexOf(0, at);
    return this.bytes.toString("utf8", at, end < 0 ? at + most : Math.min(end, at + most));
  }

  #slotField(slot: number, field: number): number {
    return this.#slotsAt + slot * this.#layout.slotBytes + field;
  }

  #word(at: number): number {
    return this.#words[at >> 2] ?? 0;
  }

  #long(at: number): number {
    return Number(this.#longs[at >> 3] ?? 0n);
  }

  /** As two words: a BigInt per request would cost more than the rest of describe(). */
  #setLong(at: number, value: number): void {
    this.#words[at >> 2] = value >>> 0;
    this.#words[(at + 4) >> 2] = Math.floor(value / 0x1_0000_0000);
  }
}
