/** Both ends included, as on the wire. */
export interface ByteRange {
  readonly first: number;
  readonly last: number;
}

const maxRanges = 16;
const oneRange = /^(\d{0,15})-(\d{0,15})$/;

/**
 * The parts a `Range` header asks for: null when it is to be ignored and the whole file sent, an empty list when no
 * part of it can be satisfied.
 *
 * Ignored are other units, malformed lists, more ranges than any honest client sends, and ranges that together ask
 * for more than the file holds: overlapping ranges were an old way to make a server send a file a thousand times.
 */
export function parseRange(header: string, size: number): readonly ByteRange[] | null {
  const equals = header.indexOf("=");
  if (equals < 0 || header.slice(0, equals).trim().toLowerCase() !== "bytes") return null;
  const specs = header.slice(equals + 1).split(",", maxRanges + 1);
  if (specs.length > maxRanges) return null;
  const ranges: ByteRange[] = [];
  let total = 0;
  for (const spec of specs) {
    const match = oneRange.exec(spec.trim());
    if (match === null) return null;
    const [, from = "", to = ""] = match;
    if (from === "" && to === "") return null;
    if (from !== "" && to !== "" && Number(to) < Number(from)) return null;
    const first = from === "" ? Math.max(0, size - Number(to)) : Number(from);
    const last = from === "" || to === "" ? size - 1 : Math.min(Number(to), size - 1);
    if (first > last) continue;
    ranges.push({ first, last });
    total += last - first + 1;
  }
  return ranges.length > 1 && total > size ? null : ranges;
}
