import { type CommandDef, renderUsage, runCommand } from "citty";
import { PhprunError } from "../errors.ts";
import { print, printError } from "./output.ts";
import { root } from "./root.ts";
import { findCommand, type Found, metaOf } from "./usage.ts";

/** Run one command line and return the exit code: 0 fine, 1 failed at run time, 2 wrong use or configuration. */
export async function runCli(argv: readonly string[]): Promise<number> {
  try {
    const line = withShortcuts(argv);
    const found = findCommand(root, line);
    if (found.help) {
      print(await help(found));
      return 0;
    }
    if (found.command.run === undefined) {
      printError(await help(found));
      return 2;
    }
    const { result } = await runCommand(found.command, { rawArgs: [...found.rest] });
    return typeof result === "number" ? result : 0;
  } catch (error) {
    return report(error);
  }
}

/** `phprun help serve` and `phprun --version`, as other tools have them. */
function withShortcuts(argv: readonly string[]): readonly string[] {
  const [first, ...rest] = argv;
  if (first === "help") return [...rest, "--help"];
  if (argv.length === 1 && (first === "--version" || first === "-v" || first === "-V")) return ["version"];
  return argv;
}

async function help({ command, names }: Found): Promise<string> {
  const above: CommandDef = { meta: { name: ["phprun", ...names.slice(0, -1)].join(" ") } };
  const own =
    names.length === 0 ? command : { ...command, meta: { ...metaOf(command), name: names.at(-1) ?? "" } };
  return `${await renderUsage(own, names.length === 0 ? undefined : above)}\n`;
}

/** Tell a person what went wrong; the stack is for those who ask for it. */
export function report(error: unknown): number {
  const debug = process.env["PHPRUN_DEBUG"] === "1";
  if (error instanceof PhprunError) {
    printError(`phprun: ${debug ? (error.stack ?? error.message) : error.message}\n`);
    if (debug && error.cause !== undefined) printError(`caused by: ${Bun.inspect(error.cause)}\n`);
    return error.exitCode;
  }
  const message = error instanceof Error ? error.message : String(error);
  printError(
    `phprun: ${debug ? Bun.inspect(error) : `${message}\nThis should not happen. PHPRUN_DEBUG=1 shows where it did.`}\n`,
  );
  return 1;
}
