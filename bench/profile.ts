#!/usr/bin/env bun
/**
 * Where does phprun's time go? Counts system calls per request of the front and of a worker, and samples both.
 *
 *   bun bench/profile.ts [--workload hello] [--seconds 3] [--workers 2] [--phprun FILE] [--no-perf] [--against-fpm]
 *   bun bench/profile.ts --worker-mode …                   the same answer in classic mode, then in worker mode
 *   bun bench/profile.ts --isolation [--libphp FILE] …     threads, then processes, on the same thread-safe PHP
 *
 * Needs strace, and for the samples perf (Debian: strace, linux-perf). Both slow down what they watch, so look at the
 * shares and the counts, not at the rate; and wake-ups (futex, a worker's sendto) are counted higher than they are,
 * because watched workers are seldom behind with their work. For the JavaScript of the front by function, run it from its source:
 *
 *   bun --cpu-prof --cpu-prof-dir=/tmp src/main.ts serve …     (open the file in Chrome's DevTools)
 */
import { copyFileSync, mkdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { writeDocroot } from "./docroot.ts";
import { installMissing } from "./install.ts";
import { runLoad } from "./load.ts";
import { agreedAnswer } from "./answers.ts";
import { cpuSeconds, processTree } from "./processes.ts";
import { Scratch } from "./scratch.ts";
import { iniSources, type Settings, settingsOf } from "./settings.ts";
import { startNginxFpm } from "./stacks/nginx-fpm.ts";
import { type PhprunOptions, startPhprun } from "./stacks/phprun.ts";
import type { Stack } from "./stacks/stack.ts";
import { type Workload, workloads } from "./workloads.ts";
import { ztsLibphp } from "../test/zts.ts";

const { values } = parseArgs({
  options: {
    workload: { type: "string", default: "hello" },
    seconds: { type: "string", default: "3" },
    workers: { type: "string", default: "2" },
    phprun: { type: "string", default: join(resolve(import.meta.dirname, ".."), "phprun") },
    "no-perf": { type: "boolean", default: false },
    "against-fpm": { type: "boolean", default: false },
    isolation: { type: "boolean", default: false },
    "worker-mode": { type: "boolean", default: false },
    libphp: { type: "string", default: ztsLibphp ?? "" },
  },
});
const seconds = Number(values.seconds);
const workload = workloads.find(({ name }) => name === values.workload);
if (workload === undefined) throw new Error(`Cannot profile "${values.workload}": see bench/workloads.ts`);

await installMissing(["wrk", "strace", ...(values["no-perf"] ? [] : ["linux-perf"])]);
await using scratch = new Scratch();
mkdirSync(scratch.path("docroot"));
writeDocroot(scratch.path("docroot"));
copyFileSync(values.phprun, scratch.path("phprun"));

if (values.isolation) {
  for (const isolation of ["thread", "process"] as const) {
    await profilePhprun(workload, { on: { isolation, libphp: values.libphp } });
  }
} else if (values["worker-mode"]) {
  // Whatever the workload's path: a worker script answers all of them, with what hello.php says.
  if (workload.name !== "hello")
    throw new Error("Cannot profile worker mode: its script says hello world only");
  for (const mode of ["classic", "worker"] as const) await profilePhprun(workload, { mode });
} else {
  const settings = await profilePhprun(workload, {}, settingsOf);
  if (values["against-fpm"]) await profileFpm(workload, settings!);
}

async function profilePhprun<Found>(
  load: Workload,
  more: Pick<PhprunOptions, "on" | "mode">,
  andThen?: (stack: Stack) => Promise<Found>,
): Promise<Found | undefined> {
  // Workers that are never replaced: their process ids must hold.
  const ours = await startPhprun(scratch, {
    executable: scratch.path("phprun"),
    workers: Number(values.workers),
    maxRequests: 0,
    ...more,
  });
  await profile(ours, load, [
    { role: "front", pids: [ours.roots[0]!] },
    { role: more.on?.isolation === "thread" ? "host" : "workers", pids: ours.workers() },
  ]);
  const found = await andThen?.(ours);
  await ours.stop();
  return found;
}

async function profileFpm(load: Workload, settings: Settings): Promise<void> {
  const version = settings.version.split(".").slice(0, 2).join(".");
  // Plain FastCGI: a few children do all the work, which tools can watch.
  const php = { program: `php-fpm${version}`, ...iniSources(settings) };
  const theirs = await startNginxFpm(scratch, { key: "fpm-deployed", children: 4, kept: 0, php });
  await profile(theirs, load, [
    { role: "nginx", pids: processTree([theirs.roots[0]!]) },
    { role: "php-fpm", pids: theirs.workers() },
  ]);
  await theirs.stop();
}

interface Role {
  readonly role: string;
  readonly pids: readonly number[];
}

async function profile(stack: Stack, load: Workload, roles: readonly Role[]): Promise<void> {
  const right = await agreedAnswer(stack, load);
  await runLoad(scratch, stack.port, load, 2000, { right });
  await costs(stack, load);
  for (const role of roles) await systemCalls(stack, load, role);
  if (!values["no-perf"]) for (const role of roles) await samples(stack, load, role);
}

/** CPU per request without any tool watching. */
async function costs(stack: Stack, load: Workload): Promise<void> {
  const before = stack.roots.map((root) => cpuSeconds([root]));
  const workersBefore = cpuSeconds(stack.workers());
  const { requests, seconds: took } = await runLoad(scratch, stack.port, load, seconds * 1000, {});
  const workers = cpuSeconds(stack.workers()) - workersBefore;
  const all = stack.roots.reduce((sum, root, i) => sum + cpuSeconds([root]) - before[i]!, 0);
  const micros = (cpu: number) => `${((cpu / requests) * 1e6).toFixed(1)} µs`;
  heading(`${stack.title}: ${load.title}`);
  console.log(
    `${(requests / took).toFixed(0)} req/s; CPU per request: ${micros(all)}, of it PHP workers ${micros(workers)}, the rest ${micros(all - workers)}`,
  );
}

/** With strace's counts: exact, since every process of the role is watched for all of the load. */
async function systemCalls(stack: Stack, load: Workload, { role, pids }: Role): Promise<void> {
  const file = scratch.path(`${role}.strace`);
  const strace = Bun.spawn(
    ["strace", "-c", "-f", "-U", "calls,name", "-o", file, ...pids.map((pid) => `-p${pid}`)],
    {
      stdio: ["ignore", "ignore", "ignore"],
    },
  );
  await Bun.sleep(500);
  const { requests } = await runLoad(scratch, stack.port, load, seconds * 1000, {});
  strace.kill("SIGINT");
  await strace.exited;
  heading(`${role}: system calls per request`);
  for (const line of (await Bun.file(file).text()).split("\n")) {
    const [, calls, name] = /^\s*(\d+)\s+([a-z]\w+)$/.exec(line) ?? [];
    if (calls === undefined || name === undefined || name === "total") continue;
    const each = Number(calls) / requests;
    if (each >= 0.005) console.log(`  ${name.padEnd(22)} ${each.toFixed(2).padStart(8)}`);
  }
}

async function samples(stack: Stack, load: Workload, { role, pids }: Role): Promise<void> {
  const file = scratch.path(`${role}.perf`);
  // The CPU clock, because virtual machines often have no cycle counter.
  const record = ["perf", "record", "-q", "-e", "cpu-clock", "-F", "1999", "-o", file, "-p", pids.join(",")];
  const perf = Bun.spawn(record, { stdio: ["ignore", "ignore", "ignore"] });
  await Bun.sleep(300);
  await runLoad(scratch, stack.port, load, seconds * 1000, {});
  perf.kill("SIGINT");
  await perf.exited;
  for (const [sort, most] of [
    ["dso", 8],
    ["dso,symbol", 40],
  ] as const) {
    const report = ["perf", "report", "-i", file, "--stdio", "-q", "--sort", sort, "--percent-limit", "0.7"];
    const lines = Bun.spawnSync(report).stdout.toString().split("\n");
    heading(`${role}: samples by ${sort}`);
    console.log(
      lines
        .map((line) => line.replace(/\s+(?:-\s*)*$/, ""))
        .filter((line) => line !== "")
        .slice(0, most)
        .join("\n"),
    );
  }
}

function heading(text: string): void {
  console.log(`\n── ${text}`);
}
