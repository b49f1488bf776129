import { readFileSync, writeFileSync } from "node:fs";
import type { Scratch } from "./scratch.ts";
import type { Workload } from "./workloads.ts";

export interface LoadResult {
  readonly requests: number;
  readonly seconds: number;
  readonly bytes: number;
  readonly meanMs: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
  readonly wrkCpuSeconds: number;
}

interface Summary extends Omit<LoadResult, "wrkCpuSeconds"> {
  readonly errors: Readonly<Record<"connect" | "read" | "write" | "status" | "timeout", number>>;
  readonly wrong: number;
}

/** One run of wrk. Throws when any answer was not as it should be. */
export async function runLoad(
  scratch: Scratch,
  port: number,
  workload: Workload,
  durationMs: number,
  expected: Uint8Array | undefined,
): Promise<LoadResult> {
  const script = writeScript(scratch, workload, expected);
  const child = Bun.spawn(
    [
      "wrk",
      `--threads=${workload.threads ?? 1}`,
      `--connections=${workload.connections}`,
      // wrk takes whole seconds only.
      `--duration=${Math.max(1, Math.round(durationMs / 1000))}s`,
      "--timeout=2s",
      ...Object.entries(workload.headers).flatMap(([name, value]) => ["--header", `${name}: ${value}`]),
      `--script=${script}`,
      `http://127.0.0.1:${port}${workload.path}`,
    ],
    {
      stdio: ["ignore", "pipe", "pipe"],
      signal: AbortSignal.any([scratch.signal, AbortSignal.timeout(durationMs + 15_000)]),
      killSignal: "SIGKILL",
    },
  );
  const [output, errors] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  const line = /^SUMMARY (.*)$/m.exec(output)?.[1];
  if ((await child.exited) !== 0 || line === undefined) throw new Error(`wrk failed: ${output}${errors}`);
  const summary = JSON.parse(line) as Summary;
  check(summary, workload);
  const usage = child.resourceUsage()?.cpuTime;
  return { ...summary, wrkCpuSeconds: Number(usage?.total ?? 0) / 1e6 };
}

/**
 * wrk's own counters tell statuses, timeouts and broken connections. Comparing every body costs the client more
 * than some servers spend on it, so only the warm-up does that (with `expected`); measured rounds compare the
 * bytes received, and a sampler compares whole answers meanwhile (see sampler.ts).
 */
function writeScript(scratch: Scratch, workload: Workload, expected: Uint8Array | undefined): string {
  let lua = readFileSync(`${import.meta.dirname}/wrk.lua`, "utf8");
  if (workload.body !== undefined) {
    lua = `wrk.method = "POST"\nwrk.body = ${JSON.stringify(workload.body)}\n${lua}`;
  }
  if (expected !== undefined) {
    const file = scratch.path(`${workload.name}.expected`);
    writeFileSync(file, expected);
    lua = `expected_file = ${JSON.stringify(file)}\n${lua}`;
  }
  const path = scratch.path(`${workload.name}${expected === undefined ? "" : ".checked"}.lua`);
  writeFileSync(path, lua);
  return path;
}

function check(summary: Summary, workload: Workload): void {
  const bad = Object.entries(summary.errors).filter(([, count]) => count > 0);
  if (bad.length > 0)
    throw new Error(`rejected: ${bad.map(([kind, count]) => `${count} ${kind} errors`).join(", ")}`);
  if (summary.wrong > 0)
    throw new Error(`rejected: ${summary.wrong} of ${summary.requests} bodies were wrong`);
  if (summary.requests < workload.connections) throw new Error(`rejected: only ${summary.requests} answers`);
  // Little's law: with fewer requests in flight than connections, some connections got no answers at all. (With files
  // of megabytes wrk itself, busy reading one connection, is late to ask on the others.)
  if (workload.against === "nginx") return;
  const inFlight = (summary.requests / summary.seconds) * (summary.meanMs / 1000);
  if (inFlight < 0.7 * workload.connections) {
    throw new Error(
      `rejected: only ${inFlight.toFixed(0)} of ${workload.connections} connections were served, the others starved`,
    );
  }
}
