#!/usr/bin/env bun
/** Long runs against a server that is treated badly: npm run soak -- --help */
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { driverCeiling } from "./load/ceiling.ts";
import { Others } from "./others.ts";
import type { Outcome, Program, Setup } from "./program.ts";
import { programs } from "./programs.ts";
import { Random } from "./random.ts";
import { ztsLibphp } from "../zts.ts";

const usage = `Long runs against a server that is treated badly; each prints its figures and whether they reach their goals.

  bun test/soak/run.ts [all | PROGRAM…] [--seconds N] [--requests N] [--binary FILE] [--seed N]
                           [--isolation thread|process] [--libphp FILE]

${programs.map((program) => `  ${program.name.padEnd(16)} ${program.about} (${size(program)})`).join("\n")}

  --seconds N    how long each program runs, about
  --requests N   for programs that count: requests, reloads or clients
  --binary FILE  the executable; default ./phprun
  --isolation    what workers are; default process. The program "threads" takes threads
  --libphp FILE  for threads, the thread-safe one; default: that of ./setup.sh --zts
  --seed N       repeats the random choices of an earlier run
`;

function size({ defaults: { seconds, requests }, counted = "requests" }: Program): string {
  const count = requests > 0 ? `${requests.toLocaleString("en")} ${counted}` : "";
  return [seconds > 0 ? `${seconds} s` : "", count].filter((text) => text !== "").join(", ");
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seconds: { type: "string" },
    requests: { type: "string" },
    binary: { type: "string" },
    seed: { type: "string" },
    isolation: { type: "string", default: "process" },
    libphp: { type: "string" },
    help: { type: "boolean" },
  },
});

if (values.help === true) {
  process.stdout.write(usage);
  process.exit(0);
}
const binary = resolve(values.binary ?? join(import.meta.dir, "../../phprun"));
if (!existsSync(binary)) wrongUse(`Cannot use ${binary}: there is no such file; npm run build makes it`);
const chosen = choose(positionals);
const seconds = wholeNumber("--seconds", values.seconds);
const requests = wholeNumber("--requests", values.requests);
const seed = wholeNumber("--seed", values.seed) ?? Date.now() % 1_000_000;
const php = phpFor(values.isolation);
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => process.exit(130));

say(`${binary}, seed ${seed}`);
say(
  `the driver's own ceiling: ${Math.round(await driverCeiling()).toLocaleString("en")} requests a second\n`,
);
let failed = 0;
for (const { name, about, defaults, run } of chosen) {
  say(`${name}: ${about}`);
  const others = new Others();
  const outcome = await run({
    command: [binary],
    php: name === "threads" ? inThreads() : php,
    seconds: seconds ?? defaults.seconds,
    requests: requests ?? defaults.requests,
    random: new Random(seed),
    say: (line) => say(`  ${line}`),
  });
  if (outcome.unavailable === null) say(`        ${others.describe()}`);
  if (!print(name, outcome)) failed++;
}
process.exit(failed === 0 ? 0 : 1);

function print(name: string, { figures, notes, unavailable }: Outcome): boolean {
  if (unavailable !== null) {
    say(`  not available in this build: ${unavailable}\n`);
    return true;
  }
  for (const { name: figure, value, goal, passed } of figures) {
    const verdict = goal === "" ? "    " : passed ? "PASS" : "FAIL";
    say(`  ${verdict}  ${figure}: ${value}${goal === "" ? "" : `   [goal: ${goal}]`}`);
  }
  for (const note of notes) say(`        ${note}`);
  const passed = figures.every((figure) => figure.passed);
  say(`  ${passed ? "PASS" : "FAIL"}  ${name}\n`);
  return passed;
}

function choose(names: readonly string[]): readonly Program[] {
  if (names.length === 0 || names.includes("all")) return programs;
  return names.map((name) => {
    const program = programs.find((other) => other.name === name);
    return program ?? wrongUse(`Cannot run ${name}: there is no such program\n\n${usage}`);
  });
}

function phpFor(isolation: string): Setup["php"] {
  if (isolation === "thread") return inThreads();
  if (isolation !== "process")
    return wrongUse(`Cannot use --isolation: must be thread or process, received "${isolation}"`);
  return { isolation, ...(values.libphp === undefined ? {} : { libphp: values.libphp }) };
}

function inThreads(): Setup["php"] {
  const libphp = values.libphp ?? ztsLibphp;
  if (libphp === null)
    return wrongUse("Cannot run threads: there is no thread-safe libphp; ./setup.sh --zts");
  return { isolation: "thread", libphp };
}

function wholeNumber(flag: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (/^\d{1,9}$/.test(text) && Number(text) >= 1) return Number(text);
  return wrongUse(`Cannot use ${flag}: must be a whole number, 1 or more, received "${text}"`);
}

function wrongUse(message: string): never {
  process.stderr.write(`${message}\n`);
  process.exit(2);
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
