#!/usr/bin/env bun
/**
 * Compiles the C parts:
 *   ffi/transport/*.c              → build/lib/libphprun-transport.so   (shared memory and rings, no PHP)
 *   ffi/transport/*.c, ffi/php/*.c → build/lib/libphprun-php.so         (the SAPI; libphp is opened at run time)
 *
 *   bun ffi/compile.ts [--sanitize=address|thread] [--force] [--quiet]
 *
 * A library is left alone when its sources, the compiler and the flags are what they were (a hash beside it says so).
 * CC and PHP_CONFIG in the environment choose another compiler and another PHP.
 */
import { existsSync, globSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";

import { PhprunError } from "../src/errors.ts";

export type Sanitizer = "address" | "thread";

export interface CompileOptions {
  readonly sanitize?: Sanitizer | undefined;
  readonly force?: boolean;
  readonly log?: (line: string) => void;
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
  const php = sources("ffi/php/*.c");
  await compile(join(folder, "libphprun-transport.so"), transport, ["-shared"], options);
  await compile(
    join(folder, "libphprun-php.so"),
    [...transport, ...php],
    ["-shared", ...phpIncludes()],
    options,
  );
  return folder;
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
  const stamp = fingerprint(command);
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

/** PHP's headers as system headers: they do not pass -Wextra, and are not ours to mend. */
export function phpIncludes(): string[] {
  const phpConfig = process.env.PHP_CONFIG ?? "php-config";
  const remedy = "install PHP's headers (Debian: apt-get install php-dev), or name another one in PHP_CONFIG";
  if (Bun.which(phpConfig) === null) {
    throw new PhprunError(
      "BUILD_NO_PHP_CONFIG",
      `Cannot compile the PHP part: ${phpConfig} was not found; ${remedy}`,
    );
  }
  const folders = Bun.spawnSync([phpConfig, "--includes"])
    .stdout.toString()
    .trim()
    .split(/\s+/)
    .map((flag) => flag.replace(/^-I/, ""));
  if (!folders.some((folder) => existsSync(join(folder, "php.h")))) {
    throw new PhprunError(
      "BUILD_NO_PHP_HEADERS",
      `Cannot compile the PHP part: no php.h in ${folders.join(", ") || "what php-config names"}; ${remedy}`,
    );
  }
  return folders.flatMap((folder) => ["-isystem", folder]);
}

function compiler(): string {
  return process.env.CC || "gcc";
}

/** Everything the output depends on: command line, compiler, PHP's version, and all our sources and headers. */
function fingerprint(command: readonly string[]): string {
  const hash = new Bun.CryptoHasher("sha256");
  hash.update(command.join("\0"));
  hash.update(compilerVersion());
  if (command.includes("-isystem")) {
    hash.update(Bun.spawnSync([process.env.PHP_CONFIG ?? "php-config", "--version"]).stdout.toString());
  }
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
