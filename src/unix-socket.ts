import { lstatSync, type Stats, unlinkSync } from "node:fs";
import { createConnection } from "node:net";
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
  if (await isAnswered(path)) {
    throw new PhprunError(
      "LISTEN",
      `Cannot listen on ${path}: the socket is in use. Stop what uses it, or choose another path.`,
    );
  }
  removeSocket(path);
}

export function removeSocket(path: string): void {
  try {
    if (look(path)?.isSocket() === true) unlinkSync(path);
  } catch {
    // Somebody else was quicker, or it is not ours to remove: listening on it will tell.
  }
}

function isAnswered(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ path });
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}

function look(path: string): Stats | undefined {
  return lstatSync(path, { throwIfNoEntry: false });
}
