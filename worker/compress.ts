/*
 * What runs in the front's compressing Worker: takes a file, gives back its compressed bytes.
 */
import { closeSync, constants, fstatSync, openSync, readFileSync } from "node:fs";
import { getPriority, setPriority } from "node:os";
import { brotliCompressSync, constants as zlib } from "node:zlib";
import type { FileStat } from "../src/route/route.ts";
import { type Bytes, isSameVersion } from "../src/static/representation.ts";

/** What we make ourselves. Whoever takes zstd takes Brotli too, which comes out smaller. */
export type MadeCoding = "br" | "gzip";

export interface CompressTask {
  readonly path: string | Uint8Array;
  /** The version that is wanted. */
  readonly stat: FileStat;
  readonly coding: MadeCoding;
  /** A result with more bytes than this is of no use. */
  readonly maxBytes: number;
}

/** Up to here Brotli may take its time: at its best it needs about 1.5 s per MiB, and a tenth less space than at 9. */
const bestBrotliBytes = 1024 ** 2;

giveWay();

/** Null when the file is another one by now, or the result is too large. */
export default function compress({ path, stat, coding, maxBytes }: CompressTask): Bytes | null {
  const content = readVersion(path, stat);
  if (content === null) return null;
  const compressed = coding === "br" ? brotli(content) : Bun.gzipSync(content, gzipOptions);
  return compressed.length <= maxBytes ? compressed : null;
}

/** libdeflate's best: as small as Brotli at 9, and still fast. */
const gzipOptions = { library: "libdeflate", level: 12 } as const;

function brotli(content: Bytes): Bytes {
  return brotliCompressSync(content, {
    params: {
      [zlib.BROTLI_PARAM_QUALITY]: content.length <= bestBrotliBytes ? 11 : 9,
      [zlib.BROTLI_PARAM_SIZE_HINT]: content.length,
    },
  });
}

function readVersion(path: string | Uint8Array, stat: FileStat): Bytes | null {
  const file = open(typeof path === "string" ? path : Buffer.from(path));
  if (file === null) return null;
  try {
    if (!isSameVersion(fstatSync(file), stat)) return null;
    const content = readFileSync(file);
    return content.length === stat.size && isSameVersion(fstatSync(file), stat) ? content : null;
  } finally {
    closeSync(file);
  }
}

function open(path: string | Buffer): number | null {
  try {
    // Should a pipe be there by now, this must not wait for a writer.
    return openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return null;
    throw error;
  }
}

/** Requests come first. On Linux this is for the calling thread alone. */
function giveWay(): void {
  try {
    setPriority(0, Math.min(getPriority(0) + 10, 19));
  } catch {
    // It compresses at the front's own priority then.
  }
}
