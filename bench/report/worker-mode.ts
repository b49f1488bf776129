import { rows } from "../goals.ts";
import { type Kind, type Lives, type OwnMemory, SERVED } from "../measure/warm-fork.ts";
import type { Results } from "../results.ts";
import { measuredOf, ratio } from "../results.ts";
import type { StackKey } from "../stacks/stack.ts";
import { median } from "../statistics.ts";
import type { WorkerModeResult, WorkerModeSetUp } from "../worker-mode.ts";
import { table } from "./text.ts";

const others = ["phprun", "fpm-best", "fpm-deployed"] as const satisfies readonly StackKey[];

const MIB = 1024 ** 2;

/** Worker mode beside the others, as text; empty when it was not measured. */
export function workerModeReport({ workerMode = [] }: Results): string {
  const lines = workerMode.flatMap((result) => {
    const heading = `${result.title}, ${result.connections} connections`;
    if ("rejected" in result) return [[heading, result.rejected]];
    return [
      [heading],
      ...result.measured.map(({ stack, title, requestsPerSecond, p50Ms, p99Ms, cpuMicros }) => [
        `  ${title}`,
        requestsPerSecond.toFixed(0),
        `${p50Ms.toFixed(2)} ms`,
        `${p99Ms.toFixed(2)} ms`,
        `${cpuMicros.toFixed(1)} µs`,
        stack === "worker" ? "" : times(ratio(result, stack, "worker")),
        stack === "worker" ? "" : times(cpuRatio(result, stack)),
      ]),
    ];
  });
  if (lines.length === 0) return "";
  const head = [
    "worker mode",
    "req/s",
    "p50",
    "p99",
    "CPU per request",
    "worker ÷ it, req/s",
    "CPU of it ÷ worker",
  ];
  const tried = workerMode.flatMap(({ title, setUp }) =>
    setUp === null ? [] : [`  ${title}: ${describe(setUp)}`],
  );
  return [
    table(head, lines),
    "Applications: opcache.validate_timestamps=0 for all; Laravel with its caches of configuration and routes. 256 sessions in",
    "files take turns, every body is looked at, and in the end the sessions must have counted each request once.",
    "Tried:",
    ...tried,
  ].join("\n");
}

/** The same for README.md, as lines of cells. */
export function workerModeLines({ workerMode = [] }: Results): string[][] {
  return workerMode.map((result) => {
    const cells = (["worker", ...others] as const).map((key) => {
      const measured = measuredOf(result, key);
      if (measured === undefined) return "–";
      const rate = measured.requestsPerSecond.toLocaleString("en", { maximumFractionDigits: 0 });
      return `${rate} · ${measured.cpuMicros.toFixed(0)} µs`;
    });
    const factors = others.map((key) => times(ratio(result, key, "worker")));
    return [result.title, ...cells, ...factors];
  });
}

/** Workers that are forked from an application that has booted beside those that boot it, as text. */
export function warmForkReport({ warmFork = null }: Results): string {
  if (warmFork !== null && "rejected" in warmFork) return `worker-fork: ${warmFork.rejected}`;
  const lines = warmForkLines({ warmFork });
  return lines.length === 0
    ? ""
    : table(["one worker", "forked from the template", "boots by itself"], lines);
}

/** As lines of cells: what, forked from the template, booting by itself. */
export function warmForkLines({ warmFork = null }: Pick<Results, "warmFork">): string[][] {
  return rows(warmFork).flatMap(({ application, lives, memory }) => [
    [
      `${application}: ends, until its successor takes requests`,
      ...both(lives, ({ readyMs }) => spread(readyMs)),
    ],
    [
      `${application}: last answer, until its successor's first one`,
      ...both(lives, ({ answerMs }) => spread(answerMs)),
    ],
    [
      `${application}: memory of its own, right after the boot · after ${SERVED} requests`,
      ...both(memory, ownMemory),
    ],
  ]);
}

function both<Value>({ warm, cold }: Kind<Value>, describeOne: (one: Value) => string): string[] {
  return [describeOne(warm), describeOne(cold)];
}

function spread(ms: Lives["readyMs"]): string {
  return `${median(ms).toFixed(1)} ms, at most ${Math.max(...ms).toFixed(0)} ms`;
}

function ownMemory({ bootedBytes, servedBytes }: OwnMemory): string {
  const [booted, served] = [bootedBytes, servedBytes].map((bytes) => `${(bytes / MIB).toFixed(1)} MiB`);
  return `${booted} · ${served}`;
}

function cpuRatio(result: WorkerModeResult, other: StackKey): number | undefined {
  const ours = measuredOf(result, "worker")?.cpuMicros;
  const theirs = measuredOf(result, other)?.cpuMicros;
  return ours === undefined || theirs === undefined ? undefined : theirs / ours;
}

function describe(setUp: WorkerModeSetUp): string {
  const list = (name: string, candidates: WorkerModeSetUp["workersTried"]) =>
    candidates.length === 0
      ? []
      : [
          `${name} ${candidates.map((one) => `${one.workers}: ${one.requestsPerSecond.toFixed(0)}`).join(", ")}`,
        ];
  return [
    ...list("worker mode", setUp.workersTried),
    ...list("classic", setUp.classicTried),
    ...list("fpm at best", setUp.bestTried),
    ...list("as deployed", setUp.deployedTried),
  ].join("; ");
}

function times(factor: number | undefined): string {
  return factor === undefined ? "–" : `${factor.toFixed(2)}×`;
}
