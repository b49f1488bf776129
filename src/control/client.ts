import { PhprunError } from "../errors.ts";
import { escapeControl } from "../log/escape.ts";
import type { ServerStatus } from "./status.ts";

/** Longest wait for what a server answers at once, unless it hangs. */
export const ANSWER_MS = 5_000;

export interface Answer {
  readonly status: number;
  readonly text: string;
}

export type ReloadAnswer =
  | {
      readonly ok: true;
      readonly generations: readonly { readonly pool: string; readonly generation: number }[];
      readonly notes: readonly string[];
    }
  | { readonly ok: false; readonly reason: string };

/** The status of the server behind a socket, as text and as what it says. */
export async function askStatus(
  socket: string,
  timeoutMs = ANSWER_MS,
): Promise<{ text: string; status: ServerStatus }> {
  const { text } = expectOk(await ask(socket, "GET", "/status", timeoutMs), socket);
  return { text, status: JSON.parse(text) as ServerStatus };
}

/** Waits for the outcome of a reload. */
export async function askReload(socket: string, timeoutMs: number): Promise<ReloadAnswer> {
  const answer = await ask(socket, "POST", "/reload", timeoutMs);
  if (answer.status !== 409) expectOk(answer, socket);
  return JSON.parse(answer.text) as ReloadAnswer;
}

/** Asks a server to stop, and returns its process id. */
export async function askStop(socket: string): Promise<number> {
  const answer = expectOk(await ask(socket, "POST", "/stop", ANSWER_MS), socket);
  return (JSON.parse(answer.text) as { pid: number }).pid;
}

async function ask(socket: string, method: string, path: string, timeoutMs: number): Promise<Answer> {
  try {
    const response = await fetch(`http://localhost${path}`, {
      unix: socket,
      method,
      keepalive: false,
      signal: AbortSignal.timeout(timeoutMs),
    });
    return { status: response.status, text: await response.text() };
  } catch (cause) {
    throw failure(socket, cause, timeoutMs);
  }
}

function failure(socket: string, cause: unknown, timeoutMs: number): PhprunError {
  const { code, name, message } = cause as { code?: string; name?: string; message?: string };
  if (code === "ENOENT" || code === "ECONNREFUSED")
    return new PhprunError("NOT_RUNNING", `Cannot reach a server: nothing listens on ${socket}`, { cause });
  if (code === "EACCES" || code === "EPERM") {
    return new PhprunError(
      "NOT_PERMITTED",
      `Cannot reach the server on ${socket}: not permitted; be the user that runs it, or root`,
      { cause },
    );
  }
  if (name === "TimeoutError") {
    return new PhprunError(
      "NO_ANSWER",
      `Cannot go on: the server on ${socket} has not answered within ${timeoutMs / 1000} s`,
      { cause },
    );
  }
  return new PhprunError("NO_ANSWER", `Cannot go on: the server on ${socket} gave no answer: ${message}`, {
    cause,
  });
}

function expectOk(answer: Answer, socket: string): Answer {
  if (answer.status >= 200 && answer.status < 300) return answer;
  throw new PhprunError(
    "CONTROL_FAILED",
    `Cannot go on: the server on ${socket} answered ${answer.status}: ${escapeControl(reasonIn(answer.text))}`,
  );
}

function reasonIn(text: string): string {
  try {
    const { reason } = JSON.parse(text) as { reason?: unknown };
    return typeof reason === "string" ? reason : text;
  } catch {
    return text.slice(0, 200);
  }
}
