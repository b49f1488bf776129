import { statSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import { defineCommand } from "citty";
import { PhprunError } from "../errors.ts";
import { isKind, KINDS } from "../init/kind.ts";
import { WORKER_SCRIPT } from "../init/runner.ts";
import { CONFIG_FILE, type Plan, plan } from "../init/plan.ts";
import { writeFiles } from "../init/write-files.ts";
import { textFlag } from "./args.ts";
import { print, say } from "./output.ts";

export const init = defineCommand({
  meta: { name: "init", description: "Find the application in a folder and write a configuration for it" },
  args: {
    kind: {
      type: "positional",
      required: false,
      options: [...KINDS],
      description: `What it is, when it is not to be found out: ${KINDS.join(", ")}`,
    },
    dir: { type: "string", valueHint: "dir", description: "Folder of the application, in place of this one" },
    force: { type: "boolean", description: "Write files anew that exist" },
    "dry-run": { type: "boolean", description: "Show what would be written, and write nothing" },
  },
  run({ args }) {
    const folder = applicationFolder(textFlag(args.dir) ?? ".");
    const kind = textFlag(args.kind);
    const force = args.force === true;
    const made = plan(folder, kind !== undefined && isKind(kind) ? kind : undefined, force);
    tell(made);
    if (args["dry-run"] === true) show(made);
    else write(made, force);
    next(folder);
  },
});

function applicationFolder(dir: string): string {
  const folder = resolve(dir);
  if (dir !== "" && statSync(folder, { throwIfNoEntry: false })?.isDirectory() === true) return folder;
  throw new PhprunError("USAGE_INVALID", `Cannot use --dir: must be a folder, received "${dir}"`);
}

function tell({ found, notes, warnings }: Plan): void {
  say.success(found);
  for (const note of notes) say.info(note);
  for (const warning of warnings) say.warn(warning);
}

function show({ files }: Plan): void {
  for (const { name, text, keeps } of files) {
    if (keeps === undefined) print(`\n--- ${name}\n${text}--- end of ${name}\n`);
    else say.info(`Would keep ${keeps}, which exists`);
  }
}

function write({ files }: Plan, force: boolean): void {
  const wanted = files.filter(({ keeps }) => keeps === undefined);
  writeFiles(wanted, force);
  for (const { name } of wanted) say.success(`Wrote ${name}`);
  for (const { name, keeps } of files) {
    if (keeps !== undefined) say.info(`Kept ${keeps}, which exists; --force writes ${name} anew`);
    if (name === CONFIG_FILE && keeps !== undefined && wanted.length > 0)
      say.info(`It has to name the new script: worker_script: ./${WORKER_SCRIPT}`);
  }
}

function next(folder: string): void {
  const place = relative(process.cwd(), folder);
  const config =
    place === "" ? "" : ` --config ${quoted(join(place.startsWith("..") ? folder : place, CONFIG_FILE))}`;
  print(`\nNext:\n  phprun doctor${config}\n  phprun serve${config}\n`);
}

/** Ready to be pasted into a shell. */
const quoted = (path: string): string =>
  /^[\w@%+=:,./-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`;
