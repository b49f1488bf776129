#!/usr/bin/env bun
/** Runs phprun and nginx + php-fpm side by side and compares them: npm run bench -- --help */
import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { attempt } from "./attempt.ts";
import { describeConditions } from "./conditions.ts";
import { writeDocroot } from "./docroot.ts";
import { installMissing } from "./install.ts";
import { compareIsolations } from "./isolation.ts";
import { type Candidate, findBest } from "./measure/calibrate.ts";
import { measureMemory } from "./measure/memory.ts";
import { measureStart } from "./measure/start-time.ts";
import { measureThroughput } from "./measure/throughput.ts";
import { measureTransfers } from "./measure/transfers.ts";
import { defaultJson, type Options, readOptions, usage, wants } from "./options.ts";
import { Quiet } from "./quiet.ts";
import { chart } from "./report/chart.ts";
import { textReport } from "./report/text.ts";
import type { Results, WorkloadResult } from "./results.ts";
import { Scratch } from "./scratch.ts";
import { compareSettings, iniSources, settingsOf } from "./settings.ts";
import { nginxWorkers, startNginxFpm } from "./stacks/nginx-fpm.ts";
import { startPhprun } from "./stacks/phprun.ts";
import type { Stack } from "./stacks/stack.ts";
import { measureForks, measureWorkerMode } from "./worker-mode.ts";
import { mostConnections, workerModeWorkloads, workloads } from "./workloads.ts";
import { ztsLibphp } from "../test/zts.ts";

const chartFile = join(import.meta.dirname, "../docs/bench.svg");
const hello = workloads[0]!;
/** The load's connections, and one for the sampler. */
const KEPT_PER_NGINX_WORKER = mostConnections + 1;
const MEMORY_WORKERS = 8;
/** How long a run waits, all in all, for others to leave the machine alone. */
const PATIENCE_MS = 60_000;

