import { readFileSync, writeFileSync } from "node:fs";
import { childrenOf, processTree } from "../processes.ts";
import { freePort, type Scratch } from "../scratch.ts";
import { type Stack, untilAnswer } from "./stack.ts";

export interface PhprunOptions {
  readonly executable: string;
  readonly workers: number;
  readonly ini?: Readonly<Record<string, string>>;
  readonly largestBody?: string;
  readonly maxRequests?: number;
  /** For comparing the two on one PHP: which it is, and which PHP. Otherwise phprun chooses. */
  readonly on?: { readonly isolation: Isolation; readonly libphp: string };
}

export type Isolation = "thread" | "process";

/** phprun with its defaults; only the access log is off, as it is for nginx. */
export async function startPhprun(scratch: Scratch, options: PhprunOptions): Promise<Stack> {
  const { on, workers, maxRequests } = options;
  const name = scratch.fresh("phprun");
  const port = freePort();
  const file = scratch.path(`${name}.yaml`);
  // JSON is YAML too.
  writeFileSync(
    file,
    JSON.stringify({
      server: { host: "127.0.0.1", port, client_max_body_size: options.largestBody ?? "32MiB" },
      php: { docroot: scratch.path("docroot"), ini: options.ini ?? {}, ...on },
      pools: [{ name: "default", worker_count: workers, max_requests: maxRequests }],
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
    key: on?.isolation ?? "phprun",
    title: on === undefined ? `phprun (${workers} workers)` : `${on.isolation} (${workers} workers)`,
    port,
    roots: [child.pid],
    workers: () =>
      on?.isolation === "thread" ? childrenOf(child.pid) : processTree([child.pid]).filter(isWorker),
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
