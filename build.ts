#!/usr/bin/env bun
/**
 * Builds ./phprun, the one executable: compiles the C parts, bundles src/main.ts with Bun's run time, and embeds the
 * libraries that ffi/library.ts imports as files.
 *
 *   bun build.ts [--outfile=PATH] [--quiet]
 */
import { mkdirSync, renameSync, rmSync, statSync } from "node:fs";
import { basename, join, resolve } from "node:path";

import { compileLibraries, root, runStep } from "./ffi/compile.ts";
import { PhprunError } from "./src/errors.ts";

/** The program, and what runs in Workers, of a host and of the front: nothing imports that. */
const entries = [
  join(root, "src/main.ts"),
  join(root, "worker/thread.ts"),
  join(root, "worker/compress.ts"),
  join(root, "worker/entry/worker.ts"),
];

/** Reads a value such as --outfile=x; undefined when it is not given. */
function option(name: string): string | undefined {
  return process.argv.find((argument) => argument.startsWith(`--${name}=`))?.slice(name.length + 3);
}

function git(...args: string[]) {
  return Bun.spawnSync(["git", "-C", root, ...args], { stderr: "ignore" });
}

/** The commit this tree is at, "unknown" outside a git checkout. */
function commit(): string {
  if (Bun.which("git") === null) return "unknown";
  const head = git("rev-parse", "--short=12", "HEAD");
  if (head.exitCode !== 0) return "unknown";
  const dirty = git("status", "--porcelain", "--untracked-files=no").stdout.length > 0;
  return head.stdout.toString().trim() + (dirty ? "-dirty" : "");
}

async function build(outfile: string, log: (line: string) => void): Promise<void> {
  const started = performance.now();
  await compileLibraries({ log });

  // Built in a folder beside it and renamed: the executable may be running, and a failed build leaves the old
  // one in place. The name must already be right, because the bundle's own paths contain it.
  const folder = `${outfile}.build-${process.pid}`;
  const built = join(folder, basename(outfile));
  mkdirSync(folder, { recursive: true });
  const result = await Bun.build({
    entrypoints: entries,
    // Where the paths inside the executable start: tinypool looks for entry/worker.js beside the program.
    root: join(root, "worker"),
    target: "bun",
    format: "esm",
    // Only together with format "esm": alone it ties import.meta.url to this folder.
    bytecode: true,
    // Names stay as they are, for readable stack traces in bug reports.
    minify: { whitespace: true, syntax: true, identifiers: false },
    sourcemap: "linked",
    define: { PHPRUN_COMMIT: JSON.stringify(commit()) },
    throw: false,
    compile: {
      outfile: built,
      // Bun refuses headers over 16 KiB in total by default, long before PHP or any proxy would.
      execArgv: ["--max-http-header-size=65536"],
      // The .env and bunfig.toml of an application must not change the server that runs it.
      autoloadDotenv: false,
      autoloadBunfig: false,
      autoloadTsconfig: false,
      autoloadPackageJson: false,
    },
  });
  if (result.success) renameSync(built, outfile);
  rmSync(folder, { recursive: true, force: true });
  for (const message of result.logs) console.error(String(message));
  if (!result.success)
    throw new PhprunError("BUILD_FAILED", "Cannot build phprun: the bundler reported the errors above");

  const size = (statSync(outfile).size / 1024 / 1024).toFixed(0);
  log(`built ${outfile} (${size} MiB) in ${((performance.now() - started) / 1000).toFixed(1)} s`);
}

const outfile = resolve(option("outfile") ?? join(root, "phprun"));
const quiet = process.argv.includes("--quiet");
await runStep(() => build(outfile, quiet ? () => {} : console.log));
