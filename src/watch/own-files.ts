import { resolve } from "node:path";
import type { Config } from "../config/config.ts";

/** What phprun itself writes and could lie in a watched folder; spool files have no name. */
export function ownFiles(config: Config): string[] {
  const { server, logging } = config;
  const sockets = server.listeners.map((listener) => (listener.kind === "unix" ? listener.path : null));
  return [server.pidFile, server.controlSocket, logging.file, logging.accessFile, ...sockets].flatMap(
    (path) => (path === null || path === "auto" ? [] : [resolve(path)]),
  );
}
