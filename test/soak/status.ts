import type { ServerStatus } from "../../src/control/status.ts";
import { hasCommand } from "./available.ts";
import type { Phprun } from "./phprun.ts";

/** What the server says of itself; null when this build does not, or the server does not answer. */
export function statusOf(server: Phprun): ServerStatus | null {
  if (!hasCommand(server.command, "status")) return null;
  const text = server.run("status", "--json", "--config", server.configFile);
  return text === null ? null : (JSON.parse(text) as ServerStatus);
}

/** Requests that have a slot or wait for one, of all pools together. */
export function requestsIn({ pools }: ServerStatus): number {
  return pools.reduce((sum, { generations, queue }) => {
    return generations.reduce((slots, { inFlight }) => slots + inFlight, sum + queue.waiting);
  }, 0);
}
