import type { WarmFork } from "./measure/warm-fork.ts";
import { median } from "./statistics.ts";
import { measuredOf, ratio, type Results, type WorkloadResult } from "./results.ts";

export interface Goal {
  readonly what: string;
  readonly aim: string;
  readonly found: string;
  readonly met: boolean;
}

const MIB = 1024 ** 2;

/** What was aimed at, and whether it was reached. Leaves out what was not measured. */
export function judge(results: Results): Goal[] {
  const goals = results.workloads.flatMap(judgeWorkload);
  goals.push(...(results.workerMode ?? []).flatMap(judgeWorkerMode));
  goals.push(...rows(results.warmFork ?? null).flatMap(judgeWarmFork));
  const ours = rows(results.memory).find(({ stack }) => stack === "phprun");
  if (ours !== undefined) {
    goals.push(atMost("idle worker, PSS", ours.workerPssBytes / MIB, 2, "MiB"));
    goals.push(atMost("idle worker, private", ours.workerPrivateBytes / MIB, 1, "MiB"));
  }
  const start = rows(results.start).find(({ stack }) => stack === "phprun");
  if (start !== undefined) goals.push(atMost("start to first answer", start.medianMs, 300, "ms"));
  for (const transfer of rows(results.transfers)) {
    if (transfer.stack !== "phprun") continue;
    const what = `front's growth, ${(transfer.bytes / 1024 ** 3).toFixed(1)} GiB ${transfer.kind}`;
    goals.push(atMost(what, transfer.frontGrewBytes / MIB, 64, "MiB"));
  }
  return goals;
}

function judgeWorkload(result: WorkloadResult): Goal[] {
  if ("rejected" in result)
    return [{ what: result.title, aim: "a valid run", found: "rejected", met: false }];
  const goals: Goal[] = [];
  const toBest = ratio(result, "fpm-best");
  const other = result.against === "nginx" ? "nginx" : "fpm at its best";
  if (toBest !== undefined) goals.push(atLeast(`${result.title} ÷ ${other}`, toBest, result.goal.best));
  const toDeployed = ratio(result, "fpm-deployed");
  if (toDeployed !== undefined && result.goal.deployed !== undefined) {
    goals.push(atLeast(`${result.title} ÷ fpm as deployed`, toDeployed, result.goal.deployed));
  }
  const ours = measuredOf(result, "phprun");
  const theirs = (["fpm-best", "fpm-deployed"] as const).flatMap((key) => measuredOf(result, key) ?? []);
  if (ours !== undefined && result.against === "php-fpm" && theirs.length > 0) {
    const lowest = Math.min(...theirs.map(({ p99Ms }) => p99Ms));
    goals.push(atMost(`${result.title}, p99`, ours.p99Ms, lowest, "ms"));
  }
  return goals;
}

function judgeWorkerMode(result: WorkloadResult): Goal[] {
  const title = `${result.title}, worker mode`;
  if ("rejected" in result) return [{ what: title, aim: "a valid run", found: "rejected", met: false }];
  const toBest = ratio(result, "fpm-best", "worker");
  const toClassic = ratio(result, "phprun", "worker");
  return [
    ...(toBest === undefined ? [] : [atLeast(`${title} ÷ fpm at its best`, toBest, result.goal.best)]),
    ...(toClassic === undefined || result.goal.classic === undefined
      ? []
      : [atLeast(`${title} ÷ classic mode`, toClassic, result.goal.classic)]),
  ];
}

function judgeWarmFork({ application, lives, memory }: WarmFork): Goal[] {
  const share = (100 * memory.warm.bootedBytes) / memory.cold.bootedBytes;
  return [
    atMost(`${application}, a warm worker's successor is ready`, median(lives.warm.readyMs), 10, "ms"),
    atMost(`${application}, own memory of a warm worker ÷ a cold one's`, share, 25, "%"),
  ];
}

export function atLeast(what: string, found: number, aim: number): Goal {
  return { what, aim: `≥ ${aim}×`, found: `${found.toFixed(2)}×`, met: found >= aim };
}

export function atMost(what: string, found: number, aim: number, unit: string): Goal {
  return { what, aim: `≤ ${brief(aim)} ${unit}`, found: `${brief(found)} ${unit}`, met: found <= aim };
}

function brief(value: number): string {
  return value >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(3)));
}

/** What was measured, or nothing. */
export function rows<Row>(found: readonly Row[] | { rejected: string } | null): readonly Row[] {
  return found === null || "rejected" in found ? [] : found;
}
