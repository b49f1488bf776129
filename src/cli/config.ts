import { defineCommand } from "citty";
import { loadConfig } from "../config/load.ts";
import { configArg, textFlag } from "./args.ts";
import { print, say } from "./output.ts";

const check = defineCommand({
  meta: { name: "check", description: "Check the configuration and list everything that is wrong with it" },
  args: configArg,
  run({ args }) {
    const { source, pools } = loadConfig({ flags: { config: textFlag(args.config) } });
    const count = `${pools.length} ${pools.length === 1 ? "pool" : "pools"}`;
    say.success(
      source === null
        ? `No configuration file: the defaults are used, ${count}`
        : `${source} is fine, ${count}`,
    );
  },
});

const show = defineCommand({
  meta: { name: "print", description: "Print the configuration with every default filled in" },
  args: { ...configArg, json: { type: "boolean", description: "As JSON" } },
  async run({ args }) {
    const config = loadConfig({ flags: { config: textFlag(args.config) } });
    const { printConfig, toTree } = await import("../config/print.ts");
    print(args.json ? `${JSON.stringify(toTree(config), null, 2)}\n` : printConfig(config));
  },
});

const schema = defineCommand({
  meta: { name: "schema", description: "Print the JSON Schema of the configuration, for editors" },
  async run() {
    const { editorSchema } = await import("../config/json-schema.ts");
    print(`${JSON.stringify(editorSchema(), null, 2)}\n`);
  },
});

const reference = defineCommand({
  meta: { name: "reference", description: "Print the reference of every key, in markdown", hidden: true },
  async run() {
    const { configReference } = await import("../config/reference.ts");
    print(configReference());
  },
});

export const config = defineCommand({
  meta: { name: "config", description: "Check, print or describe the configuration" },
  subCommands: { check, print: show, schema, reference },
});
