import { writeSync } from "node:fs";
import { stripVTControlCharacters } from "node:util";
import { createConsola, type LogType } from "consola/core";

const MARKS: Readonly<Partial<Record<LogType, readonly [mark: string, color: string]>>> = {
  success: ["✔", "\x1b[32m"],
  info: ["i", "\x1b[36m"],
  warn: ["!", "\x1b[33m"],
  error: ["✘", "\x1b[31m"],
};

/** May this stream show colours? NO_COLOR (https://no-color.org) and anything but a terminal say no. */
export function hasColors(stream: { isTTY?: boolean }): boolean {
  return stream.isTTY === true && !process.env["NO_COLOR"] && process.env["TERM"] !== "dumb";
}

/**
 * Write to standard output at once, so that nothing is cut off when the process exits after it.
 * False when its reader is gone.
 */
export function print(text: string): boolean {
  return writeAll(1, hasColors(process.stdout) ? text : stripVTControlCharacters(text));
}

/** Write cursor movements and the like to the terminal on standard output, whatever it thinks of colours. */
export function control(sequence: string): boolean {
  return writeAll(1, sequence);
}

/** Write to standard error at once. */
export function printError(text: string): void {
  writeAll(2, hasColors(process.stderr) ? text : stripVTControlCharacters(text));
}

/** A line with the sign for how it is meant before it. */
export function marked(type: LogType, line: string): string {
  const mark = MARKS[type];
  return mark === undefined ? line : `${mark[1]}${mark[0]}\x1b[0m ${line}`;
}

/** Short messages to the person at the terminal, one line each, marked by how they are meant. */
export const say = createConsola({
  level: 3,
  reporters: [
    {
      log(entry) {
        const line = marked(entry.type, `${entry.args.map(String).join(" ")}\n`);
        if (entry.type === "error" || entry.type === "warn") printError(line);
        else print(line);
      },
    },
  ],
});

function writeAll(fd: number, text: string): boolean {
  const bytes = Buffer.from(text);
  let offset = 0;
  while (offset < bytes.length) {
    try {
      offset += writeSync(fd, bytes, offset);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== "EAGAIN") return false; // The reader is gone (EPIPE): nobody is left to tell.
      Bun.sleepSync(1);
    }
  }
  return true;
}
