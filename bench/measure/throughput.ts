import { agreedAnswers } from "../answers.ts";
import { type LoadResult, type Partner, runLoad } from "../load.ts";
import { cpuSeconds, machineSeconds } from "../processes.ts";
import type { Quiet } from "../quiet.ts";
import type { RightAnswer } from "../right-answer.ts";
import { Sampler } from "../sampler.ts";
import type { Scratch } from "../scratch.ts";
import { Sessions } from "../sessions.ts";
import type { Stack, StackKey } from "../stacks/stack.ts";
import { median } from "../statistics.ts";
import type { Workload } from "../workloads.ts";

export interface Round {
  readonly requestsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
  readonly cpuMicros: number;
  readonly samples: number;
  /** CPU time that neither the servers nor the load used, as a share of the machine. */
  readonly foreign: number;
  readonly stolen: number;
}

export interface Measured {
  readonly stack: StackKey;
  readonly title: string;
  readonly requestsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly cpuMicros: number;
  readonly rounds: readonly Round[];
}

export interface RunShape {
  readonly rounds: number;
  readonly roundMs: number;
  readonly quiet: Quiet;
}

const PAUSE_MS = 150;
const WARM_UP_MS = 1000;

/** Rounds of A B C A B C …, so that what the machine does meanwhile hits all servers alike; medians of each. */
export async function measureThroughput(
  scratch: Scratch,
  stacks: readonly Stack[],
  workload: Workload,
  shape: RunShape,
): Promise<Measured[]> {
  const agreed = await agreedAnswers(stacks, workload);
  const partners: Conversation[] = [];
  for (const [i, stack] of stacks.entries()) {
    const right = agreed[i]!;
    const sessions = await Sessions.begin(stack, workload);
    const warm = await named(stack, () =>
      runLoad(scratch, stack.port, workload, WARM_UP_MS, { right, sessions }),
    );
    const every = "template" in right ? right : undefined;
    partners.push({ stack, sessions, expected: right, right: every, bytesEach: warm.bytes / warm.requests });
    await Bun.sleep(PAUSE_MS);
  }
  const rounds: Round[][] = stacks.map(() => []);
  for (let round = 0; round < shape.rounds; round++) {
    await shape.quiet.wait();
    for (const [i, partner] of partners.entries()) {
      const run = () => measureRound(scratch, partner, workload, shape.roundMs);
      rounds[i]!.push(await named(partner.stack, run));
      await Bun.sleep(PAUSE_MS);
    }
  }
  for (const { sessions } of partners) await sessions?.check();
  return stacks.map((stack, i) => summarise(stack, rounds[i]!));
}

/** One server, and what is known of its answers. */
interface Conversation extends Partner {
  readonly stack: Stack;
  readonly expected: RightAnswer;
  /** Of its answers in the warm-up. */
  readonly bytesEach: number;
}

async function measureRound(
  scratch: Scratch,
  partner: Conversation,
  workload: Workload,
  durationMs: number,
): Promise<Round> {
  const { stack, expected, bytesEach } = partner;
  using sampler = new Sampler(stack, workload, expected);
  const before = snapshot(stack);
  const load = await runLoad(scratch, stack.port, workload, durationMs, partner);
  const after = snapshot(stack);
  await sampler.end();
  if (partner.right === undefined) checkBytes(load, workload, bytesEach);
  const cpu = after.servers - before.servers;
  const capacity = ((after.atMs - before.atMs) / 1000) * navigator.hardwareConcurrency;
  const ours = cpu + load.wrkCpuSeconds + sampler.curlCpuSeconds + (after.own - before.own);
  return {
    requestsPerSecond: load.requests / load.seconds,
    p50Ms: load.p50Ms,
    p99Ms: load.p99Ms,
    maxMs: load.maxMs,
    cpuMicros: (cpu / (load.requests + sampler.samples)) * 1e6,
    samples: sampler.samples,
    foreign: Math.max(0, (after.machine.busy - before.machine.busy - ours) / capacity),
    stolen: (after.machine.stolen - before.machine.stolen) / capacity,
  };
}

function snapshot(stack: Stack) {
  const own = process.cpuUsage();
  return {
    atMs: performance.now(),
    servers: cpuSeconds(stack.roots),
    machine: machineSeconds(),
    own: (own.user + own.system) / 1e6,
  };
}

/** Answers cut short, or replaced by something else, show in the bytes received. */
function checkBytes(load: LoadResult, workload: Workload, bytesEach: number): void {
  const expected = load.requests * bytesEach;
  // What was under way when wrk stopped is counted in bytes and not in requests, here and in the warm-up.
  const slack = 0.01 * expected + 2 * workload.connections * bytesEach;
  if (Math.abs(load.bytes - expected) > slack) {
    throw new Error(
      `rejected: ${load.bytes} bytes for ${load.requests} answers of ${bytesEach.toFixed(0)} bytes each`,
    );
  }
}

async function named<Result>(stack: Stack, run: () => Promise<Result>): Promise<Result> {
  try {
    return await run();
  } catch (cause) {
    throw new Error(`${stack.title}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}

function summarise(stack: Stack, rounds: readonly Round[]): Measured {
  const middle = (pick: (round: Round) => number) => median(rounds.map(pick));
  return {
    stack: stack.key,
    title: stack.title,
    requestsPerSecond: middle((round) => round.requestsPerSecond),
    p50Ms: middle((round) => round.p50Ms),
    p99Ms: middle((round) => round.p99Ms),
    cpuMicros: middle((round) => round.cpuMicros),
    rounds,
  };
}
