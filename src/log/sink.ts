import { closeSync, fstatSync, openSync, writeSync } from "node:fs";
import { PhprunError } from "../errors.ts";

/** More attempts than a reader that lives needs; a pipe that stays full past them loses the line, not the server. */
const MAX_ATTEMPTS = 50;
const RETRY_MS = 1;

/** A place for log bytes: a standard stream, or a file that can be opened anew after rotation. Writing never throws. */
export class LogSink {
  readonly #path: string | null;
  #fd: number;
  #lost = 0;

  /** `path` null means the standard stream `fd`. */
  constructor(path: string | null, fd: 1 | 2) {
    this.#path = path;
    this.#fd = path === null ? fd : openLog(path);
  }

  get isTerminal(): boolean {
    return this.#path === null && (this.#fd === 2 ? process.stderr.isTTY : process.stdout.isTTY) === true;
  }

  /** Lines that could not be written so far. */
  get lost(): number {
    return this.#lost;
  }

  write(text: string): void {
    if (!writeAll(this.#fd, Buffer.from(text))) this.#lost++;
  }

  /** Open the file again by its name; when that fails the old one stays, and the reason is returned. */
  reopen(): string | null {
    if (this.#path === null) return null;
    try {
      const fd = openLog(this.#path);
      closeSync(this.#fd);
      this.#fd = fd;
      return null;
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  }

  close(): void {
    if (this.#path === null) return;
    try {
      closeSync(this.#fd);
    } catch {
      // It was closed behind our back; there is nothing left to do.
    }
  }
}

function openLog(path: string): number {
  try {
    const fd = openSync(path, "a", 0o640);
    if (fstatSync(fd).isDirectory()) throw new Error("it is a folder");
    return fd;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new PhprunError("LOG_UNWRITABLE", `Cannot write the log file ${path}: ${reason}`, { cause });
  }
}

function writeAll(fd: number, bytes: Uint8Array): boolean {
  let offset = 0;
  for (let attempt = 0; attempt < MAX_ATTEMPTS && offset < bytes.length;) {
    try {
      offset += writeSync(fd, bytes, offset);
    } catch (error) {
      // A pipe that someone else made non-blocking is full for the moment.
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") return false;
      attempt++;
      Bun.sleepSync(RETRY_MS);
    }
  }
  return offset === bytes.length;
}
