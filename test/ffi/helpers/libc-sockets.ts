/** What Bun does not have of the C library: a service manager's ends of sockets, and the system's clock. */
import { dlopen } from "bun:ffi";
import { closeSync } from "node:fs";

const { symbols: libc } = dlopen("libc.so.6", {
  socket: { args: ["i32", "i32", "i32"], returns: "i32" },
  bind: { args: ["i32", "ptr", "u32"], returns: "i32" },
  listen: { args: ["i32", "i32"], returns: "i32" },
  recv: { args: ["i32", "ptr", "u64", "i32"], returns: "i64" },
  clock_gettime: { args: ["i32", "ptr"], returns: "i32" },
  getsockname: { args: ["i32", "ptr", "ptr"], returns: "i32" },
});

const AF_UNIX = 1;
const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const MSG_DONTWAIT = 0x40;

/** Receives datagrams at a path, or at "@name". */
export class DatagramSocket implements Disposable {
  readonly #fd: number;

  constructor(address: string) {
    this.#fd = open(AF_UNIX, SOCK_DGRAM, unixAddress(address));
  }

  receive(): string | undefined {
    const bytes = Buffer.alloc(4096);
    const length = Number(libc.recv(this.#fd, bytes, bytes.length, MSG_DONTWAIT));
    return length < 0 ? undefined : bytes.toString("utf8", 0, length);
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }
}

/** Sockets that listen before any server runs. They block, and are inherited: whoever takes them over has to see to it. */
export class ListeningSocket implements Disposable {
  readonly fd: number;
  /** 0 for a unix socket. */
  readonly port: number;

  /** A path, "@name", or an IP address, with a port of the system's choice. */
  constructor(address: string) {
    const unix = /^[/@]/.test(address);
    const ipv6 = address.includes(":");
    const where = unix ? unixAddress(address) : ipv6 ? ipv6Address(address) : ipv4Address(address);
    this.fd = open(unix ? AF_UNIX : ipv6 ? AF_INET6 : AF_INET, SOCK_STREAM, where);
    must(libc.listen(this.fd, 128), "listen");
    const name = Buffer.alloc(128);
    must(libc.getsockname(this.fd, name, Uint32Array.of(name.length)), "getsockname");
    this.port = unix ? 0 : name.readUInt16BE(2);
  }

  [Symbol.dispose](): void {
    closeSync(this.fd);
  }
}

/** CLOCK_MONOTONIC, in microseconds. */
export function systemClockUs(): number {
  const time = new BigInt64Array(2);
  must(libc.clock_gettime(1, time), "clock_gettime");
  return Number(time[0]) * 1e6 + Number(time[1]) / 1e3;
}

function open(domain: number, type: number, address: Buffer): number {
  const fd = must(libc.socket(domain, type | SOCK_CLOEXEC, 0), "socket");
  must(libc.bind(fd, address, address.length), "bind");
  return fd;
}

function must(result: number, call: string): number {
  if (result < 0) throw new Error(`${call} failed`);
  return result;
}

function unixAddress(address: string): Buffer {
  return Buffer.concat([family(AF_UNIX), Buffer.from(address.replace(/^@/, "\0"))]);
}

function ipv4Address(host: string): Buffer {
  const bytes = Buffer.alloc(16);
  family(AF_INET).copy(bytes);
  Buffer.from(host.split(".").map(Number)).copy(bytes, 4);
  return bytes;
}

/** "::" and "::1". */
function ipv6Address(host: string): Buffer {
  const bytes = Buffer.alloc(28);
  family(AF_INET6).copy(bytes);
  bytes[23] = host === "::1" ? 1 : 0;
  return bytes;
}

function family(number: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16LE(number);
  return bytes;
}
