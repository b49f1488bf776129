import { agreedAnswers } from "../answers.ts";
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
  const agreed = await agreedAnswers(stacks, workload);
  const found: MemoryUse[] = [];
  for (const [i, stack] of stacks.entries()) {
    await runLoad(scratch, stack.port, workload, 2000, { right: agreed[i] });
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

/** All of a server: its front, and everything else. */
export interface ServerMemory {
  readonly frontBytes: number;
  readonly totalBytes: number;
}

const SETTLED_SHARE = 0.01;
const SETTLE_MS = 250;
const MOST_SETTLES = 40;

/** The proportional memory of all processes of a server, once it has stopped changing. */
export async function settledMemory({ roots }: Stack): Promise<ServerMemory> {
  let last = Number.POSITIVE_INFINITY;
  for (let i = 0; ; i++) {
    const sizes = processTree(roots).map((pid) => memoryOf(pid).pssBytes);
    const totalBytes = sizes.reduce((sum, bytes) => sum + bytes, 0);
    const still = Math.abs(totalBytes - last) < SETTLED_SHARE * totalBytes;
    if (still || i === MOST_SETTLES) return { frontBytes: sizes[0]!, totalBytes };
    last = totalBytes;
    await Bun.sleep(SETTLE_MS);
  }
}
