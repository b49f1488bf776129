import { type CommandDef, defineCommand } from "citty";
import { print } from "./output.ts";
import { argsOf, flagNames, metaOf, subCommands, visibleNames } from "./usage.ts";

const SHELLS = ["bash", "zsh", "fish"];

export const completion = defineCommand({
  meta: { name: "completion", description: "Print the completion script for a shell" },
  args: { shell: { type: "positional", description: `One of ${SHELLS.join(", ")}`, options: SHELLS } },
  async run({ args }) {
    const { root } = await import("./root.ts");
    print(completionScript(String(args.shell), root));
  },
});

/** What may follow one chain of commands. */
interface Entry {
  readonly chain: string;
  readonly words: readonly { readonly text: string; readonly help: string }[];
}

export function completionScript(shell: string, root: CommandDef): string {
  const entries = collect(root, []);
  if (shell === "fish") return fish(entries);
  return shell === "zsh"
    ? `#compdef phprun\nautoload -U +X bashcompinit && bashcompinit\n${bash(entries)}`
    : bash(entries);
}

function collect(command: CommandDef, chain: readonly string[]): Entry[] {
  const commands = subCommands(command);
  const names = visibleNames(commands);
  const args = argsOf(command);
  const words = [
    ...names.map((name) => ({ text: name, help: metaOf(commands[name] ?? {}).description ?? "" })),
    ...Object.values(args)
      .flatMap((arg) => ("options" in arg ? (arg.options ?? []) : []))
      .map((text) => ({ text, help: "" })),
    ...flagNames(args).map((name) => ({ text: `--${name}`, help: args[name]?.description ?? "" })),
    { text: "--help", help: "Show the help" },
  ];
  return [
    { chain: chain.join(" "), words },
    ...names.flatMap((name) => collect(commands[name] ?? {}, [...chain, name])),
  ];
}

function bash(entries: readonly Entry[]): string {
  const cases = entries.map(
    ({ chain, words }) => `    "${chain}") words="${words.map(({ text }) => text).join(" ")}" ;;`,
  );
  const chains = entries.flatMap(({ chain }) => (chain === "" ? [] : [`"${chain}"`])).join("|");
  return `_phprun() {
  local current="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD-1]}" chain="" next words word
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    next="\${chain:+$chain }$word"
    case "$next" in ${chains}) chain="$next" ;; esac
  done
  case "$previous" in
    --config|-c|--pid-file|--socket|--worker-script) COMPREPLY=($(compgen -f -- "$current")); return ;;
    --root|--dir) COMPREPLY=($(compgen -d -- "$current")); return ;;
  esac
  case "$chain" in
${cases.join("\n")}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -F _phprun phprun
`;
}

function fish(entries: readonly Entry[]): string {
  const lines = entries.flatMap(({ chain, words }) => {
    const depth =
      chain === ""
        ? "__fish_use_subcommand"
        : chain
            .split(" ")
            .map((name) => `__fish_seen_subcommand_from ${name}`)
            .join("; and ");
    return words.map(({ text, help }) => {
      const word = text.startsWith("--") ? `-l ${text.slice(2)}` : `-f -a ${text}`;
      return `complete -c phprun -n '${depth}' ${word}${help === "" ? "" : ` -d '${help.replaceAll("'", "")}'`}`;
    });
  });
  return `${lines.join("\n")}\n`;
}
