import type { ServerStatus } from "./status.ts";

type Facts = Pick<ServerStatus, "state" | "ready"> & {
  readonly pools: readonly Pick<ServerStatus["pools"][number], "name" | "state" | "lastError">[];
};

/** Why new requests should go elsewhere; null when the server is ready for them. */
export function notReadyReason({ state, ready, pools }: Facts): string | null {
  if (state === "stopping") return "the server is stopping";
  if (ready) return null;
  const failed = pools.find((pool) => pool.state === "failed");
  if (failed !== undefined) {
    const [cause] = (failed.lastError ?? "").split("\n", 1);
    return `pool ${failed.name} has failed${cause ? `: ${cause}` : ""}`;
  }
  const starting = pools.find((pool) => pool.state === "starting");
  if (starting !== undefined) return `no PHP worker of pool ${starting.name} has answered yet`;
  return state === "starting" ? "the server is starting" : "no PHP worker can answer";
}
