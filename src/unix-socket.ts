import { lstatSync, type Stats, unlinkSync } from "node:fs";
import { constants } from "node:os";
import { trySocket } from "../ffi/system.ts";
import { PhprunError } from "./errors.ts";

/** Makes way for a unix socket: one that a server left behind is removed; a living server's, or another file, is not. */
export async function claimSocket(path: string): Promise<void> {
  const stats = look(path);
  if (stats === undefined) return;
  if (!stats.isSocket()) {
    throw new PhprunError(
      "LISTEN",
      `Cannot listen on ${path}: there is a file of that name, and it is not a socket.`,
    );
  }
  // A full backlog, or no right to connect, does not say that nobody listens.
  if (probeSocket(path) !== "dead") {
    throw new PhprunError(
      "LISTEN",
      `Cannot listen on ${path}: the socket is in use. Stop what uses it, or choose another path.`,
    );
  }
  // Somebody may have taken the name meanwhile.
  if (look(path)?.ino === stats.ino) removeSocket(path);
}

const { ECONNREFUSED, ENOENT } = constants.errno;

/**
 * Does a server listen on this unix socket? `dead` is what the system says for certain. `unknown` is a server with a
 * full backlog, or a socket that we may not use: it must not be taken for one that was left behind.
 */
export function probeSocket(path: string): "living" | "dead" | "unknown" {
  const error = trySocket(path);
  if (error === 0) return "living";
  return error === ECONNREFUSED || error === ENOENT ? "dead" : "unknown";
}

export function removeSocket(path: string): void {
  try {
    if (look(path)?.isSocket() === true) unlinkSync(path);
  } catch {
    // Somebody else was quicker, or it is not ours to remove: listening on it will tell.
  }
}

function look(path: string): Stats | undefined {
  return lstatSync(path, { throwIfNoEntry: false });
}
