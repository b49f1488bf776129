/** Longest request target taken, as in most servers' one-line limit; past it the answer is 414. */
export const maxTargetBytes = 8192;

/** Why a path cannot be looked up at all. */
export interface PathRefusal {
  readonly status: 400 | 414;
  readonly reason: string;
}

const tooLong: PathRefusal = {
  status: 414,
  reason: `the path is longer than ${maxTargetBytes} bytes`,
};
const notAbsolute: PathRefusal = { status: 400, reason: "the path does not begin with a slash" };
const badEscape: PathRefusal = { status: 400, reason: "the path has a malformed % escape" };
const hasNul: PathRefusal = { status: 400, reason: "the path has a NUL byte" };
const aboveRoot: PathRefusal = { status: 400, reason: "the path leaves the root" };

/** Printable ASCII, no escape, no empty segment, no segment that begins with a dot: already what we want. */
const plain = /^(?:\/[\x21-\x24\x26-\x2d\x30-\x7e][\x21-\x24\x26-\x2e\x30-\x7e]*)*\/?$/;

const percent = 0x25;

/**
 * Decodes and normalises a percent-encoded path into a byte string: one character per byte, so UTF-8 stays bytes
 * and a name in any other encoding still finds its file.
 *
 * Slashes are collapsed and dot segments resolved *after* decoding, because `%2e%2e%2f` hides both from the URL
 * parser, and a request without a usable Host reaches us with a target nobody has normalised.
 */
export function decodePath(raw: string): string | PathRefusal {
  if (raw.length > maxTargetBytes) return tooLong;
  if (raw !== "" && plain.test(raw)) return raw;
  if (!raw.startsWith("/")) return notAbsolute;
  const decoded = decodeBytes(raw);
  return typeof decoded === "string" ? normalise(decoded) : decoded;
}

function decodeBytes(raw: string): string | PathRefusal {
  const bytes = Buffer.from(raw, "utf8");
  let length = 0;
  for (let i = 0; i < bytes.length; i++) {
    let byte = bytes[i] ?? 0;
    if (byte === percent) {
      const high = hexDigit(bytes[i + 1]);
      const low = hexDigit(bytes[i + 2]);
      if (high < 0 || low < 0) return badEscape;
      byte = high * 16 + low;
      i += 2;
    }
    if (byte === 0) return hasNul;
    bytes[length++] = byte;
  }
  return bytes.toString("latin1", 0, length);
}

function hexDigit(byte: number | undefined): number {
  if (byte === undefined) return -1;
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const lower = byte | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}

function normalise(path: string): string | PathRefusal {
  const kept: string[] = [];
  let folder = false;
  for (const segment of path.split("/")) {
    folder = segment === "" || segment === "." || segment === "..";
    if (segment === "..") {
      if (kept.pop() === undefined) return aboveRoot;
    } else if (!folder) {
      kept.push(segment);
    }
  }
  if (kept.length === 0) return "/";
  return `/${kept.join("/")}${folder ? "/" : ""}`;
}
