import type { ArgDef, CommandDef } from "citty";
import { nearest } from "../config/nearest.ts";
import { PhprunError } from "../errors.ts";

/** A command found on the command line, and what is left of the line for it. */
export interface Found {
  readonly command: CommandDef;
  /** Names from the top: ["config", "check"]. */
  readonly names: readonly string[];
  readonly rest: readonly string[];
  readonly help: boolean;
}

/**
 * Check a command line against the command definitions. citty takes unknown flags and surplus words in silence;
 * a mistyped flag that is ignored is worse than an error.
 */
export function findCommand(root: CommandDef, argv: readonly string[]): Found {
  let command = root;
  const names: string[] = [];
  let rest = argv;
  for (;;) {
    const commands = subCommands(command);
    const word = rest[0];
    if (Object.keys(commands).length === 0 || word === undefined || word.startsWith("-")) break;
    const next = Object.hasOwn(commands, word) ? commands[word] : undefined;
    if (next === undefined) throw unknownCommand(word, names, visibleNames(commands));
    command = next;
    names.push(word);
    rest = rest.slice(1);
  }
  const help = rest.some(
    (word, index) => (word === "--help" || word === "-h") && !rest.slice(0, index).includes("--"),
  );
  if (!help) checkRest(command, names, rest);
  return { command, names, rest, help };
}

function checkRest(command: CommandDef, names: readonly string[], rest: readonly string[]): void {
  const args = argsOf(command);
  const positionals = Object.entries(args).filter(([, arg]) => arg.type === "positional");
  let words = 0;
  for (let index = 0; index < rest.length; index++) {
    const word = rest[index] ?? "";
    if (!word.startsWith("-") || word === "-") {
      const name = positionals[words++]?.[0];
      if (name === undefined) throw usage(names, `unexpected word "${word}"`);
      checkOption(names, name.toUpperCase(), word, args[name]);
      continue;
    }
    const [flag = "", value] = word.split(/=(.*)/s, 2);
    const name = flagName(flag, args);
    if (name === undefined) throw unknownFlag(flag, names, args);
    const takesValue = args[name]?.type === "string" || args[name]?.type === "enum";
    if (!takesValue && value !== undefined) throw usage(names, `${flag} takes no value`);
    if (!takesValue) continue;
    const given = value ?? rest[++index];
    if (given === undefined || (value === undefined && given.startsWith("--")))
      throw usage(names, `${flag} needs a value`);
    checkOption(names, flag, given, args[name]);
  }
  const missing = positionals[words]?.[0];
  if (missing !== undefined && args[missing]?.required !== false)
    throw usage(names, `${missing.toUpperCase()} is missing`);
}

function checkOption(names: readonly string[], what: string, given: string, arg: ArgDef | undefined): void {
  const options = arg !== undefined && "options" in arg ? arg.options : undefined;
  if (options === undefined || options.includes(given)) return;
  const near = nearest(given, options);
  const hint = near === undefined ? "" : `; did you mean "${near}"?`;
  throw usage(names, `${what} must be one of ${options.join(", ")}, received "${given}"${hint}`);
}

function flagName(flag: string, args: Readonly<Record<string, ArgDef>>): string | undefined {
  for (const [name, arg] of Object.entries(args)) {
    if (arg.type === "positional") continue;
    const aliases = "alias" in arg && arg.alias !== undefined ? [arg.alias].flat() : [];
    if (flag === `--${name}` || aliases.some((alias) => flag === `-${alias}`)) return name;
  }
  return undefined;
}

function unknownCommand(word: string, names: readonly string[], known: readonly string[]): PhprunError {
  const near = nearest(word, known);
  const hint =
    near === undefined
      ? `known are ${known.join(", ")}`
      : `did you mean "${["phprun", ...names, near].join(" ")}"?`;
  return new PhprunError(
    "USAGE_UNKNOWN_COMMAND",
    `Cannot run "${["phprun", ...names, word].join(" ")}": unknown command; ${hint}`,
  );
}

function unknownFlag(
  flag: string,
  names: readonly string[],
  args: Readonly<Record<string, ArgDef>>,
): PhprunError {
  const known = [...flagNames(args), "help"];
  const near = nearest(flag.replace(/^-+/, ""), known);
  const hint =
    near === undefined ? `see "${["phprun", ...names].join(" ")} --help"` : `did you mean --${near}?`;
  return usage(names, `unknown flag ${flag}; ${hint}`);
}

function usage(names: readonly string[], problem: string): PhprunError {
  return new PhprunError("USAGE_INVALID", `Cannot run "${["phprun", ...names].join(" ")}": ${problem}`);
}

export const flagNames = (args: Readonly<Record<string, ArgDef>>): string[] =>
  Object.entries(args).flatMap(([name, arg]) => (arg.type === "positional" ? [] : [name]));

/** Our definitions are plain objects, never the promises and functions that citty also takes. */
export const argsOf = (command: CommandDef): Readonly<Record<string, ArgDef>> =>
  (command.args ?? {}) as Record<string, ArgDef>;
export const subCommands = (command: CommandDef): Readonly<Record<string, CommandDef>> =>
  (command.subCommands ?? {}) as Record<string, CommandDef>;
export const metaOf = (command: CommandDef) =>
  (command.meta ?? {}) as { name?: string; description?: string; hidden?: boolean };

export const visibleNames = (commands: Readonly<Record<string, CommandDef>>): string[] =>
  Object.keys(commands).filter((name) => metaOf(commands[name] ?? {}).hidden !== true);
