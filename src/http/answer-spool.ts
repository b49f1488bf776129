import { close, read, write } from "node:fs";
import { promisify } from "node:util";
import { punchHole } from "../../ffi/system.ts";
import { openUnnamed } from "../pool/spool.ts";

const writeAt = promisify(write);
const readAt = promisify(read);

/** So much is written or read at once. A reader that takes nothing more has as much of it in memory. */
const PIECE_BYTES = 128 * 1024;
/** So much has been read before the file system gets it back. */
const GIVE_BACK_BYTES = 1024 * 1024;
const MOST_SPARE = 8;
/** How long a folder that could not be written to is left alone. */
const REST_MS = 10_000;

/** Buffers for reading, so that a thousand slow readers do not have one each. */
const spare: Buffer[] = [];
/** Folders that could not be written to, and until when they are left alone. */
const resting = new Map<string, number>();

/**
 * The part of an answer that a slow client has still to take, and that is too much for memory. First in, first
 * out, in a file without a name; what has been read is given back. One write and one read may be under way at a
 * time.
 */
export class AnswerSpool {
  readonly #fd: number;
  #writtenTo = 0;
  #readTo = 0;
  #givenBackTo = 0;
  #underWay = 0;
  #closed = false;

  constructor(folder: string) {
    this.#fd = openUnnamed(folder);
  }

  /** How many bytes are kept that have not been taken. */
  get bytes(): number {
    return this.#writtenTo - this.#readTo;
  }

  /**
   * Writes a piece of `bytes`, and returns how many that are. They count once they are kept: what they come from
   * may be somebody else's by then.
   */
  async write(bytes: Uint8Array): Promise<number> {
    const length = Math.min(bytes.length, PIECE_BYTES);
    const { bytesWritten } = await this.#run(writeAt(this.#fd, bytes, 0, length, this.#writtenTo));
    return bytesWritten;
  }

  keep(bytes: number): void {
    this.#writtenTo += bytes;
  }

  /** Reads the next piece and has it used. The bytes are valid during the call only. */
  async take<Result>(use: (bytes: Uint8Array) => Result): Promise<Result> {
    const buffer = spare.pop() ?? Buffer.allocUnsafeSlow(PIECE_BYTES);
    try {
      const length = Math.min(PIECE_BYTES, this.bytes);
      const { bytesRead } = await this.#run(readAt(this.#fd, buffer, 0, length, this.#readTo));
      if (bytesRead === 0) throw new Error("the file is shorter than what was written to it");
      this.#readTo += bytesRead;
      this.#giveBack();
      return use(buffer.subarray(0, bytesRead));
    } finally {
      if (spare.length < MOST_SPARE) spare.push(buffer);
    }
  }

  /** Nothing may be written or taken from here on. Goes when nothing is under way: its number would be another file's. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#closeAtRest();
  }

  async #run<Result>(operation: Promise<Result>): Promise<Result> {
    this.#underWay++;
    try {
      return await operation;
    } finally {
      this.#underWay--;
      if (this.#closed) this.#closeAtRest();
    }
  }

  /** Giving back a large file takes the system a while, so it is not waited for. */
  #closeAtRest(): void {
    if (this.#underWay === 0) close(this.#fd, () => undefined);
  }

  #giveBack(): void {
    const bytes = this.#readTo - this.#givenBackTo;
    if (bytes < GIVE_BACK_BYTES || this.#closed) return;
    try {
      punchHole(this.#fd, this.#givenBackTo, bytes);
    } catch {
      // A file system that knows no holes gets all of it back at the end.
    }
    this.#givenBackTo = this.#readTo;
  }
}

/** Is it worth trying to write there? */
export function canSpoolTo(folder: string): boolean {
  return performance.now() >= (resting.get(folder) ?? 0);
}

/** Leaves a folder alone for a while. Returns whether that is news. */
export function restSpoolTo(folder: string): boolean {
  const isNews = canSpoolTo(folder);
  resting.set(folder, performance.now() + REST_MS);
  return isNews;
}
