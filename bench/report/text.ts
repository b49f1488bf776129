import { type Goal, judge, rows } from "../goals.ts";
import { ratio, type Results } from "../results.ts";

const MIB = 1024 ** 2;

/** The results as text; the ratios come last. */
export function textReport(results: Results): string {
  return [
    conditions(results),
    throughput(results),
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
    `${rounds} alternating rounds of ${roundSeconds} s each, medians; wrk with one thread on the same machine; took ${tookSeconds.toFixed(0)} s`,
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
function noise({ workloads }: Results): string {
  const rounds = workloads.flatMap((workload) =>
    "measured" in workload ? workload.measured.flatMap((measured) => measured.rounds) : [],
  );
  const share = (pick: (round: (typeof rounds)[number]) => number) =>
    `${(Math.max(0, ...rounds.map(pick)) * 100).toFixed(0)} %`;
  if (!rounds.some(({ foreign, stolen }) => foreign > 0.08 || stolen > 0.03)) return "";
  return `Not a quiet machine: in the worst round others used ${share((round) => round.foreign)} of it, and ${share((round) => round.stolen)} was stolen by its host.`;
}

function ratios({ workloads }: Results): string {
  const lines = workloads.map((result) => {
    const best = ratio(result, "fpm-best");
    const deployed = ratio(result, "fpm-deployed");
    return [
      result.title,
      best === undefined ? "–" : `${best.toFixed(2)}×`,
      deployed === undefined ? "–" : `${deployed.toFixed(2)}×`,
    ];
  });
  if (lines.length === 0) return "";
  return table(
    ["requests per second, phprun ÷", "fpm at its best (static: nginx)", "fpm as deployed"],
    lines,
  );
}

function goals(found: readonly Goal[]): string {
  return table(
    ["goal", "aim", "found", ""],
    found.map(({ what, aim, found: value, met }) => [what, aim, value, met ? "✓" : "✗"]),
  );
}

function table(head: string[], lines: string[][]): string {
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
