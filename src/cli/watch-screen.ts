import { PhprunError } from "../errors.ts";
import { control, print } from "./output.ts";
import type { Look } from "./status.ts";

/** A screen of our own, no cursor, and lines that are too long are cut rather than continued on the next. */
const ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l";
const HOME = "\x1b[H";
/** Clears what an earlier, longer line or picture has left. */
const CLEAR_LINE = "\x1b[K";
const CLEAR_BELOW = "\x1b[J";

/**
 * Shows a look at the server again and again, until Ctrl-C or until nobody reads it. A server that is gone for a while
 * is waited for. On a terminal one picture replaces the other; elsewhere they follow each other.
 */
export async function watch(look: () => Promise<Look>, intervalMs: number): Promise<void> {
  const onTerminal = process.stdout.isTTY === true;
  const stopped = new AbortController();
  const stop = () => stopped.abort();
  process.on("SIGINT", stop).on("SIGTERM", stop).on("SIGHUP", stop);
  let wake = () => {};
  process.stdout.on("resize", () => wake());
  stopped.signal.addEventListener("abort", () => wake());
  if (onTerminal) control(ENTER);
  try {
    for (;;) {
      const text = await textOf(look);
      if (stopped.signal.aborted || !(onTerminal ? draw(text) : print(`${text}\n`))) break;
      const woken = new Promise<void>((resolve) => (wake = resolve));
      await Promise.race([Bun.sleep(intervalMs), woken]);
      if (stopped.signal.aborted) break;
    }
  } finally {
    if (onTerminal) control(LEAVE);
  }
}

async function textOf(look: () => Promise<Look>): Promise<string> {
  try {
    return (await look()).text;
  } catch (error) {
    // Wrong use stays wrong; a server that is not there may come back.
    if (!(error instanceof PhprunError) || error.exitCode === 2) throw error;
    return `${error.message}\n`;
  }
}

/** One picture, from the top of the screen, in one write. */
function draw(text: string): boolean {
  const rows = process.stdout.rows || 24;
  const lines = text.trimEnd().split("\n");
  const shown =
    lines.length <= rows ? lines : [...lines.slice(0, rows - 1), `… ${lines.length - rows + 1} more lines`];
  return control(HOME + shown.map((line) => line + CLEAR_LINE).join("\n") + CLEAR_BELOW);
}
