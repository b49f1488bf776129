import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { compilerFlags, root } from "../../ffi/compile.ts";
import { PhprunError } from "../../src/errors.ts";

/** Compiles a small C program against our headers, runs it, and returns what it prints. */
export async function runC(source: string): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), "phprun-c-"));
  try {
    const file = join(folder, "program.c");
    const program = join(folder, "program");
    writeFileSync(file, source);
    const compiler = [process.env["CC"] || "gcc", ...compilerFlags(), `-I${join(root, "ffi")}`];
    await output([...compiler, file, "-o", program]);
    return await output([program]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function output(command: string[]): Promise<string> {
  const child = Bun.spawn(command, { cwd: root, stdio: ["ignore", "pipe", "pipe"] });
  const [printed, complaints, code] = await Promise.all([
    child.stdout.text(),
    child.stderr.text(),
    child.exited,
  ]);
  if (code !== 0) throw new PhprunError("TEST_C", `${command[0]} ended with ${code}\n${complaints}`);
  return printed;
}
