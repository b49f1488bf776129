import { resolve } from "node:path";
import type { Config } from "../config/config.ts";
import { findConfigFile } from "../config/find-file.ts";
import { loadConfig } from "../config/load.ts";
import type { Wanted } from "../control/find.ts";
import { socketIdentity } from "../control/place.ts";
import { PhprunError } from "../errors.ts";

/**
 * Which server these flags mean, by the same look-up of the configuration as the server's own. A configuration that is
 * wrong by now still tells which file the server was started with: what is wrong with it is for the server to say.
 */
export function wantedServer(socket: string | undefined, configFlag: string | undefined): Wanted {
  if (socket !== undefined) {
    const path = resolve(socket);
    return { name: path, socket: path, identity: "" };
  }
  const source = findConfigFile(configFlag, process.env["PHPRUN_CONFIG"], process.cwd());
  try {
    return wantedBy(loadConfig({ flags: { config: configFlag } }));
  } catch (error) {
    if (source === null || !(error instanceof PhprunError)) throw error;
    return { name: source, socket: "auto", identity: socketIdentity(source, "") };
  }
}

export function wantedBy({ source, php, server }: Config): Wanted {
  return {
    name: source ?? `the folder ${php.docroot}`,
    socket: server.controlSocket,
    identity: socketIdentity(source, php.docroot),
  };
}
