import { readFileSync, writeFileSync } from "node:fs";
import { processTree } from "../processes.ts";
import { freePort, type Scratch } from "../scratch.ts";
import { type Stack, untilAnswer } from "./stack.ts";

export interface PhprunOptions {
  readonly executable: string;
  readonly workers: number;
  readonly ini?: Readonly<Record<string, string>>;
  readonly largestBody?: string;
  readonly maxRequests?: number;
}

/** phprun with its defaults; only the access log is off, as it is for nginx. */
export async function startPhprun(scratch: Scratch, options: PhprunOptions): Promise<Stack> {
  const name = scratch.fresh("phprun");
  const port = freePort();
  const file = scratch.path(`${name}.yaml`);
  // JSON is YAML too.
  writeFileSync(
    file,
    JSON.stringify({
      server: { host: "127.0.0.1", port, client_max_body_size: options.largestBody ?? "32MiB" },
      php: { docroot: scratch.path("docroot"), ini: options.ini ?? {} },
      pools: [{ name: "default", worker_count: options.workers, max_requests: options.maxRequests }],
      logging: { access: false },
    }),
  );
  const child = scratch.start(name, [options.executable, "serve", "--config", file]);
  try {
    await untilAnswer(port, () => child.exitCode === null);
  } catch (cause) {
    throw new Error(`Cannot start phprun. Its log:\n${scratch.log(name)}`, { cause });
  }
  return {
    key: "phprun",
    title: `phprun (${options.workers} workers)`,
    port,
    roots: [child.pid],
    workers: () => processTree([child.pid]).filter(isWorker),
    stop: () => scratch.end(child),
  };
}

function isWorker(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/comm`, "utf8").startsWith("phprun/");
  } catch {
    return false;
  }
}
