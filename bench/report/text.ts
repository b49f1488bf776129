import { type Goal, judge, rows } from "../goals.ts";
import { measuredOf, ratio, type Results, type WorkloadResult } from "../results.ts";
import { median } from "../statistics.ts";
import { warmForkReport, workerModeReport } from "./worker-mode.ts";

const MIB = 1024 ** 2;

/** The results as text; the ratios come last. */
export function textReport(results: Results): string {
  return [
    conditions(results),
    throughput(results),
    workerModeReport(results),
    warmForkReport(results),
    memory(results),
    rest(results),
    noise(results),
    ratios(results),
    goals(judge(results)),
  ]
    .filter((part) => part !== "")
    .join("\n\n");
}

function conditions({ conditions: on, rounds, roundSeconds, setUp, tookSeconds, quick }: Results): string {
  const versions = Object.entries(on.versions).map(([name, version]) =>
    version.startsWith(name) ? version : `${name} ${version}`,
  );
  const ini = Object.entries(on.ini).map(([name, value]) => `${name}=${value ?? ""}`);
  const tried = (candidates: typeof setUp.phprunTried) =>
    candidates
      .map(({ workers, requestsPerSecond }) => `${workers}: ${requestsPerSecond.toFixed(0)}`)
      .join(", ");
  return [
    `${on.date} UTC, ${on.cpu}, ${on.cpus} CPUs, ${on.memoryGib} GiB, ${on.system}, Linux ${on.kernel}`,
    versions.join(", "),
    `php.ini of all servers: ${on.iniFiles[0]} and ${on.iniFiles.length - 1} more; every setting compared and equal`,
    `  ${ini.join(" ")}`,
    `phprun: ${setUp.phprunWorkers} workers (req/s tried with ${tried(setUp.phprunTried) || "no others"})`,
    `nginx: ${setUp.nginxWorkers} workers, kept client connections, sendfile, tcp_nopush, open_file_cache; access logs off everywhere`,
    `php-fpm at its best: kept FastCGI connections, ${setUp.bestChildren} children, as many as nginx may keep`,
    `php-fpm as deployed: plain FastCGI, ${setUp.deployedChildren} children (tried ${tried(setUp.deployedTried) || "no others"})`,
    `${rounds} alternating rounds of ${roundSeconds} s each, medians; wrk with one thread (two for 10 MB files) on the same machine; took ${tookSeconds.toFixed(0)} s`,
    ...(quick ? ["A quick run: good for finding mistakes, not for publishing."] : []),
  ].join("\n");
}

function throughput(results: Results): string {
  const lines = results.workloads.flatMap((workload) => {
    const heading = `${workload.title}, ${workload.connections} connections`;
    if ("rejected" in workload) return [[heading, workload.rejected]];
    return [
      [heading],
      ...workload.measured.map(({ title, requestsPerSecond, p50Ms, p99Ms, cpuMicros }) => [
        `  ${title}`,
        requestsPerSecond.toFixed(0),
        `${p50Ms.toFixed(2)} ms`,
        `${p99Ms.toFixed(2)} ms`,
        `${cpuMicros.toFixed(1)} µs`,
      ]),
    ];
  });
  return lines.length === 0 ? "" : table(["workload", "req/s", "p50", "p99", "CPU per request"], lines);
}

function memory({ memory: found }: Results): string {
  if (found !== null && "rejected" in found) return `memory: ${found.rejected}`;
  const lines = rows(found).map((use) => [
    use.title,
    ...[use.workerPssBytes, use.workerPrivateBytes, use.workerRssBytes, use.totalPssBytes].map(
      (bytes) => `${(bytes / MIB).toFixed(2)} MiB`,
    ),
  ]);
  if (lines.length === 0) return "";
  return table(["memory, idle after load", "worker PSS", "private", "RSS", "whole server, PSS"], lines);
}

function rest({ start, transfers }: Results): string {
  const lines: string[][] = [];
  if (start !== null && "rejected" in start) lines.push(["start", start.rejected]);
  for (const { stack, medianMs, triesMs } of rows(start)) {
    const range = `${Math.min(...triesMs).toFixed(0)}–${Math.max(...triesMs).toFixed(0)} ms`;
    lines.push([`start to first answer, ${stack}`, `${medianMs.toFixed(0)} ms`, range]);
  }
  if (transfers !== null && "rejected" in transfers) lines.push(["transfers", transfers.rejected]);
  for (const { kind, bytes, stack, seconds, frontGrewBytes } of rows(transfers)) {
    lines.push([
      `${(bytes / 1024 ** 3).toFixed(1)} GiB ${kind}, ${stack}`,
      `${seconds.toFixed(1)} s`,
      `front grew ${(frontGrewBytes / MIB).toFixed(1)} MiB`,
    ]);
  }
  return lines.length === 0 ? "" : table(["other", "", ""], lines);
}

/** Says when the machine was busy with something else: then the figures mean little. */
function noise({ workloads, workerMode = [] }: Results): string {
  const rounds = [...workloads, ...workerMode].flatMap((workload) =>
    "measured" in workload ? workload.measured.flatMap((measured) => measured.rounds) : [],
  );
  const percent = (value: number) => `${(value * 100).toFixed(0)} %`;
  const foreign = rounds.map((round) => round.foreign);
  const stolen = rounds.map((round) => round.stolen);
  if (!foreign.some((share) => share > 0.08) && !stolen.some((share) => share > 0.03)) return "";
  return [
    `Not a quiet machine: others used ${percent(median(foreign))} of it in the median round and ${percent(Math.max(...foreign))} in the worst,`,
    `and its host took ${percent(Math.max(...stolen))}. Such rounds say little about req/s: CPU per request holds up better.`,
  ].join("\n");
}

function ratios({ workloads }: Results): string {
  const times = (factor: number | undefined) => (factor === undefined ? "–" : `${factor.toFixed(2)}×`);
  const cpu = (result: WorkloadResult, other: "fpm-best" | "fpm-deployed") => {
    const ours = measuredOf(result, "phprun")?.cpuMicros;
    const theirs = measuredOf(result, other)?.cpuMicros;
    return ours === undefined || theirs === undefined ? undefined : theirs / ours;
  };
  const lines = workloads.map((result) => [
    result.title,
    times(ratio(result, "fpm-best")),
    times(ratio(result, "fpm-deployed")),
    times(cpu(result, "fpm-best")),
    times(cpu(result, "fpm-deployed")),
  ]);
  if (lines.length === 0) return "";
  const head = [
    "phprun against",
    "fpm at best: req/s",
    "as deployed",
    "CPU per request, best",
    "as deployed",
  ];
  return `${table(head, lines)}\n(static files: against nginx alone; all ratios above 1 are in phprun's favour)`;
}

export function goals(found: readonly Goal[]): string {
  return table(
    ["goal", "aim", "found", ""],
    found.map(({ what, aim, found: value, met }) => [what, aim, value, met ? "✓" : "✗"]),
  );
}

export function table(head: string[], lines: string[][]): string {
  const complete = lines.filter((line) => line.length === head.length);
  const widths = head.map((cell, i) => Math.max(cell.length, ...complete.map((line) => line[i]!.length)));
  widths[0] = Math.max(widths[0]!, ...lines.map((line) => line[0]!.length));
  const layOut = (line: string[]) =>
    line
      .map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)))
      .join("  ")
      .trimEnd();
  return [
    layOut(head),
    "─".repeat(widths.reduce((sum, width) => sum + width + 2, -2)),
    ...lines.map(layOut),
  ].join("\n");
}
