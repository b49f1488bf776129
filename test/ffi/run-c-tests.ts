#!/usr/bin/env bun
/**
 * Compiles and runs the stand-alone C tests, test/ffi/*.c, each a program with its own main():
 *
 *   bun test/ffi/run-c-tests.ts [--sanitize=address|thread] [NAME…]
 *
 * NAME picks tests by file name without ".c". A test passes when it ends with 0; 77 means skipped, with the reason on
 * its last line. The sanitizers need gcc's libasan and libtsan, which Debian's gcc brings along.
 * Those of `WITH_PHP` have a PHP in them, a thread-safe one; the others need none.
 */
import { globSync } from "node:fs";
import { basename, dirname, join } from "node:path";

import { compile, parseSanitizer, root, runStep, type Sanitizer } from "../../ffi/compile.ts";
import { readPhpHeaders } from "../../ffi/php-headers.ts";
import { PhprunError } from "../../src/errors.ts";
import { ztsLibphp } from "../zts.ts";

const skipped = 77;

export type CTestResult = "passed" | "failed" | "skipped";

/** Names of all stand-alone C tests. */
export function cTests(): string[] {
  return globSync("test/ffi/*.c", { cwd: root })
    .map((file) => basename(file, ".c"))
    .sort();
}

/** Whether the compiler can build for a sanitizer here. */
export function canSanitize(sanitize: Sanitizer): boolean {
  const library = sanitize === "address" ? "libasan.so" : "libtsan.so";
  const found = Bun.spawnSync([process.env["CC"] || "gcc", `-print-file-name=${library}`]);
  return found.stdout.toString().includes("/");
}

/** What a test is made of, beyond its own file. */
interface Parts {
  readonly files: readonly string[];
  readonly flags: readonly string[];
  /** See CompileOptions. */
  readonly facts?: string;
  /** Over the usual ones, by sanitizer. */
  readonly env?: Readonly<Record<"ASAN_OPTIONS" | "LSAN_OPTIONS" | "TSAN_OPTIONS", string>>;
}

/** Tests that need a thread-safe PHP. */
export const WITH_PHP: ReadonlySet<string> = new Set(["php-app", "php-threads"]);

const WITHOUT_PHP: Parts = { files: ["ffi/transport/*.c", "ffi/php/descriptors.c"], flags: [] };

/** The shim as a part of the program, which is linked with libphp; or why that cannot be. */
function withPhp(libphp: string): Parts | string {
  const php = readPhpHeaders(join(dirname(libphp), "../bin/php-config"));
  if ("rule" in php) return `no headers for ${libphp}: ${php.phpConfig}, ${php.rule}`;
  return {
    files: ["ffi/transport/*.c", "ffi/php/*.c"],
    flags: [
      "-DZEND_ENABLE_STATIC_TSRMLS_CACHE=1",
      ...php.includes.flatMap((folder) => ["-isystem", folder]),
      "-Wl,--no-as-needed",
      libphp,
      `-Wl,-rpath,${dirname(libphp)}`,
      "-Wl,--wrap=phprun_pool_map",
    ],
    facts: php.facts,
    env: {
      // PHP's code keeps no frame pointers, and workers bring an alternate stack of their own.
      ASAN_OPTIONS: "fast_unwind_on_malloc=0:use_sigaltstack=0",
      LSAN_OPTIONS: `suppressions=${join(import.meta.dir, "php-threads-lsan.txt")}:print_suppressions=0`,
      TSAN_OPTIONS: `suppressions=${join(import.meta.dir, "php-threads-tsan.txt")}`,
    },
  };
}

/** What a test is made of; or why it cannot be made here. */
function partsOf(name: string): Parts | string {
  if (!WITH_PHP.has(name)) return WITHOUT_PHP;
  return ztsLibphp === null ? "no ZTS libphp (run ./setup.sh --zts)" : withPhp(ztsLibphp);
}

/** Compiles one test and runs it. What it prints goes to our own output, or is returned. */
export async function runCTest(
  name: string,
  sanitize?: Sanitizer,
  output: "inherit" | "pipe" = "inherit",
): Promise<{ result: CTestResult; printed: string }> {
  const parts = partsOf(name);
  if (typeof parts === "string") {
    console.log(`    skipped: ${name}, ${parts}`);
    return { result: "skipped", printed: parts };
  }
  const program = join(root, "build", `test${sanitize === undefined ? "" : `-${sanitize}`}`, name);
  const sources = globSync([...parts.files], { cwd: root }).sort();
  const files = [`test/ffi/${name}.c`, ...sources].map((file) => join(root, file));
  const flags = ["-DPHPRUN_TEST_POINTS", ...alsoSanitized(sanitize), ...parts.flags];
  await compile(program, files, flags, { sanitize, facts: parts.facts ?? "" });
  const test = Bun.spawn([...withoutRandomLayout(sanitize), program], {
    cwd: root,
    env: {
      ...process.env,
      ASAN_OPTIONS: `detect_leaks=1:abort_on_error=0:exitcode=99:${parts.env?.ASAN_OPTIONS ?? ""}`,
      LSAN_OPTIONS: parts.env?.LSAN_OPTIONS ?? "",
      TSAN_OPTIONS: `halt_on_error=1:exitcode=99:${parts.env?.TSAN_OPTIONS ?? ""}`,
    },
    stdio: ["ignore", output, output],
  });
  const streams = [test.stdout, test.stderr].map(async (stream) =>
    stream ? await new Response(stream).text() : "",
  );
  const [exitCode, ...printed] = await Promise.all([test.exited, ...streams]);
  const result = exitCode === skipped ? "skipped" : exitCode === 0 ? "passed" : "failed";
  return { result, printed: printed.join("") };
}

/** The undefined behaviour sanitizer goes with the address sanitizer; the first finding ends the test. */
function alsoSanitized(sanitize: Sanitizer | undefined): string[] {
  return sanitize === "address" ? ["-fsanitize=undefined", "-fno-sanitize-recover=all"] : [];
}

/** ThreadSanitizer before gcc 14 refuses the wide address randomisation of newer kernels. */
function withoutRandomLayout(sanitize: Sanitizer | undefined): string[] {
  if (sanitize !== "thread" || Bun.which("setarch") === null) return [];
  const allowed = Bun.spawnSync(["setarch", "-R", "true"]).exitCode === 0;
  return allowed ? ["setarch", "-R"] : [];
}

if (import.meta.main) {
  await runStep(async () => {
    const options = process.argv.slice(2).filter((argument) => argument.startsWith("--"));
    const wrong = options.find((option) => !option.startsWith("--sanitize="));
    if (wrong !== undefined) {
      throw new PhprunError("USAGE_OPTION", `Cannot use ${wrong}: the option is --sanitize=address|thread`);
    }
    const sanitize = parseSanitizer(options[0]);
    const names = process.argv.slice(2).filter((argument) => !argument.startsWith("--"));
    const count: Record<CTestResult, number> = { passed: 0, failed: 0, skipped: 0 };
    for (const name of names.length > 0 ? names : cTests()) {
      console.log(`--- ${name}${sanitize === undefined ? "" : ` (${sanitize} sanitizer)`}`);
      const { result } = await runCTest(name, sanitize);
      count[result]++;
      console.log(`    ${result}`);
    }
    console.log(`${count.passed} passed, ${count.failed} failed, ${count.skipped} skipped`);
    if (count.failed > 0 || count.passed === 0) process.exit(1);
  });
}
