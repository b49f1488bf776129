import { agreedAnswer } from "../answers.ts";
import { runLoad } from "../load.ts";
import { memoryOf, processTree } from "../processes.ts";
import type { Scratch } from "../scratch.ts";
import type { Stack, StackKey } from "../stacks/stack.ts";
import { median } from "../statistics.ts";
import type { Workload } from "../workloads.ts";

export interface MemoryUse {
  readonly stack: StackKey;
  readonly title: string;
  readonly workers: number;
  /** One idle worker that has served requests: the median of all workers. */
  readonly workerPssBytes: number;
  readonly workerPrivateBytes: number;
  readonly workerRssBytes: number;
  /** Every process of the server. */
  readonly totalPssBytes: number;
}

/** What idle workers hold after each has served its share of a short load. */
export async function measureMemory(
  scratch: Scratch,
  stacks: readonly Stack[],
  workload: Workload,
): Promise<MemoryUse[]> {
  const expected = await agreedAnswer(stacks, workload);
  const found: MemoryUse[] = [];
  for (const stack of stacks) {
    await runLoad(scratch, stack.port, workload, 2000, expected);
    await Bun.sleep(500);
    const workers = stack.workers().map(memoryOf);
    const all = stack.roots.flatMap((root) => processTree([root])).map(memoryOf);
    found.push({
      stack: stack.key,
      title: stack.title,
      workers: workers.length,
      workerPssBytes: median(workers.map((worker) => worker.pssBytes)),
      workerPrivateBytes: median(workers.map((worker) => worker.privateBytes)),
      workerRssBytes: median(workers.map((worker) => worker.rssBytes)),
      totalPssBytes: all.reduce((sum, process) => sum + process.pssBytes, 0),
    });
  }
  return found;
}
