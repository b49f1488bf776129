import { closeSync, constants, ftruncateSync, openSync, unlinkSync, write } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { punchHole } from "../../ffi/system.ts";
import { PhprunError } from "../errors.ts";

const writeAt = promisify(write);

/** A range of the spool file that holds one request body. */
export interface SpoolRegion {
  readonly offset: number;
  bytes: number;
}

/**
 * Large request bodies, in one sparse file per pool that has no name and is inherited by its workers. So a
 * body costs no descriptor and no path, and nothing is left behind however the server ends.
 */
export class Spool {
  readonly fd: number;
  readonly #regionBytes: number;
  readonly #free: number[] = [];
  #regions = 0;
  #closed = false;

  /** `largestBody` bounds a region; regions are reused, so the file's size is bounded by the number in use. */
  constructor(folder: string, largestBody: number) {
    this.fd = openUnnamed(folder);
    this.#regionBytes = Math.ceil(Math.max(largestBody, 1) / 4096) * 4096;
  }

  take(): SpoolRegion {
    const index = this.#free.pop() ?? this.#regions++;
    return { offset: index * this.#regionBytes, bytes: 0 };
  }

  async append(region: SpoolRegion, bytes: Uint8Array): Promise<void> {
    if (this.#closed) throw new PhprunError("SPOOL", "Cannot spool a request body: its pool has gone");
    for (let written = 0; written < bytes.length;) {
      const position = region.offset + region.bytes + written;
      written += (await writeAt(this.fd, bytes, written, bytes.length - written, position)).bytesWritten;
    }
    region.bytes += bytes.length;
  }

  give(region: SpoolRegion): void {
    if (region.bytes > 0) punchHole(this.fd, region.offset, region.bytes);
    this.#free.push(region.offset / this.#regionBytes);
    if (this.#free.length === this.#regions) {
      ftruncateSync(this.fd, 0);
      this.#free.length = 0;
      this.#regions = 0;
      if (this.#closed) closeSync(this.fd);
    }
  }

  /**
   * Closes the file once nothing is in it any more: a write that is still on its way would go to whatever gets the
   * descriptor's number next.
   */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#regions === 0) closeSync(this.fd);
  }
}

const O_TMPFILE = 0o20200000;

/** A file that has no name and goes with its descriptor. The caller closes it. */
export function openUnnamed(folder: string): number {
  try {
    return openSync(folder, constants.O_RDWR | O_TMPFILE, 0o600);
  } catch {
    return openAndUnlink(folder); // a file system without O_TMPFILE
  }
}

function openAndUnlink(folder: string): number {
  const path = join(folder, `phprun-spool-${process.pid}-${Math.random().toString(36).slice(2)}`);
  try {
    const fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, 0o600);
    unlinkSync(path);
    return fd;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new PhprunError(
      "SPOOL",
      `Cannot make the spool file in ${folder}: ${reason}. Set server.spool_dir.`,
      { cause },
    );
  }
}
