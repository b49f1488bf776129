import { defineCommand } from "citty";
import { askStatus } from "../control/client.ts";
import { findSocket, notRunning, type Wanted } from "../control/find.ts";
import { asciiJson } from "../control/json.ts";
import { notReadyReason } from "../control/readiness.ts";
import type { ServerStatus } from "../control/status.ts";
import { escapeControl } from "../log/escape.ts";
import { PhprunError } from "../errors.ts";
import { configArg, seconds, socketArg, textFlag } from "./args.ts";
import { hasColors, print } from "./output.ts";
import { wantedServer } from "./wanted.ts";

export const status = defineCommand({
  meta: { name: "status", description: "Show what a running server does: pools, workers, requests, memory" },
  args: {
    ...configArg,
    ...socketArg,
    pool: { type: "string", valueHint: "name", description: "Only this pool" },
    json: { type: "boolean", description: "As JSON" },
    watch: { type: "boolean", description: "Show it anew again and again, until Ctrl-C" },
    interval: {
      type: "string",
      valueHint: "seconds",
      description: "How often --watch looks; by default every second",
    },
  },
  async run({ args }) {
    const intervalMs = args.interval === undefined ? 1000 : seconds("--interval", args.interval, 0.1);
    const wanted = wantedServer(textFlag(args.socket), textFlag(args.config));
    // Whoever names a server wants that one or none.
    const guess = args.config === undefined && args.socket === undefined;
    const look = () => lookAt(wanted, guess, textFlag(args.pool), args.json === true);
    if (args.watch) {
      const { watch } = await import("./watch-screen.ts");
      await watch(look, intervalMs);
      return 0;
    }
    const { text, reason } = await look();
    print(text);
    if (reason === null) return 0;
    throw new PhprunError("NOT_READY", `Not ready: ${escapeControl(reason)}`);
  },
});

/** What to print, and why the server is not ready; null when it is. */
export interface Look {
  readonly text: string;
  readonly reason: string | null;
}

async function lookAt(
  wanted: Wanted,
  guess: boolean,
  pool: string | undefined,
  json: boolean,
): Promise<Look> {
  const socket = await findSocket(wanted, guess);
  if (socket === null) throw await notRunning(wanted);
  const { text, status: whole } = await askStatus(socket);
  const reason = notReadyReason(whole);
  const shown = pool === undefined ? whole : onlyPool(whole, pool);
  if (json) return { text: `${pool === undefined ? text : asciiJson(shown)}\n`, reason };
  const { renderStatus } = await import("../control/render-status.ts");
  return { text: renderStatus(shown, { columns: columns(), color: hasColors(process.stdout) }), reason };
}

function onlyPool(whole: ServerStatus, name: string): ServerStatus {
  const pools = whole.pools.filter((pool) => pool.name === name);
  if (pools.length > 0) return { ...whole, pools };
  throw new PhprunError(
    "USAGE_UNKNOWN_POOL",
    `Cannot show pool "${name}": must be one of ${whole.pools.map((pool) => pool.name).join(", ")}`,
  );
}

/** Nothing is cut for a reader that is no terminal, unless COLUMNS says how wide it is. */
function columns(): number {
  const told = Number(process.env["COLUMNS"] ?? "");
  return process.stdout.columns || (Number.isInteger(told) && told > 0 ? told : Number.POSITIVE_INFINITY);
}
