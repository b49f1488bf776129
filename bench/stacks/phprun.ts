import { readFileSync, writeFileSync } from "node:fs";
import { childrenOf, processTree } from "../processes.ts";
import { freePort, type Scratch } from "../scratch.ts";
import { environmentOf, plainSite, type Site } from "../sites.ts";
import { type Stack, untilAnswer, untilReady } from "./stack.ts";

export interface PhprunOptions {
  readonly executable: string;
  readonly workers: number;
  readonly ini?: Readonly<Record<string, string>>;
  readonly largestBody?: string;
  readonly maxRequests?: number;
  /** @default the docroot of scripts */
  readonly site?: Site;
  /** Is the site's worker script to answer? @default "classic" */
  readonly mode?: Stack["mode"];
  /** More settings of its pool. */
  readonly pool?: Readonly<Record<string, unknown>>;
  readonly env?: Readonly<Record<string, string>>;
  /** Is a page asked for, to see that it serves? Otherwise it is asked for nothing. @default true */
  readonly asked?: boolean;
  /** For comparing the two on one PHP: which it is, and which PHP. Otherwise phprun chooses. */
  readonly on?: { readonly isolation: Isolation; readonly libphp: string };
}

export type Isolation = "thread" | "process";

/** phprun with its defaults; only the access log is off, as it is for nginx. */
export async function startPhprun(scratch: Scratch, options: PhprunOptions): Promise<Stack> {
  const { on, workers, maxRequests, site = plainSite(scratch), mode = "classic" } = options;
  const name = scratch.fresh("phprun");
  const port = freePort();
  const file = scratch.path(`${name}.yaml`);
  const env = {
    ...environmentOf(scratch, site, name),
    ...(mode === "worker" ? site.workerEnv : {}),
    ...options.env,
  };
  // JSON is YAML too.
  writeFileSync(
    file,
    JSON.stringify({
      server: { host: "127.0.0.1", port, client_max_body_size: options.largestBody ?? "32MiB" },
      php: { docroot: site.docroot, ini: options.ini ?? {}, env, ...on },
      pools: [
        {
          name: "default",
          worker_count: workers,
          max_requests: maxRequests,
          ...(mode === "worker" ? { worker_script: site.workerScript } : {}),
          ...options.pool,
        },
      ],
      logging: { access: false },
    }),
  );
  const child = scratch.start(name, [options.executable, "serve", "--config", file]);
  try {
    const isAlive = () => child.exitCode === null;
    if (options.asked === false) await untilReady(() => scratch.log(name), isAlive);
    else await untilAnswer(port, site.helloPath, isAlive);
  } catch (cause) {
    throw new Error(`Cannot start phprun. Its log:\n${scratch.log(name)}`, { cause });
  }
  return {
    key: on?.isolation ?? (mode === "worker" ? "worker" : "phprun"),
    title: `${on?.isolation ?? (mode === "worker" ? "phprun in worker mode" : "phprun")} (${workers} workers)`,
    port,
    mode,
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
