import { readFileSync, writeFileSync } from "node:fs";
import { luaPattern, type RightAnswer } from "./right-answer.ts";
import type { Scratch } from "./scratch.ts";
import type { Sessions } from "./sessions.ts";
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

/** What wrk is to know of the server it asks. */
export interface Partner {
  /** Compare every body with it. */
  readonly right?: RightAnswer | undefined;
  readonly sessions?: Sessions | undefined;
}

/** One run of wrk. Throws when any answer was not as it should be. */
export async function runLoad(
  scratch: Scratch,
  port: number,
  workload: Workload,
  durationMs: number,
  partner: Partner,
): Promise<LoadResult> {
  const script = writeScript(scratch, port, workload, partner);
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
  partner.sessions?.asked(summary.requests, workload.connections);
  const usage = child.resourceUsage()?.cpuTime;
  return { ...summary, wrkCpuSeconds: Number(usage?.total ?? 0) / 1e6 };
}

/**
 * wrk's own counters tell statuses, timeouts and broken connections. Comparing every body costs the client more
 * than some servers spend on it, so only the warm-up does that; measured rounds compare the bytes received, and a
 * sampler compares whole answers meanwhile (see sampler.ts). Where a server works hard for each answer, as frameworks
 * do, and the answers differ in length, every body is looked at always.
 */
function writeScript(
  scratch: Scratch,
  port: number,
  workload: Workload,
  { right, sessions }: Partner,
): string {
  let lua = readFileSync(`${import.meta.dirname}/wrk.lua`, "utf8");
  if (workload.body !== undefined) {
    lua = `wrk.method = "POST"\nwrk.body = ${JSON.stringify(workload.body)}\n${lua}`;
  }
  const name = `${workload.name}.${port}`;
  if (right !== undefined && "bytes" in right) {
    const file = scratch.path(`${name}.expected`);
    writeFileSync(file, right.bytes);
    lua = `expected_file = ${JSON.stringify(file)}\n${lua}`;
  } else if (right !== undefined) {
    lua = `expected_pattern = ${JSON.stringify(luaPattern(right.template))}\n${lua}`;
  }
  if (sessions !== undefined) {
    const file = scratch.path(`${name}.cookies`);
    writeFileSync(file, sessions.cookies.map((cookie) => `${cookie}\n`).join(""));
    lua = `cookies_file = ${JSON.stringify(file)}\n${lua}`;
  }
  const path = scratch.path(`${name}${right === undefined ? "" : ".checked"}.lua`);
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
