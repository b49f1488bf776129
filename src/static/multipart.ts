import type { ByteRange } from "./ranges.ts";
import type { Bytes } from "./representation.ts";

/** The pieces of a `multipart/byteranges` body: text, and the ranges of the file between it. */
export interface Multipart {
  readonly contentType: string;
  readonly pieces: readonly (Bytes | ByteRange)[];
}

const encoder = new TextEncoder();

export function layOutMultipart(ranges: readonly ByteRange[], type: string, size: number): Multipart {
  const boundary = `phprun-${crypto.randomUUID()}`;
  const pieces: (Bytes | ByteRange)[] = [];
  for (const range of ranges) {
    const lines = [
      `\r\n--${boundary}`,
      `Content-Type: ${type}`,
      `Content-Range: ${contentRange(range, size)}`,
      "\r\n",
    ];
    pieces.push(encoder.encode(lines.join("\r\n")), range);
  }
  pieces.push(encoder.encode(`\r\n--${boundary}--\r\n`));
  return { contentType: `multipart/byteranges; boundary=${boundary}`, pieces };
}

export function contentRange(range: ByteRange, size: number): string {
  return `bytes ${range.first}-${range.last}/${size}`;
}
