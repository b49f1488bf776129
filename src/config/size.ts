const UNITS: Readonly<Record<string, number>> = {
  "": 1,
  b: 1,
  k: 1024,
  kib: 1024,
  m: 1024 ** 2,
  mib: 1024 ** 2,
  g: 1024 ** 3,
  gib: 1024 ** 3,
};

/** What a size may look like in text; the JSON Schema carries the same rule. */
export const SIZE_PATTERN = "^\\d+ ?([kKmMgG]([iI]?[bB])?|[bB])?$";

/** Bytes in a size such as `32MiB`, `32M`, `512k` or `1048576`; undefined when it is none. Powers of 1024, as in php.ini. */
export function parseSize(size: string | number): number | undefined {
  if (typeof size === "number") {
    return Number.isSafeInteger(size) && size >= 0 ? size : undefined;
  }
  const match = /^(\d+) ?([a-z]*)$/i.exec(size);
  const digits = match?.[1];
  if (match === null || digits === undefined) return undefined;
  const unit = match[2]?.toLowerCase() ?? "";
  const factor = UNITS[unit] ?? (/^[kmg]b$/.test(unit) ? UNITS[unit.slice(0, 1)] : undefined);
  if (factor === undefined) return undefined;
  const bytes = Number(digits) * factor;
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** The shortest exact way to write a number of bytes: `32MiB`, `1536KiB`, `1000`. */
export function formatSize(bytes: number): string {
  if (bytes === 0) return "0";
  if (bytes % 1024 ** 3 === 0) return `${bytes / 1024 ** 3}GiB`;
  if (bytes % 1024 ** 2 === 0) return `${bytes / 1024 ** 2}MiB`;
  if (bytes % 1024 === 0) return `${bytes / 1024}KiB`;
  return String(bytes);
}

/** The largest request body there is room for: regions of this size must fit the spool file many times over. */
export const LARGEST_BODY = 64 * 1024 ** 3;
