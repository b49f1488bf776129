import { join } from "node:path";
import { PhprunError } from "../errors.ts";
import { type Application, lookAt } from "./application.ts";
import { configText } from "./config-text.ts";
import { shown } from "./docroot.ts";
import { Folder } from "./folder.ts";
import { type Kind, KINDS, kindTitle } from "./kind.ts";
import { exists } from "./write-files.ts";
import { chooseRunner, type Runner, WORKER_SCRIPT } from "./runner.ts";

export const CONFIG_FILE = "phprun.yaml";

export interface PlannedFile {
  /** Absolute. */
  readonly path: string;
  readonly name: string;
  readonly text: string;
  /** The file that is there already, and stays; it may be another one that serves the same purpose. */
  readonly keeps: string | undefined;
}

/** What `phprun init` would do to a folder, and what it says of it. */
export interface Plan {
  readonly kind: Kind;
  readonly found: string;
  readonly notes: readonly string[];
  readonly warnings: readonly string[];
  readonly files: readonly PlannedFile[];
}

/** @param wanted the kind that was named on the command line, if any */
export function plan(path: string, wanted: Kind | undefined, force: boolean): Plan {
  const folder = new Folder(path);
  const application = lookAt(folder);
  const kind = wanted ?? application.detected?.kind ?? "plain";
  const docroot = docrootFor(path, application, wanted);
  const runner = chooseRunner(kind, application, wanted !== undefined);
  const files = [
    { name: CONFIG_FILE, text: configText({ kind, application, docroot, runner }) },
    ...(runner.mode === "worker" && runner.text !== null ? [{ name: WORKER_SCRIPT, text: runner.text }] : []),
  ];
  return {
    kind,
    found: foundText(path, application),
    notes: [`The docroot is ${shown(docroot)}`, ...runnerTexts(kind, runner)],
    warnings: [...contradictions(wanted, application, runner), ...application.warnings],
    files: files.map((file) => ({
      ...file,
      path: join(path, file.name),
      keeps: force ? undefined : standing(path, file.name),
    })),
  };
}

/** The server looks for its configuration in two places of a folder: one file is not to hide the other. */
function standing(path: string, name: string): string | undefined {
  const places = name === CONFIG_FILE ? [name, join("config", name)] : [name];
  return places.find((place) => exists(join(path, place)));
}

function docrootFor(path: string, { detected, docroot }: Application, wanted: Kind | undefined): string {
  if (docroot !== null) return docroot;
  const rule =
    detected === null
      ? "there must be a PHP application in it, with an index.php in it or in public/"
      : `its docroot public/ must be there`;
  throw new PhprunError(
    "INIT_NOTHING_TO_SERVE",
    `Cannot prepare ${path}${wanted === undefined ? "" : ` for ${kindTitle(wanted)}`}: ${rule}, received a folder without one`,
    { exitCode: 2 },
  );
}

function foundText(path: string, { detected, hasIndex, docroot }: Application): string {
  if (detected !== null) {
    const version = detected.version === undefined ? "" : ` ${detected.version}`;
    return `Found ${kindTitle(detected.kind)}${version} in ${path}: ${detected.why.join("; ")}`;
  }
  const page = hasIndex ? "index.php" : "pages";
  const known = KINDS.filter((kind) => kind !== "plain").map(kindTitle);
  return `Found plain PHP in ${path}: ${page} in ${shown(docroot ?? ".")}, and nothing that points to ${known.slice(0, -1).join(", ")} or ${known.at(-1)}`;
}

function runnerTexts(kind: Kind, runner: Runner): string[] {
  if (runner.mode === "worker") return [`Worker mode: ${runner.script} ${runner.why}`];
  return kind === "wordpress"
    ? ["Classic mode: WordPress counts on a fresh start for each request"]
    : ["Classic mode, each request from nothing:", ...runner.because.map((reason) => `  ${reason}`)];
}

/** What was asked for is done, and what speaks against it is said. */
function contradictions(wanted: Kind | undefined, application: Application, runner: Runner): string[] {
  if (wanted === undefined) return [];
  const { detected, classicBecause, kernelClass } = application;
  const said: string[] = [];
  if (detected !== null && detected.kind !== wanted)
    said.push(
      `This looks like ${kindTitle(detected.kind)}, and is prepared for ${kindTitle(wanted)} as you said`,
    );
  if (detected === null && wanted !== "plain")
    said.push(`Nothing here points to ${kindTitle(wanted)}, and it is prepared for that as you said`);
  if (wanted === "plain" && runner.mode === "worker" && runner.text !== null)
    said.push(...classicBecause.map((reason) => `Before worker mode works: ${reason}`));
  if (wanted === "symfony" && kernelClass === undefined)
    said.push(`src/Kernel.php has no class Kernel: ${WORKER_SCRIPT} names App\\Kernel`);
  return said;
}
