import { defineCommand } from "citty";
import { askReload } from "../control/client.ts";
import { findSocket, notRunning } from "../control/find.ts";
import { PhprunError } from "../errors.ts";
import { escapeControl } from "../log/escape.ts";
import { configArg, seconds, socketArg, textFlag } from "./args.ts";
import { say } from "./output.ts";
import { wantedServer } from "./wanted.ts";

/** Starting PHP, its health check and a busy machine have room in it. */
const WAIT_MS = 120_000;

export const reload = defineCommand({
  meta: {
    name: "reload",
    description: "Have a running server read its configuration and start PHP anew, without losing a request",
  },
  args: {
    ...configArg,
    ...socketArg,
    timeout: {
      type: "string",
      valueHint: "seconds",
      description: "How long to wait for the outcome; by default 120 s",
    },
  },
  async run({ args }) {
    const waitMs = args.timeout === undefined ? WAIT_MS : seconds("--timeout", args.timeout, 0.1);
    const wanted = wantedServer(textFlag(args.socket), textFlag(args.config));
    const socket = await findSocket(wanted, false);
    if (socket === null) throw await notRunning(wanted);
    const answer = await askReload(socket, waitMs).catch((error: unknown) => {
      throw error instanceof PhprunError && error.code === "NO_ANSWER"
        ? new PhprunError("NO_ANSWER", `${error.message}; see phprun status for what has become of it`)
        : error;
    });
    if (!answer.ok) throw new PhprunError("RELOAD_REFUSED", `Reload refused: ${escapeLines(answer.reason)}`);
    const notes = answer.notes.map(escapeControl).join(", ");
    say.success(notes === "" ? "reloaded" : `reloaded: ${notes}`);
  },
});

/** A reason has a line for each error, and may quote what the application printed. */
function escapeLines(text: string): string {
  return text.split("\n").map(escapeControl).join("\n");
}
