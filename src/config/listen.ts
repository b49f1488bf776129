import { resolve } from "node:path";
import type { Listener } from "./config.ts";

/** Longest path a unix socket address holds on Linux, without its final NUL. */
export const MAX_SOCKET_PATH = 107;

/** Read `host:port`, `:port`, `[v6]:port` or `unix:/path`; a string says what is wrong with it. */
export function parseListen(text: string): Listener | string {
  if (text.startsWith("unix:")) {
    const path = text.slice("unix:".length);
    if (path === "") return 'must name a path after "unix:"';
    if (Buffer.byteLength(path) > MAX_SOCKET_PATH)
      return `must be a path of at most ${MAX_SOCKET_PATH} bytes`;
    return { kind: "unix", path };
  }
  const match = /^(?:\[([0-9a-fA-F:.%]+)\]|([^\s:/[\]]*)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port > 65_535)
    return 'must be "host:port" (0 to 65535), "[v6 address]:port" or "unix:/path"';
  return { kind: "tcp", host: match[1] ?? (match[2] || "0.0.0.0"), port };
}

export function formatListen(listener: Listener): string {
  if (listener.kind === "unix") return `unix:${listener.path}`;
  return listener.host.includes(":")
    ? `[${listener.host}]:${listener.port}`
    : `${listener.host}:${listener.port}`;
}

/** An IPv6 address may be written as it is in a URL. */
export const withoutBrackets = (host: string): string => host.replace(/^\[(.*)\]$/, "$1");

/** The same listener with its socket path made absolute. */
export function resolveListen(text: string, base: string): string {
  return text.startsWith("unix:") && text.length > "unix:".length
    ? `unix:${resolve(base, text.slice("unix:".length))}`
    : text;
}
