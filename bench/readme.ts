#!/usr/bin/env bun
/**
 * Writes the measured figures into README.md, between its markers, and docs/bench.svg beside them; those of threads
 * and processes too when bench/results/isolation.json is there:
 *
 *   bun bench/readme.ts [bench/results/latest.json]
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { rows } from "./goals.ts";
import type { IsolationResults } from "./isolation.ts";
import { chart } from "./report/chart.ts";
import { isolationLines } from "./report/isolation.ts";
import { warmForkLines, workerModeLines } from "./report/worker-mode.ts";
import { measuredOf, ratio, type Results } from "./results.ts";

const root = resolve(import.meta.dirname, "..");
const markers = { start: "<!-- bench:start -->", end: "<!-- bench:end -->" };
const MIB = 1024 ** 2;

const file = process.argv[2] ?? join(root, "bench/results/latest.json");
const results = JSON.parse(readFileSync(file, "utf8")) as Results;
const readme = join(root, "README.md");
writeFileSync(readme, insert(readFileSync(readme, "utf8"), section(results)));
writeFileSync(join(root, "docs/bench.svg"), chart(results));
console.log(`README.md and docs/bench.svg now show ${file} (${results.conditions.date} UTC)`);
if (results.quick) console.log("These come from a quick run: run `npm run bench` before you publish them.");

function insert(text: string, body: string): string {
  const start = text.indexOf(markers.start);
  const end = text.indexOf(markers.end);
  if (start >= 0 && end > start)
    return `${text.slice(0, start + markers.start.length)}\n\n${body}\n\n${text.slice(end)}`;
  const heading = /^## Measured\n/m.exec(text);
  if (heading === null)
    throw new Error("Cannot write README.md: it has neither the markers nor a section Measured");
  const at = heading.index + heading[0].length;
  return `${text.slice(0, at)}\n${markers.start}\n\n${body}\n\n${markers.end}\n${text.slice(at)}`;
}

function section(found: Results): string {
  const tables = [throughput(found), ...workerMode(found), sizes(found), isolations()].filter(
    (part) => part !== "",
  );
  return [
    "![Requests per second](docs/bench.svg)",
    "<!-- prettier-ignore-start -->",
    ...tables,
    "<!-- prettier-ignore-end -->",
    conditions(found),
  ].join("\n\n");
}

function throughput({ workloads }: Results): string {
  const lines = workloads.map((result) => {
    const cells = (["phprun", "fpm-best", "fpm-deployed"] as const).map((key) => {
      const measured = measuredOf(result, key);
      if (measured === undefined) return "–";
      return `${measured.requestsPerSecond.toLocaleString("en", { maximumFractionDigits: 0 })} · ${milliseconds(measured.p99Ms)} · ${measured.cpuMicros.toFixed(0)} µs`;
    });
    const factors = (["fpm-best", "fpm-deployed"] as const).map((key) => {
      const factor = ratio(result, key);
      return factor === undefined ? "–" : `${factor.toFixed(2)}×`;
    });
    return [`${result.title}, ${result.connections} connections`, ...cells, ...factors];
  });
  return table(
    [
      "req/s · p99 · CPU per request",
      "phprun",
      "nginx + php-fpm at its best",
      "as deployed",
      "÷ best",
      "÷ deployed",
    ],
    lines,
  );
}

/** What a run without worker mode has not measured is not there. */
function workerMode(found: Results): string[] {
  const head = [
    "worker mode: req/s · CPU per request",
    "worker mode",
    "classic mode",
    "nginx + php-fpm at its best",
    "as deployed",
    "÷ classic",
    "÷ best",
    "÷ deployed",
  ];
  return [
    { head, lines: workerModeLines(found) },
    { head: ["one worker", "forked from the template", "boots by itself"], lines: warmForkLines(found) },
  ].map((part) => (part.lines.length === 0 ? "" : table(part.head, part.lines)));
}

function sizes({ memory, start, transfers }: Results): string {
  const lines: string[][] = [];
  for (const use of rows(memory)) {
    const what = `idle PHP worker of ${use.stack === "phprun" ? "phprun" : "php-fpm"}, one of ${use.workers}`;
    lines.push([what, `${mib(use.workerPssBytes)} PSS, ${mib(use.workerPrivateBytes)} of it private`]);
    lines.push([`whole server with these workers`, `${mib(use.totalPssBytes)} PSS`]);
  }
  for (const { stack, medianMs } of rows(start)) {
    lines.push([
      `start to first answer, ${stack === "phprun" ? "phprun" : "nginx + php-fpm"}`,
      `${medianMs.toFixed(0)} ms`,
    ]);
  }
  for (const { stack, kind, bytes, frontGrewBytes, seconds } of rows(transfers)) {
    const who = stack === "phprun" ? "phprun" : "nginx + php-fpm";
    const what = `${(bytes / 1024 ** 3).toFixed(0)} GiB ${kind} through ${who}`;
    lines.push([what, `front grows ${mib(frontGrewBytes)}, ${seconds.toFixed(1)} s`]);
  }
  return lines.length === 0 ? "" : table(["memory and start", ""], lines);
}

function isolations(): string {
  const measured = join(root, "bench/results/isolation.json");
  if (!existsSync(measured)) return "";
  const found = JSON.parse(readFileSync(measured, "utf8")) as IsolationResults;
  return table(
    [`the same thread-safe PHP ${found.conditions.versions["PHP"] ?? ""}`, "threads", "processes"],
    isolationLines(found),
  );
}

function conditions({
  conditions: on,
  setUp,
  rounds,
  roundSeconds,
  workerMode: applications = [],
}: Results): string {
  const version = (name: string) => on.versions[name] ?? "";
  return [
    `Measured on ${on.date.slice(0, 10)} with \`npm run bench\`: ${on.cpu}, ${on.cpus} CPUs, ${on.memoryGib} GiB, ${on.system},`,
    `Linux ${on.kernel}; ${version("phprun")}, PHP ${version("PHP")}, nginx ${version("nginx")}, wrk ${version("wrk")}. All servers ran in one session, in`,
    `${rounds} alternating rounds of ${roundSeconds} s each, with the load on the same machine (one thread of wrk, two for 10 MB files); the figures are medians. Same PHP,`,
    `same php.ini files and opcache, access logs off. phprun: ${setUp.phprunWorkers} workers. php-fpm at its best: kept FastCGI connections and as`,
    `many children as nginx may keep (${setUp.bestChildren}); as deployed: plain FastCGI, ${setUp.deployedChildren} children. nginx: ${setUp.nginxWorkers} workers, kept client connections,`,
    `\`sendfile\`, \`tcp_nopush\`, \`open_file_cache\`; it serves the static files alone. A round with any wrong status, body or starved connection does not count. CPU per`,
    `request is that of all server processes, user and system.`,
    ...(applications.length === 0
      ? []
      : [
          `In worker mode and beside it each server has the numbers of workers or children that serve that application best, and`,
          `\`opcache.validate_timestamps=0\`; Laravel has its caches of configuration and routes. 256 sessions in files take turns: each must have`,
          `counted each of its requests once.`,
        ]),
  ].join("\n");
}

function milliseconds(value: number): string {
  return `${value >= 10 ? value.toFixed(0) : value.toFixed(1)} ms`;
}

function mib(bytes: number): string {
  return `${(bytes / MIB).toFixed(bytes < 10 * MIB ? 1 : 0)} MiB`;
}

function table(head: string[], lines: string[][]): string {
  const all = [head, head.map(() => "---"), ...lines];
  return all.map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}
