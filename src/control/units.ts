/** A time for people, two units at most: `350ms`, `1.2s`, `2m05s`, `3h12m`, `4d3h`. */
export function shortTime(ms: number): string {
  if (ms < 1000) return `${Math.max(0, Math.round(ms))}ms`;
  if (ms < 10_000) return `${Math.floor(ms / 100) / 10}s`;
  const seconds = Math.floor(ms / 1000);
  if (seconds < 60) return `${seconds}s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes}m${two(seconds % 60)}s`;
  const hours = Math.floor(minutes / 60);
  return hours < 24 ? `${hours}h${two(minutes % 60)}m` : `${Math.floor(hours / 24)}d${hours % 24}h`;
}

/** Bytes for people: `512 KiB`, `38.2 MiB`, `1.4 GiB`. */
export function shortSize(bytes: number): string {
  if (bytes < 1024 ** 2) return `${Math.round(bytes / 1024)} KiB`;
  const [amount, unit] = bytes < 1024 ** 3 ? [bytes / 1024 ** 2, "MiB"] : [bytes / 1024 ** 3, "GiB"];
  return `${amount < 100 ? Number(amount.toFixed(1)) : Math.round(amount)} ${unit}`;
}

const two = (value: number): string => String(value).padStart(2, "0");
