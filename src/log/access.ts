import type { LoggingConfig } from "../config/config.ts";
import { LogSink } from "./sink.ts";
import { TimeStamp } from "./time-stamp.ts";

/** One answered request, as the access log tells it. */
export interface AccessEntry {
  readonly remoteAddr: string | null;
  readonly method: string;
  /** Path and query, as received. */
  readonly target: string;
  /** `HTTP/1.1` */
  readonly protocol: string;
  readonly status: number;
  /** Bytes of the body that were sent. */
  readonly bytes: number;
  readonly durationMs: number;
  readonly referer: string | null;
  readonly userAgent: string | null;
  readonly requestId: string | null;
  readonly pool: string | null;
}

export interface AccessLog {
  record(entry: AccessEntry): void;
  /** Write what is held back now. */
  flush(): void;
  reopen(): void;
  /** Flush and let go of the file. */
  close(): void;
}

const FLUSH_MS = 250;
const FLUSH_LENGTH = 64 * 1024;

// Quotes and backslashes would break the quoted fields, the rest could break the line or the terminal.
const UNSAFE = /[^\x20-\x7e]|["\\]/;
const EACH_UNSAFE = /[^\x20-\x7e]|["\\]/gu;

/** `write` replaces the file or stream, for tests. */
export function createAccessLog(
  options: Pick<LoggingConfig, "access" | "accessFormat" | "accessFile">,
  write?: (lines: string) => void,
): AccessLog {
  return options.access ? new BufferedAccessLog(options.accessFormat, options.accessFile, write) : SILENT;
}

const SILENT: AccessLog = { record() {}, flush() {}, reopen() {}, close() {} };

class BufferedAccessLog implements AccessLog {
  readonly #sink: LogSink;
  readonly #write: (lines: string) => void;
  readonly #format: LoggingConfig["accessFormat"];
  readonly #time = new TimeStamp();
  #lines = "";
  #timer: Timer | null = null;

  constructor(format: LoggingConfig["accessFormat"], file: string | null, write?: (lines: string) => void) {
    this.#format = format;
    this.#sink = new LogSink(file, 1);
    this.#write = write ?? ((lines) => this.#sink.write(lines));
  }

  record(entry: AccessEntry): void {
    this.#lines += this.#format === "json" ? this.#json(entry) : this.#plain(entry);
    if (this.#lines.length >= FLUSH_LENGTH) this.flush();
    else this.#timer ??= setTimeout(() => this.flush(), FLUSH_MS);
  }

  flush(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    if (this.#lines === "") return;
    const lines = this.#lines;
    this.#lines = "";
    this.#write(lines);
  }

  reopen(): void {
    this.flush();
    this.#sink.reopen();
  }

  close(): void {
    this.flush();
    this.#sink.close();
  }

  #plain(entry: AccessEntry): string {
    const time = this.#time.common(Date.now());
    const bytes = entry.bytes === 0 ? "-" : entry.bytes;
    const line = `${entry.remoteAddr || "-"} - - [${time}] "${safe(entry.method)} ${safe(entry.target)} ${entry.protocol}" ${entry.status} ${bytes}`;
    if (this.#format === "common") return `${line}\n`;
    return `${line} "${entry.referer === null ? "-" : safe(entry.referer)}" "${entry.userAgent === null ? "-" : safe(entry.userAgent)}"\n`;
  }

  #json(entry: AccessEntry): string {
    return (
      `{"time":"${this.#time.iso(Date.now())}","remote_addr":${quote(entry.remoteAddr)},"method":${quote(entry.method)}` +
      `,"target":${quote(entry.target)},"protocol":"${entry.protocol}","status":${entry.status},"bytes":${entry.bytes}` +
      `,"duration_ms":${Math.round(entry.durationMs * 1000) / 1000},"referer":${quote(entry.referer)}` +
      `,"user_agent":${quote(entry.userAgent)},"request_id":${quote(entry.requestId)},"pool":${quote(entry.pool)}}\n`
    );
  }
}

/** As Apache and nginx write it: `\xHH` for each byte that is not plain text. */
function safe(text: string): string {
  return UNSAFE.test(text) ? text.replace(EACH_UNSAFE, escapeCharacter) : text;
}

function escapeCharacter(character: string): string {
  if (character === '"' || character === "\\") return `\\${character}`;
  const code = character.codePointAt(0) ?? 0;
  // Header values arrive as latin1: up to U+00FF a character is a byte.
  const bytes = code < 256 ? [code] : Buffer.from(character);
  let text = "";
  for (const byte of bytes) text += `\\x${byte.toString(16).padStart(2, "0").toUpperCase()}`;
  return text;
}

function quote(text: string | null): string {
  if (text === null) return "null";
  return UNSAFE.test(text)
    ? JSON.stringify(text).replace(
        /[^\x20-\x7e]/g,
        (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
      )
    : `"${text}"`;
}
