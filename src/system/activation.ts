import { type ListenerAddress, listenerAddress, makePrivate } from "../../ffi/system.ts";
import { PhprunError } from "../errors.ts";

/** A listening socket that the service manager has opened for us. */
export interface ActivatedSocket {
  readonly fd: number;
  /** FileDescriptorName= of the socket unit, by default the unit's name. */
  readonly name: string;
  readonly address: ListenerAddress;
}

/** The first descriptor that is handed over; the others follow. */
const FIRST_FD = 3;

/**
 * Sockets of systemd's socket activation. Says so once: the environment is cleared, so that no program started later
 * takes them for its own, and none inherits them.
 */
export function activatedSockets(
  env: Record<string, string | undefined> = process.env,
  pid = process.pid,
): ActivatedSocket[] {
  const { LISTEN_FDS: count = "0", LISTEN_PID: meant, LISTEN_FDNAMES: names = "" } = env;
  delete env["LISTEN_FDS"];
  delete env["LISTEN_PID"];
  delete env["LISTEN_PIDFDID"];
  delete env["LISTEN_FDNAMES"];
  // Not ours: inherited from whoever they were meant for.
  if (meant !== String(pid) || !/^\d{1,4}$/.test(count)) return [];
  const nameOf = names.split(":");
  return Array.from({ length: Number(count) }, (_, i) => take(FIRST_FD + i, nameOf[i] ?? ""));
}

function take(fd: number, name: string): ActivatedSocket {
  const address = listenerAddress(fd);
  if (address === undefined) {
    throw new PhprunError(
      "LISTEN",
      `Cannot use socket "${name}" (descriptor ${fd}) of the service manager: it must be a listening stream socket, TCP or unix (ListenStream=, with Accept=no)`,
    );
  }
  makePrivate(fd);
  return { fd, name, address };
}
