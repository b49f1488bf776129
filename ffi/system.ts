import { constants } from "node:os";
import { PhprunError } from "../src/errors.ts";
import { check, transport } from "./transport.ts";

/** A connected pair of non-blocking unix stream sockets. The caller owns both descriptors. */
export function socketPair(): [number, number] {
  const pair = new Int32Array(2);
  check(transport().symbols.phprun_socketpair(pair), "make a socket pair");
  return [pair[0] ?? -1, pair[1] ?? -1];
}

/** Opens a library for the whole process, so that libraries opened later find its symbols. */
export function openGlobal(path: string): void {
  const file = Buffer.from(`${path}\0`);
  const message = new Uint8Array(1024);
  const length = transport().symbols.phprun_open_global(file, message, message.length);
  if (length === 0) return;
  throw new PhprunError(
    "LIBRARY",
    `Cannot open ${path}: ${new TextDecoder().decode(message.slice(0, length))}`,
  );
}

/** Raises the limit of open files as far as the system allows. Returns what it is then. */
export function raiseOpenFiles(): number {
  return transport().symbols.phprun_raise_open_files();
}

/** Gives a range of a file back to the file system; the file keeps its size. */
export function punchHole(fd: number, offset: number, bytes: number): void {
  check(transport().symbols.phprun_punch(fd, offset, bytes), "free a range of the spool file");
}

/** Sets how many files this process may have open, at most the hard limit. Returns what it is then. */
export function limitOpenFiles(files: number): number {
  return check(transport().symbols.phprun_limit_open_files(files), "limit the open files");
}

/** Sends one datagram to a unix socket: a path, or "@name" for an abstract one. */
export function sendDatagram(address: string, message: string): void {
  const to = Buffer.from(`${address}\0`);
  const bytes = Buffer.from(message);
  check(transport().symbols.phprun_notify(to, bytes, bytes.length), `send to ${address}`);
}

/** Tries a unix socket without waiting: 0 when somebody listens, else the error, such as ECONNREFUSED or EAGAIN. */
export function trySocket(path: string): number {
  return -transport().symbols.phprun_try_socket(Buffer.from(`${path}\0`));
}

/** The system's monotonic clock, in microseconds. Bun's own counts from the start of the process. */
export function monotonicUs(): number {
  return transport().symbols.phprun_monotonic_us();
}

/** Where a listening stream socket listens; undefined when the descriptor is none. */
export function listenerAddress(fd: number): ListenerAddress | undefined {
  const out = new Uint8Array(512);
  const length = transport().symbols.phprun_listener_address(fd, out, out.length);
  if (length < 0) return undefined;
  const text = new TextDecoder().decode(out.slice(0, length));
  const [kind = "", host = "", port = ""] = text.split(" ");
  return kind === "unix"
    ? { kind, path: text.slice("unix ".length) }
    : { kind: "tcp", host, port: Number(port) };
}

export type ListenerAddress =
  | { readonly kind: "tcp"; readonly host: string; readonly port: number }
  /** "@name" is an abstract socket. */
  | { readonly kind: "unix"; readonly path: string };

/** Makes a descriptor non-blocking, and keeps it from every program that is started. */
export function makePrivate(fd: number): void {
  check(transport().symbols.phprun_make_private(fd), `keep descriptor ${fd} to this process`);
}

/** One descriptor that an epoll instance watches. */
export interface Watched {
  readonly epoll: number;
  readonly fd: number;
  readonly events: number;
  readonly data: bigint;
}

/** Puts the file behind `given` in the place of a watched one. `given` stays open. */
export function replaceWatched({ epoll, fd, events, data }: Watched, given: number): void {
  const low = Number(data & 0xffff_ffffn);
  const high = Number(data >> 32n);
  check(
    transport().symbols.phprun_replace_watched(epoll, fd, given, events, low, high),
    `put descriptor ${given} in the place of ${fd}`,
  );
}

/** Takes note of the end of a child. False when it still runs, or is not ours (any more). */
export function reap(pid: number): boolean {
  return transport().symbols.phprun_reap(pid) === 1;
}

/** Nice value of this thread and of what it starts from here on. */
export function setNice(nice: number): void {
  check(transport().symbols.phprun_set_nice(nice), `set the nice value ${nice}`);
}

/** Processors this thread, and what it starts from here on, may run on. */
export function setAffinity(processors: readonly number[]): void {
  const list = Int32Array.from(processors);
  check(
    transport().symbols.phprun_set_affinity(list, list.length),
    `use processors ${processors.join(", ")}`,
  );
}

/** Makes the whole process this user's, for good. */
export function becomeUser(user: { name: string; uid: number; gid: number }): void {
  const name = Buffer.from(`${user.name}\0`);
  const message = new Uint8Array(256);
  const length = transport().symbols.phprun_become_user(name, user.uid, user.gid, message, message.length);
  if (length === 0) return;
  throw new PhprunError("SYSTEM", new TextDecoder().decode(message.slice(0, length)));
}

/**
 * Has this process killed when its parent ends. `socket` leads to the parent.
 * False when the parent has ended already.
 */
export function dieWithParent(socket: number): boolean {
  const result = transport().symbols.phprun_die_with_parent(socket);
  if (result === -constants.errno.ESRCH) return false;
  check(result, "ask to end with the parent");
  return true;
}

/** The home folder of a user; undefined when the system does not know the user. */
export function homeOf(uid: number): string | undefined {
  const out = new Uint8Array(4096);
  const length = transport().symbols.phprun_home_of(uid, out, out.length);
  return length < 0 ? undefined : new TextDecoder().decode(out.slice(0, length));
}
