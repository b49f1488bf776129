import { mkdirSync } from "node:fs";
import type { Scratch } from "./scratch.ts";

/** What a server serves. */
export interface Site {
  readonly docroot: string;
  /** For phprun's worker mode. */
  readonly workerScript: string;
  /** Do all paths that are no file lead to its index.php? */
  readonly frontController: boolean;
  /** Where it says "Hello, world!". */
  readonly helloPath: string;
  /** In worker mode. */
  readonly workerEnv?: Readonly<Record<string, string>>;
  /** Fills the folder that a server has to itself, before it starts. An application without one keeps nothing. */
  readonly prepare?: (state: string) => void;
}

/** The scripts of bench/docroot/. */
export function plainSite(scratch: Scratch): Site {
  const docroot = scratch.path("docroot");
  return {
    docroot,
    workerScript: `${docroot}/worker.php`,
    frontController: false,
    helloPath: "/hello.php",
  };
}

/** The environment of the site's scripts; makes the folder that it names. */
export function environmentOf(scratch: Scratch, site: Site, name: string): Record<string, string> {
  if (site.prepare === undefined) return {};
  const state = scratch.path(`${name}.state`);
  mkdirSync(state);
  site.prepare(state);
  return { APP_STATE_DIR: state };
}
