/** What tests of reloads and pools share: commands to a running server, and its configuration written anew. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "bun:test";
import type { PoolStatus, ServerStatus } from "../../src/control/status.ts";
import { command, eventually, isolationConfig, type Server, type Tree } from "../harness.ts";
import { allGone, childrenOf, type Finished, isolationOf, isRunning, run } from "./support.ts";

/** A command as the user that runs the server types it. */
export async function phprun(server: Server, ...args: string[]): Promise<Finished> {
  const { XDG_RUNTIME_DIR } = process.env;
  return await run(command(server.target, ...args), {
    cwd: server.folder,
    env: XDG_RUNTIME_DIR === undefined ? {} : { XDG_RUNTIME_DIR },
  });
}

export async function statusOf(server: Server): Promise<ServerStatus> {
  const { code, out, err } = await phprun(server, "status", "--json");
  // 1: it is not ready, and that is told.
  expect({ code, err }).toEqual(
    code === 1 && out !== "" ? { code, err: expect.stringContaining("Not ready: ") } : { code: 0, err: "" },
  );
  return JSON.parse(out) as ServerStatus;
}

export async function poolOf(server: Server, name = "default"): Promise<PoolStatus> {
  const found = (await statusOf(server)).pools.find((pool) => pool.name === name);
  if (found === undefined) throw new Error(`There is no pool ${name}`);
  return found;
}

/** Writes phprun.yaml anew, with the address, the docroot and the isolation that the server was started with. */
export function configure(server: Server, config: Tree): void {
  const { server: place = {}, php = {} } = config as { server?: Tree; php?: Tree };
  const tree = {
    ...config,
    server: { host: "127.0.0.1", port: 0, ...place },
    php: { docroot: server.docroot, ...isolationConfig(isolationOf(server)), ...php },
  };
  server.write("phprun.yaml", JSON.stringify(tree));
}

/** A reload that must succeed. Returns what it told. */
export async function reload(server: Server): Promise<string> {
  const { code, out, err } = await phprun(server, "reload");
  expect({ code, err: code === 0 ? "" : err }).toEqual({ code: 0, err: "" });
  return out + err;
}

/** A reload that must be refused. Returns the reason. */
export async function refusedReload(server: Server): Promise<string> {
  const { code, out, err } = await phprun(server, "reload");
  expect({ code, out }).toEqual({ code: 1, out: "" });
  expect(err).toContain("Reload refused: ");
  return err;
}

/** The processes of hosts and workers of a server, without zombies, in the order of their pids. */
export function family(server: Server): number[] {
  const hosts = childrenOf(server.pid);
  return [...hosts, ...hosts.flatMap(childrenOf)].filter(isRunning).sort((a, b) => a - b);
}

/** Waits until these processes are gone, and only `count` are left. */
export async function replaced(server: Server, old: readonly number[], count: number): Promise<number[]> {
  await allGone(old);
  return await eventually(
    `${count} processes serve`,
    () => {
      const pids = family(server);
      return pids.length === count ? pids : undefined;
    },
    () => `There are ${family(server)}`,
  );
}

/** What scripts recorded under a name; empty when nothing. */
export function recorded(server: Server, name: string): string {
  try {
    return readFileSync(join(server.folder, "records", name), "utf8");
  } catch {
    return "";
  }
}
