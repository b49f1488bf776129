import type { LoggingConfig } from "../config/config.ts";
import { escapeControl } from "./escape.ts";
import { LogSink } from "./sink.ts";

export type LogLevel = LoggingConfig["level"];
export type LogFields = Readonly<Record<string, string | number | boolean | null | undefined>>;

/** The error log. No method throws: a log that cannot be written must not cost a request. */
export interface Log {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** Is this level written at all? Ask before building something costly. */
  enabled(level: LogLevel): boolean;
  /** The same log with fields that stand on each of its lines. */
  child(fields: LogFields): Log;
  /** Open the file anew, after rotation. */
  reopen(): void;
  close(): void;
}

export type LogOptions = Pick<LoggingConfig, "level" | "format" | "file"> & {
  /** Colours in the pretty form; by default when it goes to a terminal and NO_COLOR is not set. */
  readonly color?: boolean;
  /** For tests. */
  readonly write?: (line: string) => void;
};

const SEVERITY: Readonly<Record<LogLevel, number>> = { debug: 10, info: 20, warn: 30, error: 40 };
const COLOR: Readonly<Record<LogLevel, string>> = {
  debug: "\x1b[90m",
  info: "\x1b[36m",
  warn: "\x1b[33m",
  error: "\x1b[31m",
};

/** Throws only here, when the file cannot be opened at all. */
export function createLog(options: LogOptions): Log {
  const sink = new LogSink(options.file, 2);
  const color = options.color ?? (sink.isTerminal && !process.env["NO_COLOR"]);
  const write = options.write ?? ((line: string) => sink.write(line));
  return new ErrorLog(
    { sink, write, threshold: SEVERITY[options.level], json: options.format === "json", color },
    {},
  );
}

interface Output {
  readonly sink: LogSink;
  readonly write: (line: string) => void;
  readonly threshold: number;
  readonly json: boolean;
  readonly color: boolean;
}

class ErrorLog implements Log {
  readonly #output: Output;
  readonly #fields: LogFields;

  constructor(output: Output, fields: LogFields) {
    this.#output = output;
    this.#fields = fields;
  }

  debug(message: string, fields?: LogFields): void {
    this.#log("debug", message, fields);
  }

  info(message: string, fields?: LogFields): void {
    this.#log("info", message, fields);
  }

  warn(message: string, fields?: LogFields): void {
    this.#log("warn", message, fields);
  }

  error(message: string, fields?: LogFields): void {
    this.#log("error", message, fields);
  }

  enabled(level: LogLevel): boolean {
    return SEVERITY[level] >= this.#output.threshold;
  }

  child(fields: LogFields): Log {
    return new ErrorLog(this.#output, { ...this.#fields, ...fields });
  }

  reopen(): void {
    const reason = this.#output.sink.reopen();
    if (reason !== null) this.error(reason);
  }

  close(): void {
    this.#output.sink.close();
  }

  #log(level: LogLevel, message: string, fields: LogFields | undefined): void {
    if (!this.enabled(level)) return;
    try {
      const all = fields === undefined ? this.#fields : { ...this.#fields, ...fields };
      const line = this.#output.json
        ? jsonLine(level, message, all)
        : prettyLine(level, message, all, this.#output.color);
      this.#output.write(line);
    } catch {
      // A field with a getter that throws, say. The caller has better things to do than to hear of it.
    }
  }
}

function jsonLine(level: LogLevel, message: string, fields: LogFields): string {
  // JSON.stringify leaves C1 and the bidi controls in; the line may well end up in a terminal.
  return `${escapeJson(JSON.stringify({ time: new Date().toISOString(), level, message, ...withoutReserved(fields) }))}\n`;
}

const escapeJson = (json: string): string =>
  json.replace(
    /[\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );

/** A field of ours never takes the place of the time, the level or the message. */
function withoutReserved(fields: LogFields): LogFields {
  if (!("time" in fields || "level" in fields || "message" in fields)) return fields;
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [
      /^(time|level|message)$/.test(name) ? `${name}_` : name,
      value,
    ]),
  );
}

function prettyLine(level: LogLevel, message: string, fields: LogFields, color: boolean): string {
  const [on, dim, off] = color ? [COLOR[level], "\x1b[2m", "\x1b[0m"] : ["", "", ""];
  let line = `${dim}${localTime(new Date())}${off} ${on}${level.padEnd(5)}${off} ${escapeControl(message)}`;
  for (const [name, value] of Object.entries(fields)) {
    if (value !== undefined) line += ` ${dim}${escapeControl(name)}=${off}${fieldText(value)}`;
  }
  return `${line}\n`;
}

function fieldText(value: string | number | boolean | null): string {
  if (typeof value !== "string") return String(value);
  const text = escapeControl(value);
  return text === "" || /[\s"=]/.test(text) ? `"${text.replaceAll('"', '\\"')}"` : text;
}

function localTime(now: Date): string {
  const two = (part: number) => String(part).padStart(2, "0");
  const date = `${now.getFullYear()}-${two(now.getMonth() + 1)}-${two(now.getDate())}`;
  return `${date} ${two(now.getHours())}:${two(now.getMinutes())}:${two(now.getSeconds())}.${String(now.getMilliseconds()).padStart(3, "0")}`;
}
