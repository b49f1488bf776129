import { PhprunError } from "../src/errors.ts";
import { check, transport } from "./transport.ts";

/** A connected pair of non-blocking unix stream sockets. The caller owns both descriptors. */
export function socketPair(): [number, number] {
  const pair = new Int32Array(2);
  check(transport().symbols.phprun_socketpair(pair), "make a socket pair");
  return [pair[0] ?? -1, pair[1] ?? -1];
}

/** Opens a library for the whole process, so that libraries opened later find its symbols. */
export function openGlobal(path: string): void {
  const file = Buffer.from(`${path}\0`);
  const message = new Uint8Array(1024);
  const length = transport().symbols.phprun_open_global(file, message, message.length);
  if (length === 0) return;
  throw new PhprunError(
    "LIBRARY",
    `Cannot open ${path}: ${new TextDecoder().decode(message.slice(0, length))}`,
  );
}

/** Raises the limit of open files as far as the system allows. Returns what it is then. */
export function raiseOpenFiles(): number {
  return transport().symbols.phprun_raise_open_files();
}

/** Gives a range of a file back to the file system; the file keeps its size. */
export function punchHole(fd: number, offset: number, bytes: number): void {
  check(transport().symbols.phprun_punch(fd, offset, bytes), "free a range of the spool file");
}
