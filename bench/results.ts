import type { Conditions } from "./conditions.ts";
import type { Candidate } from "./measure/calibrate.ts";
import type { MemoryUse } from "./measure/memory.ts";
import type { StartTime } from "./measure/start-time.ts";
import type { Measured } from "./measure/throughput.ts";
import type { Transfer } from "./measure/transfers.ts";
import type { WarmFork } from "./measure/warm-fork.ts";
import type { WorkerModeResult } from "./worker-mode.ts";
import type { Workload } from "./workloads.ts";

export type WorkloadResult = Pick<Workload, "name" | "title" | "connections" | "against" | "goal"> &
  ({ readonly measured: readonly Measured[] } | { readonly rejected: string });

/** All that a run of the benchmark found out; bench/results/latest.json. */
export interface Results {
  readonly conditions: Conditions;
  readonly quick: boolean;
  readonly rounds: number;
  readonly roundSeconds: number;
  readonly tookSeconds: number;
  readonly setUp: {
    readonly phprunWorkers: number;
    readonly phprunTried: readonly Candidate[];
    readonly deployedChildren: number;
    readonly deployedTried: readonly Candidate[];
    readonly bestChildren: number;
    readonly nginxWorkers: number;
  };
  readonly workloads: readonly WorkloadResult[];
  /** Absent in files of before there was one. */
  readonly workerMode?: readonly WorkerModeResult[];
  readonly warmFork?: readonly WarmFork[] | { readonly rejected: string } | null;
  readonly memory: readonly MemoryUse[] | { readonly rejected: string } | null;
  readonly start: readonly StartTime[] | { readonly rejected: string } | null;
  readonly transfers: readonly Transfer[] | { readonly rejected: string } | null;
}

/** phprun's figure over that of another server. Undefined when either is missing. */
export function ratio(
  result: WorkloadResult,
  other: Measured["stack"],
  our: Measured["stack"] = "phprun",
): number | undefined {
  const ours = measuredOf(result, our)?.requestsPerSecond;
  const theirs = measuredOf(result, other)?.requestsPerSecond;
  return ours === undefined || theirs === undefined ? undefined : ours / theirs;
}

export function measuredOf(result: WorkloadResult, stack: Measured["stack"]): Measured | undefined {
  return "measured" in result ? result.measured.find((measured) => measured.stack === stack) : undefined;
}
