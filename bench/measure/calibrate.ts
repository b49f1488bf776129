import { agreedAnswers } from "../answers.ts";
import { type Partner, runLoad } from "../load.ts";
import type { Scratch } from "../scratch.ts";
import { Sessions } from "../sessions.ts";
import type { Stack } from "../stacks/stack.ts";
import { median } from "../statistics.ts";
import type { Workload } from "../workloads.ts";

export interface Candidate {
  readonly workers: number;
  readonly requestsPerSecond: number;
}

const ROUNDS = 3;
const ROUND_MS = 1000;

/** Which number of workers is quickest, each side at its own best: short alternating rounds. */
export async function findBest(
  scratch: Scratch,
  workload: Workload,
  counts: readonly number[],
  start: (workers: number) => Promise<Stack>,
): Promise<{ best: number; candidates: Candidate[] }> {
  const stacks = await Promise.all(counts.map(start));
  const agreed = await agreedAnswers(stacks, workload);
  const found = counts.map((): number[] => []);
  const partners: Partner[] = [];
  for (const [i, stack] of stacks.entries()) {
    const sessions = await Sessions.begin(stack, workload);
    await runLoad(scratch, stack.port, workload, ROUND_MS, { right: agreed[i], sessions });
    partners.push({ sessions });
  }
  for (let round = 0; round < ROUNDS; round++) {
    for (const [i, stack] of stacks.entries()) {
      const load = await runLoad(scratch, stack.port, workload, ROUND_MS, partners[i]!);
      found[i]!.push(load.requests / load.seconds);
    }
  }
  await Promise.all(stacks.map((stack) => stack.stop()));
  const candidates = counts.map((workers, i) => ({ workers, requestsPerSecond: median(found[i]!) }));
  const best = candidates.reduce((a, b) => (b.requestsPerSecond > a.requestsPerSecond ? b : a)).workers;
  return { best, candidates };
}
