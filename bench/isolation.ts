/** Threads and processes side by side, on the same thread-safe PHP: npm run bench -- --isolation */
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { type Conditions, describeConditions } from "./conditions.ts";
import { findBest } from "./measure/calibrate.ts";
import { agreedAnswer } from "./answers.ts";
import { runLoad } from "./load.ts";
import { type ServerMemory, settledMemory } from "./measure/memory.ts";
import { measureCrash, measureWorkerRespawn } from "./measure/respawn.ts";
import { measureStart, type StartTime } from "./measure/start-time.ts";
import { type Measured, measureThroughput } from "./measure/throughput.ts";
import { type Options, wants } from "./options.ts";
import { Quiet } from "./quiet.ts";
import { isolationReport } from "./report/isolation.ts";
import type { Scratch } from "./scratch.ts";
import { compareSettings, ofOneSapi, settingsOf } from "./settings.ts";
import { type Isolation, type PhprunOptions, startPhprun } from "./stacks/phprun.ts";
import type { Stack } from "./stacks/stack.ts";
import { workloads } from "./workloads.ts";

/** Threads first: all ratios are thread ÷ process. */
export const isolations = ["thread", "process"] as const satisfies readonly Isolation[];
const hello = workloads[0]!;
const MEMORY_WORKERS = 16;
const PATIENCE_MS = 60_000;

export interface Memories {
  readonly isolation: Isolation;
  /** Started, and asked for nothing but one page. */
  readonly idle: ServerMemory;
  readonly loaded: ServerMemory;
}

export interface Times {
  readonly isolation: Isolation;
  readonly ms: readonly number[];
}

export interface IsolationResults {
  readonly conditions: Conditions;
  readonly quick: boolean;
  readonly rounds: number;
  readonly roundSeconds: number;
  readonly workers: Readonly<Record<Isolation, number>>;
  readonly memoryWorkers: number;
  readonly workloads: readonly { readonly title: string; readonly measured: readonly Measured[] }[];
  readonly memory: readonly Memories[];
  readonly start: readonly StartTime[];
  readonly workerRespawn: readonly Times[];
  readonly crash: readonly Times[];
}

/** Measures, writes the JSON file and prints the report. False when a goal was missed. */
export async function compareIsolations(
  scratch: Scratch,
  executable: string,
  libphp: string,
  options: Options,
): Promise<boolean> {
  const start = (isolation: Isolation, workers: number, more: Partial<PhprunOptions> = {}) =>
    startPhprun(scratch, { executable, workers, ...more, on: { isolation, libphp } });
  const both = async <Found>(run: (isolation: Isolation) => Promise<Found>): Promise<Found[]> => {
    const found: Found[] = [];
    for (const isolation of isolations) found.push(await run(isolation));
    return found;
  };
  const wanted = workloads.filter(({ name, against }) => against === "php-fpm" && wants(options, name));

  const workers = { thread: options.workers ?? 2, process: options.workers ?? 2 };
  if (wanted.length > 0 && options.workers === undefined) {
    say("Finding the best number of workers");
    for (const isolation of isolations) {
      const { best } = await findBest(scratch, hello, [2, 4, 8], (count) => start(isolation, count));
      workers[isolation] = best;
    }
  }
  const stacks = await both((isolation) => start(isolation, workers[isolation]));
  const [threads, processes] = await Promise.all(stacks.map(settingsOf));
  // What a host sets for its threads.
  compareSettings(threads!, processes!, new RegExp(`${ofOneSapi.source}|^opcache\\.force_restart_timeout$`));
  const shape = {
    rounds: options.rounds,
    roundMs: options.roundMs,
    quiet: new Quiet(options.quick ? 0 : PATIENCE_MS),
  };
  const measured = [];
  for (const workload of wanted) {
    say(`${workload.title}, ${workload.connections} connections`);
    measured.push({
      title: workload.title,
      measured: await measureThroughput(scratch, stacks, workload, shape),
    });
  }
  await Promise.all(stacks.map((stack) => stack.stop()));

  const measure = async <Found>(name: string, run: (isolation: Isolation) => Promise<Found>) => {
    if (!wants(options, name)) return [];
    say(name);
    return await both(run);
  };
  const results: IsolationResults = {
    conditions: describeConditions(executable, threads!),
    quick: options.quick,
    rounds: options.rounds,
    roundSeconds: options.roundMs / 1000,
    workers,
    memoryWorkers: MEMORY_WORKERS,
    workloads: measured,
    memory: await measure("memory", async (isolation) =>
      using(await start(isolation, MEMORY_WORKERS), async (stack) => {
        const idle = await settledMemory(stack);
        await runLoad(scratch, stack.port, hello, 2000, { right: await agreedAnswer(stack, hello) });
        return { isolation, idle, loaded: await settledMemory(stack) };
      }),
    ),
    start: !wants(options, "start")
      ? []
      : await measureStart(
          isolations.map((key) => ({ key, start: () => start(key, workers[key]) })),
          options.quick ? 5 : 15,
        ),
    workerRespawn: await measure("respawn", async (isolation) =>
      using(await start(isolation, 1, { maxRequests: 1 }), async (stack) => ({
        isolation,
        ms: await measureWorkerRespawn(stack, options.quick ? 30 : 100),
      })),
    ),
    crash: await measure("crash", async (isolation) =>
      using(await start(isolation, MEMORY_WORKERS, { ini: { "ffi.enable": "1" } }), async (stack) => ({
        isolation,
        ms: await measureCrash(stack, options.quick ? 5 : 15),
      })),
    ),
  };
  mkdirSync(dirname(options.json), { recursive: true });
  writeFileSync(options.json, `${JSON.stringify(results, null, 2)}\n`);
  const { text, met } = isolationReport(results);
  console.log(`\n${text}\n\n${options.json}`);
  return met;
}

async function using<Found>(stack: Stack, run: (stack: Stack) => Promise<Found>): Promise<Found> {
  try {
    return await run(stack);
  } finally {
    await stack.stop();
  }
}

function say(text: string): void {
  process.stderr.write(`${text}\n`);
}