async function main(options: Options): Promise<boolean> {
  const startedMs = performance.now();
  await installMissing(["nginx", "wrk", "curl"]);
  await using scratch = new Scratch();
  endOnSignals(scratch);
  mkdirSync(scratch.path("docroot"));
  writeDocroot(scratch.path("docroot"));
  // A copy, so that a build in the meantime does not change what is measured.
  const executable = scratch.path("phprun");
  copyFileSync(options.phprun, executable);

  if (options.isolation) {
    const libphp = options.libphp ?? ztsLibphp;
    if (libphp === null) throw new Error("Cannot compare: there is no thread-safe libphp; ./setup.sh --zts");
    return await compareIsolations(scratch, executable, libphp, options);
  }

  const phprun = (workers: number, more: { ini?: Record<string, string>; largestBody?: string } = {}) =>
    startPhprun(scratch, { executable, workers, ...more });

  say("Asking phprun which PHP it runs");
  const first = await phprun(2);
  const settings = await settingsOf(first);
  await first.stop();
  const version = settings.version.split(".").slice(0, 2).join(".");
  await installMissing([`php${version}-fpm`]);
  const php = { program: `php-fpm${version}`, ...iniSources(settings) };

  const fpmDeployed = (children: number) =>
    startNginxFpm(scratch, { key: "fpm-deployed", children, kept: 0, php });
  const bestChildren = KEPT_PER_NGINX_WORKER * nginxWorkers;
  const fpmBest = (children = bestChildren, ini: Record<string, string> = {}) =>
    startNginxFpm(scratch, {
      key: "fpm-best",
      children,
      kept: Math.floor(children / nginxWorkers),
      php,
      ini,
    });

  const wanted = workloads.filter(({ name }) => wants(options, name));
  const calibrated = wanted.length > 0 && options.workers === undefined;
  let ours: { best: number; candidates: Candidate[] } = { best: options.workers ?? 2, candidates: [] };
  let deployed: typeof ours = { best: 8, candidates: [] };
  if (calibrated) {
    say("Finding the best number of workers");
    ours = await findBest(scratch, hello, [2, 4, 8], phprun);
    deployed = await findBest(scratch, hello, [4, 8], fpmDeployed);
  }

  const results: WorkloadResult[] = [];
  const { rounds, roundMs } = options;
  const shape = { rounds, roundMs, quiet: new Quiet(options.quick ? 0 : PATIENCE_MS) };
  if (wanted.length > 0) {
    const stacks = [await phprun(ours.best), await fpmBest(), await fpmDeployed(deployed.best)];
    for (const stack of stacks) compareSettings(settings, await settingsOf(stack));
    for (const workload of wanted) {
      say(`${workload.title}, ${workload.connections} connections`);
      const { name, title, connections, against, goal } = workload;
      const compared = against === "nginx" ? stacks.slice(0, 2) : stacks;
      const found = await attempt(say, async () => ({
        measured: await measureThroughput(scratch, compared, workload, shape),
      }));
      results.push({ name, title, connections, against, goal, ...found });
    }
    await stopAll(stacks);
  }

  const parts = {
    scratch,
    executable,
    php,
    version,
    shape,
    workers: options.workers,
    keptChildren: bestChildren,
    say,
  };
  const workerMode = await measureWorkerMode(
    parts,
    workerModeWorkloads.filter(({ name }) => wants(options, name)),
  );
  const warmFork = !wants(options, "worker-fork")
    ? null
    : await attempt(say, async () => await measureForks(parts, options.quick ? 20 : 100));

  const memory = !wants(options, "memory")
    ? null
    : await attempt(say, async () => {
        say("Memory");
        const stacks = [await phprun(MEMORY_WORKERS), await fpmDeployed(MEMORY_WORKERS)];
        const found = await measureMemory(scratch, stacks, hello);
        await stopAll(stacks);
        return found;
      });
  const start = !wants(options, "start")
    ? null
    : await attempt(say, async () => {
        say("Start");
        const starters = [
          { key: "phprun", start: () => phprun(ours.best) },
          { key: "fpm-deployed", start: () => fpmDeployed(deployed.best) },
        ] as const;
        return await measureStart(starters, options.quick ? 5 : 10);
      });
  const transfers = !wants(options, "transfers")
    ? null
    : await attempt(say, async () => {
        say("Transfers");
        const ini = { upload_max_filesize: "2G", post_max_size: "2G" };
        const stacks = [await phprun(2, { ini, largestBody: "2GiB" }), await fpmBest(2 * nginxWorkers, ini)];
        const size = options.quick
          ? { uploadMib: 256, downloadMib: 512 }
          : { uploadMib: 1024, downloadMib: 2048 };
        const found = await measureTransfers(scratch, stacks, size);
        await stopAll(stacks);
        return found;
      });

  const all: Results = {
    conditions: describeConditions(options.phprun, settings),
    quick: options.quick,
    rounds: options.rounds,
    roundSeconds: options.roundMs / 1000,
    tookSeconds: (performance.now() - startedMs) / 1000,
    setUp: {
      phprunWorkers: ours.best,
      phprunTried: ours.candidates,
      deployedChildren: deployed.best,
      deployedTried: deployed.candidates,
      bestChildren,
      nginxWorkers,
    },
    workloads: results,
    workerMode,
    warmFork,
    memory,
    start,
    transfers,
  };
  publish(options, all);
  return ![...results, ...workerMode, warmFork, memory, start, transfers].some(
    (found) => found !== null && "rejected" in found,
  );
}

function publish(options: Options, results: Results): void {
  mkdirSync(dirname(options.json), { recursive: true });
  writeFileSync(options.json, `${JSON.stringify(results, null, 2)}\n`);
  // A quick or partial run, or one kept elsewhere, must not replace the chart of a full one.
  const whole = !options.quick && options.only.length === 0 && options.json === defaultJson;
  const svg = whole ? chartFile : options.json.replace(/(?:\.json)?$/, ".svg");
  writeFileSync(svg, chart(results));
  console.log(`\n${textReport(results)}\n\n${options.json}\n${svg}`);
}

async function stopAll(stacks: readonly Stack[]): Promise<void> {
  await Promise.all(stacks.map((stack) => stack.stop()));
}

function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

function endOnSignals(scratch: Scratch): void {
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.once(signal, () => {
      void scratch[Symbol.asyncDispose]().finally(() => process.exit(1));
    });
  }
}

try {
  const options = readOptions(process.argv.slice(2));
  if (options === undefined) console.log(usage);
  else process.exitCode = (await main(options)) ? 0 : 1;
} catch (error) {
  console.error(`bench: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
