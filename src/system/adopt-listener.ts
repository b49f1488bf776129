import { closeSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { type ListenerAddress, listenerAddress, replaceWatched, type Watched } from "../../ffi/system.ts";
import { PhprunError } from "../errors.ts";
import type { ActivatedSocket } from "./activation.ts";

/*
 * Bun.serve cannot listen on a socket that is open already (https://github.com/oven-sh/bun/issues/22559). So it
 * listens somewhere else first, and then the socket behind its descriptor is exchanged.
 *
 * This leans on what Bun 1.4 does and nobody promises: a server has one listening descriptor in this process, one
 * epoll instance watches it from the moment it listens, and what Bun remembers of the socket is that descriptor's
 * number. Linux shows all of it in /proc/self. Where it is not so, `adoptListener` refuses, and nothing has changed.
 */

export type Place = { hostname: string; port: number } | { unix: string };

/** Where Bun is to listen until the socket is exchanged: nowhere that anybody would look. */
export function placeholder(address: ListenerAddress): Place {
  if (address.kind === "tcp") return { hostname: "127.0.0.1", port: 0 };
  return { unix: `\0phprun-${process.pid}-${Math.random().toString(36).slice(2)}` };
}

/**
 * Lets a server that listens on `place`, a placeholder, serve the socket of the service manager instead. Call it in the same
 * turn as listening: no connection has been taken then. The server owns the socket from here on, and closes it when it
 * stops; the service manager has it too, so that clients wait there for the next start. Client addresses are right
 * afterwards, but `server.port` and `server.url` still tell of the placeholder.
 */
export function adoptListener(
  server: { readonly port?: number | undefined },
  place: Place,
  socket: ActivatedSocket,
): void {
  const watched = findWatched(findListener(place, server.port), socket);
  replaceWatched(watched, socket.fd);
  closeSync(socket.fd);
}

function findListener(place: Place, port: number | undefined): number[] {
  const isIt = (found: ListenerAddress | undefined): boolean =>
    "unix" in place
      ? found?.kind === "unix" && found.path === `@${place.unix.slice(1)}`
      : found?.kind === "tcp" && found.host === place.hostname && found.port === port;
  return openDescriptors("socket:").filter((fd) => isIt(listenerAddress(fd)));
}

function findWatched(listeners: readonly number[], socket: ActivatedSocket): Watched {
  const watched = openDescriptors("anon_inode:[eventpoll]").flatMap((epoll) =>
    watchedBy(epoll).filter(({ fd }) => listeners.includes(fd)),
  );
  const [only] = watched;
  if (only !== undefined && watched.length === 1) return only;
  throw new PhprunError(
    "LISTEN",
    `Cannot listen on socket "${socket.name}" of the service manager: Bun ${Bun.version} must watch one listening socket of this server, found ${listeners.length} sockets, watched ${watched.length} times. Stop using the socket unit, and let phprun open the listener (server.listen).`,
  );
}

function openDescriptors(kind: string): number[] {
  return readdirSync("/proc/self/fd")
    .filter((name) => {
      try {
        return readlinkSync(`/proc/self/fd/${name}`).startsWith(kind);
      } catch {
        return false; // closed meanwhile: the folder itself, for one
      }
    })
    .map(Number);
}

/** Lines of the form "tfd: 5 events: 19 data: 2f1061f5a00 …", the last two in hexadecimal. */
function watchedBy(epoll: number): Watched[] {
  const text = readFileSync(`/proc/self/fdinfo/${epoll}`, "utf8");
  return [...text.matchAll(/^tfd:\s*(\d+)\s+events:\s*([0-9a-f]+)\s+data:\s*([0-9a-f]+)/gm)].map(
    ([, fd, events, data]) => ({
      epoll,
      fd: Number(fd),
      events: Number.parseInt(events ?? "", 16),
      data: BigInt(`0x${data}`),
    }),
  );
}
