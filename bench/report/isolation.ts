import { atLeast, atMost, type Goal } from "../goals.ts";
import type { IsolationResults, Times } from "../isolation.ts";
import type { Measured } from "../measure/throughput.ts";
import { median } from "../statistics.ts";
import { goals, table } from "./text.ts";

const MIB = 1024 ** 2;
const RATIO_GOAL = 1.0;
const THREAD_RESPAWN_GOAL_MS = 20;
const HOST_RESPAWN_GOAL_MS = 500;

/** Threads against processes, as text; the goals come last. */
export function isolationReport(results: IsolationResults): { text: string; met: boolean } {
  const found = judge(results);
  const parts = [conditions(results), throughput(results), memory(results), times(results), goals(found)];
  return { text: parts.filter((part) => part !== "").join("\n\n"), met: found.every(({ met }) => met) };
}

/** What there is to compare, as lines of three cells: what, in threads, in processes. */
export function isolationLines(results: IsolationResults): string[][] {
  const pair = (found: readonly string[]): string[] => [found[0] ?? "–", found[1] ?? "–"];
  const mib = (bytes: number) => `${(bytes / MIB).toFixed(0)} MiB`;
  const spread = (ms: readonly number[]) =>
    `${median(ms).toFixed(1)} ms, at most ${Math.max(...ms).toFixed(0)} ms`;
  const lines = results.workloads.map(({ title, measured }) => [
    `${title}, req/s · CPU per request`,
    ...pair(
      measured.map(
        (one) =>
          `${one.requestsPerSecond.toLocaleString("en", { maximumFractionDigits: 0 })} · ${one.cpuMicros.toFixed(0)} µs`,
      ),
    ),
  ]);
  const more: [string, string[]][] = [
    [
      `whole server, ${results.memoryWorkers} workers, idle`,
      results.memory.map(({ idle }) => mib(idle.totalBytes)),
    ],
    ["the same after load", results.memory.map(({ loaded }) => mib(loaded.totalBytes))],
    ["start to first answer", results.start.map(({ triesMs }) => spread(triesMs))],
    ["a worker that leaves, until its successor answers", results.workerRespawn.map(({ ms }) => spread(ms))],
    ["a crash, until the next answer", results.crash.map(({ ms }) => spread(ms))],
  ];
  for (const [what, found] of more) if (found.length > 0) lines.push([what, ...pair(found)]);
  return lines;
}

function judge({ workloads, workerRespawn, crash }: IsolationResults): Goal[] {
  const found: Goal[] = [];
  for (const { title, measured } of workloads.slice(0, 1)) {
    found.push(atLeast(`${title}, thread ÷ process`, ratioOf(measured), RATIO_GOAL));
  }
  const thread = ({ isolation }: Times) => isolation === "thread";
  const worker = workerRespawn.find(thread);
  const host = crash.find(thread);
  if (worker !== undefined)
    found.push(atMost("a thread's successor answers", median(worker.ms), THREAD_RESPAWN_GOAL_MS, "ms"));
  if (host !== undefined)
    found.push(atMost("a host's successor answers, worst", Math.max(...host.ms), HOST_RESPAWN_GOAL_MS, "ms"));
  return found;
}

/** Of each pair of rounds that ran one after the other, since the machine changes meanwhile; the median. */
function ratioOf([threads, processes]: readonly Measured[]): number {
  return median(
    threads!.rounds.map(
      ({ requestsPerSecond }, i) => requestsPerSecond / processes!.rounds[i]!.requestsPerSecond,
    ),
  );
}

function conditions({ conditions: on, workers, rounds, roundSeconds, quick }: IsolationResults): string {
  return [
    `${on.date} UTC, ${on.cpu}, ${on.cpus} CPUs, ${on.memoryGib} GiB, ${on.system}, Linux ${on.kernel}`,
    `${on.versions["phprun"]}, PHP ${on.versions["PHP"]} (thread-safe) for both, every setting compared and equal`,
    `threads: ${workers.thread} workers, processes: ${workers.process} workers, each as many as serve it best`,
    `${rounds} alternating rounds of ${roundSeconds} s each, medians; the ratio is that of neighbouring rounds`,
    ...(quick ? ["A quick run: good for finding mistakes, not for publishing."] : []),
  ].join("\n");
}

function throughput({ workloads }: IsolationResults): string {
  const lines = workloads.flatMap(({ title, measured }) => {
    const factor = ratioOf(measured);
    return measured.map(({ stack, requestsPerSecond, p50Ms, p99Ms, cpuMicros }, i) => [
      `${title}, ${stack}`,
      requestsPerSecond.toFixed(0),
      `${p50Ms.toFixed(2)} ms`,
      `${p99Ms.toFixed(2)} ms`,
      `${cpuMicros.toFixed(1)} µs`,
      i === 0 ? `${factor.toFixed(2)}×` : "",
    ]);
  });
  if (lines.length === 0) return "";
  return table(["workload", "req/s", "p50", "p99", "CPU per request", "thread ÷ process"], lines);
}

function memory({ memory: found, memoryWorkers }: IsolationResults): string {
  if (found.length === 0) return "";
  const mib = (bytes: number) => `${(bytes / MIB).toFixed(1)} MiB`;
  return table(
    [`PSS of all, ${memoryWorkers} workers`, "idle", "after load", "of it the front"],
    found.map(({ isolation, idle, loaded }) => [
      isolation,
      mib(idle.totalBytes),
      mib(loaded.totalBytes),
      mib(loaded.frontBytes),
    ]),
  );
}

function times({ start, workerRespawn, crash }: IsolationResults): string {
  const line = (what: string, ms: readonly number[]) => [
    what,
    `${median(ms).toFixed(1)} ms`,
    `${Math.max(...ms).toFixed(1)} ms`,
    String(ms.length),
  ];
  const lines = [
    ...start.map(({ stack, triesMs }) => line(`start to first answer, ${stack}`, triesMs)),
    ...workerRespawn.map(({ isolation, ms }) => line(`one worker, its successor answers, ${isolation}`, ms)),
    ...crash.map(({ isolation, ms }) => line(`a crash, until the next answer, ${isolation}`, ms)),
  ];
  return lines.length === 0 ? "" : table(["time", "median", "worst", "tries"], lines);
}
