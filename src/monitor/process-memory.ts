import { closeSync, openSync, readFileSync, readSync } from "node:fs";

/** What a process holds, as the kernel counts it. */
export interface ProcessMemory {
  readonly residentBytes: number;
  /** Resident memory less what is mapped from files or shared with others (code, opcache, the pool). */
  readonly ownBytes: number;
}

/**
 * The memory of a process; undefined when there is no such process, or no more (a zombie holds nothing). Costs a few
 * microseconds, however large the process is.
 */
export function readMemory(pid: number): ProcessMemory | undefined {
  const text = readShort(`/proc/${pid}/statm`);
  const [, resident = 0, shared = 0] = text.split(" ").map(Number);
  if (!(resident > 0) || !(shared >= 0)) return undefined;
  return { residentBytes: resident * pageBytes(), ownBytes: Math.max(0, resident - shared) * pageBytes() };
}

/**
 * The memory of a process in which every page counts for as much as its share of those who use it (PSS), so that
 * the sum over all processes is what they really take. Undefined when the process is gone or may not be looked at
 * (that of another user, without the right to trace it).
 *
 * Costs about a millisecond: the kernel walks all the pages of the process.
 */
export function readProportional(pid: number): number | undefined {
  const found = /^Pss:\s+(\d+) kB$/m.exec(readShort(`/proc/${pid}/smaps_rollup`));
  return found === null ? undefined : Number(found[1]) * 1024;
}

let knownPageBytes: number | undefined;

/** Size of a memory page: 4 KiB on most machines, 16 or 64 KiB on some with ARM processors. */
export function pageBytes(): number {
  return (knownPageBytes ??= askPageBytes());
}

const AT_NULL = 0n;
const AT_PAGESZ = 6n;

/** The kernel tells each process at its start, in pairs of words: what it is, and its value. */
function askPageBytes(): number {
  const words = new BigUint64Array(new Uint8Array(readFileSync("/proc/self/auxv")).buffer);
  for (let i = 0; i + 1 < words.length && words[i] !== AT_NULL; i += 2) {
    if (words[i] === AT_PAGESZ) return Number(words[i + 1]);
  }
  return 4096;
}

const buffer = Buffer.alloc(4096);

/** A file of /proc that fits one read, so that it is of one moment; empty when it cannot be read. */
function readShort(path: string): string {
  let fd: number | undefined;
  try {
    fd = openSync(path, "r");
    return buffer.toString("latin1", 0, readSync(fd, buffer, 0, buffer.length, 0));
  } catch {
    // The process has ended: before it was opened, or between that and the read.
    return "";
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}
