import { readdirSync } from "node:fs";
import { join } from "node:path";
import { PhprunError } from "../errors.ts";
import { escapeControl } from "../log/escape.ts";
import { ANSWER_MS, askStatus } from "./client.ts";
import { probeSocket } from "../unix-socket.ts";
import { isTrusted, SOCKET_NAME, socketFolders } from "./place.ts";

/** Which server a command is meant for. */
export interface Wanted {
  /** For messages: "/srv/app/phprun.yaml". */
  readonly name: string;
  /** Where the socket is when it was named; `null` when the configuration turns it off. */
  readonly socket: string | "auto" | null;
  readonly identity: string;
}

/**
 * The socket of the wanted server; null when there is none. `guess` takes the only server of this user when the wanted
 * one does not run: fine for a look at it, too bold for a stop.
 */
export async function findSocket(
  wanted: Wanted,
  guess: boolean,
  folders: readonly string[] = socketFolders(),
): Promise<string | null> {
  if (wanted.socket === null) return null;
  if (wanted.socket !== "auto") return probeSocket(wanted.socket) === "dead" ? null : wanted.socket;
  const living = await livingSockets(folders);
  const own = living.filter((path) => SOCKET_NAME.exec(nameOf(path))?.[1] === wanted.identity);
  const candidates = own.length > 0 || !guess ? own : living;
  if (candidates.length > 1) {
    throw new PhprunError(
      "SEVERAL_SERVERS",
      `Cannot tell which server is meant: several run; choose one with ${own.length > 0 ? "" : "--config or "}--socket\n${await describeAll(candidates)}`,
    );
  }
  return candidates[0] ?? null;
}

/** What to say when the wanted server does not run: which others do. */
export async function notRunning(
  wanted: Wanted,
  folders: readonly string[] = socketFolders(),
): Promise<PhprunError> {
  if (wanted.socket === null) {
    return new PhprunError(
      "NOT_RUNNING",
      `Cannot reach a server: ${wanted.name} turns the control socket off (server.control_socket)`,
    );
  }
  const lines = [`no server is running for ${wanted.name}; start it with phprun serve`];
  const others = wanted.socket === "auto" ? await livingSockets(folders) : [];
  if (others.length > 0) {
    lines.push("These run; choose one with --config or --socket:", await describeAll(others));
  }
  return new PhprunError("NOT_RUNNING", lines.join("\n"));
}

async function livingSockets(folders: readonly string[]): Promise<string[]> {
  const paths = folders.filter((folder) => isTrusted(folder)).flatMap(socketsIn);
  const verdicts = await Promise.all(paths.map(probeSocket));
  return paths.filter((_, index) => verdicts[index] !== "dead");
}

function socketsIn(folder: string): string[] {
  return readdirSync(folder)
    .filter((name) => SOCKET_NAME.test(name))
    .sort()
    .map((name) => join(folder, name));
}

async function describeAll(paths: readonly string[]): Promise<string> {
  return (await Promise.all(paths.map(describe))).join("\n");
}

async function describe(path: string): Promise<string> {
  try {
    const { status } = await askStatus(path, ANSWER_MS / 5);
    const { pid, docroot, config } = status;
    return escapeControl(`  pid=${pid} docroot=${docroot} config=${config ?? "none"} socket=${path}`);
  } catch {
    return `  socket=${path} (it does not answer)`;
  }
}

function nameOf(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}
