import { type CommandDef, defineCommand } from "citty";
import { VERSION } from "../version.ts";
import { completion } from "./completion.ts";
import { config } from "./config.ts";
import { doctor } from "./doctor.ts";
import { init } from "./init.ts";
import { reload } from "./reload.ts";
import { serve } from "./serve.ts";
import { status } from "./status.ts";
import { stop } from "./stop.ts";
import { version } from "./version.ts";

/** All commands; help and shell completion are made from this. */
export const root: CommandDef = defineCommand({
  meta: {
    name: "phprun",
    version: VERSION,
    description: "Run PHP applications: HTTP, static files and pools of PHP workers",
  },
  subCommands: { serve, status, reload, stop, config, init, doctor, version, completion },
});
