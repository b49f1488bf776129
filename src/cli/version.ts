import { defineCommand } from "citty";
import { COMMIT, VERSION } from "../version.ts";
import { print } from "./output.ts";

export const version = defineCommand({
  meta: { name: "version", description: "Show the version" },
  args: { json: { type: "boolean", description: "As JSON" } },
  run({ args }) {
    const facts = {
      phprun: VERSION,
      commit: COMMIT,
      bun: Bun.version,
      platform: process.platform,
      arch: process.arch,
    };
    print(
      args.json
        ? `${JSON.stringify(facts)}\n`
        : `phprun ${VERSION} (${COMMIT}, Bun ${Bun.version}, ${process.platform} ${process.arch})\n`,
    );
  },
});
