#!/usr/bin/env bun
/**
 * Compiles the C parts:
 *   ffi/transport/*.c              → build/lib/libphprun-transport.so   (shared memory and rings, no PHP)
 *   ffi/transport/*.c, ffi/php/*.c → build/lib/libphprun-php-*.so       (the SAPI; libphp is opened at run time)
 *
 *   bun ffi/compile.ts [--sanitize=address|thread] [--force] [--quiet]
 *
 * There is one SAPI, the shim, for each kind of PHP whose headers are here (API number, thread safety, debug), and
 * build/lib/shims.ts lists them. The first PHP found must compile; one more that does not is a warning.
 * A library is left alone when its sources, the compiler and the flags are what they were (a hash beside it says so).
 * CC and PHP_CONFIG in the environment choose another compiler and another first PHP.
 */
import { existsSync, globSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";

import { PhprunError } from "../src/errors.ts";
import { findPhpHeaders, type PhpHeaders, shimName } from "./php-headers.ts";

export type Sanitizer = "address" | "thread";

export interface CompileOptions {
  readonly sanitize?: Sanitizer | undefined;
  readonly force?: boolean;
  readonly log?: (line: string) => void;
  /** What the output depends on beyond the command line and our own sources. */
  readonly facts?: string;
}

export const root = dirname(import.meta.dirname);

const baseFlags = [
  "-std=gnu11",
  "-g",
  "-fPIC",
  "-pthread",
  "-Wall",
  "-Wextra",
  "-Werror",
  "-fvisibility=hidden",
  // PHP's headers from 8.4 on call memrchr(). Empty, so that a source which defines it too says the same.
  "-D_GNU_SOURCE=",
  // Debug information names files from the project's root, so two builds of one commit are equal.
  `-ffile-prefix-map=${root}=.`,
];

export function compilerFlags(sanitize?: Sanitizer): string[] {
  if (sanitize === undefined) return ["-O2", ...baseFlags];
  return ["-O1", "-fno-omit-frame-pointer", `-fsanitize=${sanitize}`, ...baseFlags];
}

/** Returns the folder the libraries are in. */
export async function compileLibraries(options: CompileOptions = {}): Promise<string> {
  const folder = join(root, "build", options.sanitize === undefined ? "lib" : `lib-${options.sanitize}`);
  const transport = sources("ffi/transport/*.c");
  const [first, ...more] = phps(options.log);
  const steps = [
    compile(join(folder, "libphprun-transport.so"), transport, ["-shared"], options).then(() => []),
    compileShim(folder, first, options).then(() => [first]),
    ...more.map((php) => compileFurtherShim(folder, php, options)),
  ];
  // A step that fails ends the build, but not before the compilers beside it have ended and removed their files.
  await Promise.allSettled(steps);
  listShims(folder, (await Promise.all(steps)).flat());
  return folder;
}

async function compileShim(folder: string, php: PhpHeaders, options: CompileOptions): Promise<void> {
  const files = [...sources("ffi/transport/*.c"), ...sources("ffi/php/*.c")];
  // PHP itself is compiled with _REENTRANT for threads alone, and has a field more then in front of BG(umask).
  const asPhp = php.zts ? "-DZEND_ENABLE_STATIC_TSRMLS_CACHE=1" : "-U_REENTRANT";
  const flags = ["-shared", asPhp, ...isystem(php)];
  await compile(join(folder, shimName(php)), files, flags, { ...options, facts: php.facts });
}

/** A PHP that somebody else has put on this machine must not keep phprun from being built. */
async function compileFurtherShim(
  folder: string,
  php: PhpHeaders,
  options: CompileOptions,
): Promise<PhpHeaders[]> {
  try {
    await compileShim(folder, php, options);
    return [php];
  } catch (error) {
    if (!(error instanceof PhprunError)) throw error;
    console.error(`warning: no shim for PHP ${php.version} (${php.phpConfig}). ${error.message}`);
    return [];
  }
}

/** Writes the module that source runs and the executable know the shims by; removes what is not in it. */
function listShims(folder: string, compiled: readonly PhpHeaders[]): void {
  const names = compiled.map(shimName);
  const lines = [
    "// Written by ffi/compile.ts.",
    ...names.map((name, index) => `import shim${index} from "./${name}" with { type: "file" };`),
    "",
    "export const shims = [",
    ...compiled.map(
      ({ zendApi, zts, debug, version }, index) =>
        `  { path: shim${index}, zendApi: ${zendApi}, zts: ${zts}, debug: ${debug}, version: "${version}" },`,
    ),
    "];",
    "",
  ];
  const text = lines.join("\n");
  const list = join(folder, "shims.ts");
  if (!existsSync(list) || readFileSync(list, "utf8") !== text) {
    writeFileSync(`${list}.${process.pid}`, text);
    renameSync(`${list}.${process.pid}`, list);
  }
  for (const name of globSync("libphprun-php*.so", { cwd: folder })) {
    if (names.includes(name)) continue;
    rmSync(join(folder, name), { force: true });
    rmSync(join(folder, `${name}.stamp`), { force: true });
  }
}

/** Compiles one program or library, unless its stamp says that nothing has changed. Returns whether it was compiled. */
export async function compile(
  output: string,
  files: readonly string[],
  extraFlags: readonly string[],
  options: CompileOptions = {},
): Promise<boolean> {
  const command = [
    compiler(),
    ...compilerFlags(options.sanitize),
    `-I${join(root, "ffi")}`,
    ...extraFlags,
    ...files,
  ];
  const stampFile = `${output}.stamp`;
  const stamp = fingerprint(command, options.facts);
  if (
    !options.force &&
    existsSync(output) &&
    existsSync(stampFile) &&
    readFileSync(stampFile, "utf8") === stamp
  ) {
    return false;
  }
  options.log?.(`compiling ${output.slice(root.length + 1)}`);
  mkdirSync(dirname(output), { recursive: true });
  rmSync(stampFile, { force: true });
  // A running server may have the old file mapped: put a new one in its place, never write into it.
  const unfinished = `${output}.${process.pid}.tmp`;
  const gcc = Bun.spawn([...command, "-o", unfinished], {
    cwd: root,
    stdin: "ignore",
    stdout: "inherit",
    stderr: "pipe",
  });
  const [messages, exitCode] = await Promise.all([gcc.stderr.text(), gcc.exited]);
  if (messages !== "") process.stderr.write(messages);
  if (exitCode !== 0) {
    rmSync(unfinished, { force: true });
    throw new PhprunError(
      "BUILD_FAILED",
      `Cannot compile ${basename(output)}: ${compiler()} ended with ${exitCode}`,
    );
  }
  renameSync(unfinished, output);
  writeFileSync(stampFile, stamp);
  return true;
}

/** Where the headers of the first PHP are, for a compiler. */
export function phpIncludes(): string[] {
  return isystem(phps()[0]);
}

/** PHP's headers as system headers: they do not pass -Wextra, and are not ours to mend. */
const isystem = ({ includes }: PhpHeaders): string[] => includes.flatMap((folder) => ["-isystem", folder]);

function phps(log?: (line: string) => void): [PhpHeaders, ...PhpHeaders[]] {
  const { found, unusable } = findPhpHeaders(root);
  const named = process.env["PHP_CONFIG"];
  const wrong = unusable.find(({ phpConfig }) => phpConfig === named || phpConfig === Bun.which(named ?? ""));
  const [first, ...more] = found;
  if (first === undefined || wrong !== undefined) {
    const { phpConfig, rule } = wrong ?? unusable[0] ?? { phpConfig: "php-config", rule: "it was not found" };
    throw new PhprunError(
      "BUILD_NO_PHP_HEADERS",
      `Cannot compile the PHP part with ${phpConfig}: ${rule}; install PHP's headers (Debian: apt-get install php-dev), or name another php-config in PHP_CONFIG`,
    );
  }
  for (const { phpConfig, rule } of unusable) log?.(`left out ${phpConfig}: ${rule}`);
  return [first, ...more];
}

function compiler(): string {
  return process.env.CC || "gcc";
}

/** Everything the output depends on: command line, compiler, which PHP, and all our sources and headers. */
function fingerprint(command: readonly string[], facts = ""): string {
  const hash = new Bun.CryptoHasher("sha256");
  hash.update(command.join("\0"));
  hash.update(compilerVersion());
  hash.update(`\0${facts}`);
  const headers = globSync(["ffi/**/*.h", "test/ffi/*.h"], { cwd: root }).map((file) => join(root, file));
  for (const file of [...command.filter((argument) => argument.endsWith(".c")), ...headers.sort()]) {
    hash.update(`\0${file}\0`).update(readFileSync(file));
  }
  return `${hash.digest("hex")}\n`;
}

function compilerVersion(): string {
  if (Bun.which(compiler()) === null) {
    throw new PhprunError(
      "BUILD_NO_COMPILER",
      `Cannot compile the C parts: ${compiler()} was not found; install it (Debian: apt-get install gcc libc6-dev), or name another one in CC`,
    );
  }
  return Bun.spawnSync([compiler(), "--version"]).stdout.toString();
}

function sources(pattern: string): string[] {
  const found = globSync(pattern, { cwd: root }).sort();
  if (found.length === 0)
    throw new PhprunError("BUILD_NO_SOURCES", `Cannot compile: there is no ${pattern} in ${root}`);
  return found.map((file) => join(root, file));
}

export function parseSanitizer(argument: string | undefined): Sanitizer | undefined {
  const value = argument?.slice("--sanitize=".length);
  if (value === undefined || value === "address" || value === "thread") return value;
  throw new PhprunError(
    "USAGE_SANITIZE",
    `Cannot use --sanitize: must be address or thread, received "${value}"`,
  );
}

/** Runs a build step; what goes wrong is one line for the reader, not a stack trace. */
export async function runStep(step: () => Promise<void>): Promise<void> {
  try {
    await step();
  } catch (error) {
    if (!(error instanceof PhprunError)) throw error;
    console.error(error.message);
    process.exit(error.exitCode);
  }
}

if (import.meta.main) {
  await runStep(async () => {
    const known = /^--(sanitize=.*|force|quiet)$/;
    const wrong = process.argv.slice(2).find((argument) => !known.test(argument));
    if (wrong !== undefined) {
      throw new PhprunError(
        "USAGE_OPTION",
        `Cannot use ${wrong}: the options are --sanitize=address|thread, --force, --quiet`,
      );
    }
    const quiet = process.argv.includes("--quiet");
    const folder = await compileLibraries({
      sanitize: parseSanitizer(process.argv.find((argument) => argument.startsWith("--sanitize="))),
      force: process.argv.includes("--force"),
      log: quiet ? undefined : console.log,
    });
    if (!quiet) console.log(`C libraries are up to date in ${folder.slice(root.length + 1)}/`);
  });
}
