import { createConnection } from "node:net";

/** How long a connection to a socket on this machine may take; its server may be too busy to accept it. */
const CONNECT_MS = 2_000;

/**
 * Does a server listen on this unix socket? `dead` is what the system says for certain. `unknown` is a server with a
 * full backlog, or a socket that we may not use: it must not be taken for one that was left behind.
 */
export function probeSocket(path: string): Promise<"living" | "dead" | "unknown"> {
  return new Promise((resolve) => {
    const socket = createConnection({ path });
    const timer = setTimeout(() => settle("unknown"), CONNECT_MS);
    const settle = (verdict: "living" | "dead" | "unknown") => {
      clearTimeout(timer);
      socket.destroy();
      resolve(verdict);
    };
    socket.once("connect", () => settle("living"));
    socket.once("error", ({ code }: NodeJS.ErrnoException) =>
      settle(code === "ECONNREFUSED" || code === "ENOENT" ? "dead" : "unknown"),
    );
  });
}
