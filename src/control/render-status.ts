import { escapeControl } from "../log/escape.ts";
import type { PublicPool, PublicStatus, PublicWorker } from "./public-status.ts";
import { notReadyReason } from "./readiness.ts";
import {
  type Cell,
  cell,
  type Color,
  type Column,
  cut,
  paint,
  type Paper,
  plain,
  renderTable,
  ROOMY,
  wrap,
} from "./table.ts";
import { shortSize, shortTime } from "./units.ts";

const LABEL = "candidate".length;
/** Text beside a label is not wrapped below this, however narrow the terminal. */
const NARROWEST = 20;

/** A pool's name beyond this would leave no room for the rest of the line. */
const LONGEST_NAME = 16;

/** The status as people read it: the server, a line for each pool, a line for each worker. */
export function renderStatus(status: PublicStatus, paper: Paper): string {
  const workers = status.pools.flatMap((pool) => pool.workers.map((worker) => workerRow(pool, worker)));
  return [
    ...head(status, paper),
    "",
    ...poolTable(status.pools, paper),
    "",
    ...(workers.length === 0 ? ["no workers"] : renderTable(WORKER_COLUMNS, workers, paper)),
    "",
  ].join("\n");
}

function head(status: PublicStatus, paper: Paper): string[] {
  const reason = notReadyReason(status);
  const verdict = reason === null ? "ready" : `not ready: ${reason}`;
  const title = escapeControl(`phprun ${status.version}  ${status.state}, ${verdict}`);
  return [
    paint(cut(title, paper.columns), reason === null ? "green" : "red", paper),
    ...labelled(
      "process",
      `pid ${status.pid}, up ${shortTime(status.uptimeMs)}, front ${shortSize(status.front.residentBytes)}`,
      paper,
    ),
    ...labelled("config", status.config ?? "none", paper),
    ...labelled("docroot", status.docroot, paper),
    ...labelled("listens", status.listeners.join(" "), paper),
    ...labelled("reloads", reloads(status), paper),
  ];
}

function reloads({ reloads: { done, refused, last }, startedAt, uptimeMs }: PublicStatus): string {
  const counts = `${done} done, ${refused} refused`;
  if (last === null) return counts;
  // By the clock of the server: ours may differ.
  const ago = shortTime(Date.parse(startedAt) + uptimeMs - Date.parse(last.at));
  if (last.ok) return `${counts}; last ${ago} ago`;
  const [first = "", second] = (last.reason ?? "").split("\n");
  const reason = first.endsWith(":") && second !== undefined ? `${first} ${second.trim()}` : first;
  return `${counts}; last ${ago} ago was refused: ${reason}`;
}

/** `  label     text`, with the lines that do not fit under the text. */
function labelled(label: string, text: string, paper: Paper, color?: Color): string[] {
  const start = `  ${label.padEnd(LABEL)} `;
  const lines = wrap(escapeControl(String(text)), Math.max(NARROWEST, paper.columns - start.length));
  return lines.map((line, index) => {
    const lead = index === 0 ? paint(start, "dim", paper) : " ".repeat(start.length);
    return lead + paint(line, color, paper);
  });
}

const POOL_COLUMNS: readonly Column[] = [
  { title: "POOL" },
  { title: "STATE" },
  { title: "GEN", right: true },
  { title: "BUSY", right: true },
  { title: "MIN-MAX", right: true },
  { title: "QUEUE", right: true },
  { title: "SERVED", right: true },
  { title: "REFUSED", right: true },
  { title: "RESTARTS" },
];

/** A line for each pool; what was refused, went wrong or was restarted, by reason, in remarks under it. */
function poolTable(pools: readonly PublicPool[], paper: Paper): string[] {
  const [header = "", ...lines] = renderTable(POOL_COLUMNS, pools.map(poolRow), paper);
  return [header, ...pools.flatMap((pool, index) => [lines[index] ?? "", ...remarks(pool, paper)])];
}

const POOL_COLORS = { starting: "yellow", serving: "green", failed: "red" } as const;

function poolRow(pool: PublicPool): Cell[] {
  const { limits, queue, requests, restarts } = pool;
  const busy = pool.workers.filter(({ request }) => request !== null).length;
  const refused = total(requests.refused);
  return [
    cell(shortName(pool), "bold"),
    cell(pool.state, POOL_COLORS[pool.state]),
    cell(String(pool.generation)),
    cell(`${busy}/${pool.workers.length}`),
    cell(limits.min === limits.max ? String(limits.max) : `${limits.min}-${limits.max}`),
    cell(`${queue.waiting}/${limits.queueMax}`, queue.waiting > 0 ? "yellow" : undefined),
    cell(count(requests.served)),
    cell(count(refused), refused > 0 ? "yellow" : undefined),
    cell(count(total(restarts))),
  ];
}

function remarks(pool: PublicPool, paper: Paper): string[] {
  const { queue, requests, restarts, generations } = pool;
  const lines: string[] = [];
  const remark = (label: string, text: string, color?: Color) => {
    if (text !== "") lines.push(...labelled(label, text, paper, color));
  };
  if (pool.state === "failed") remark("error", pool.lastError ?? "it was given up", "red");
  if (queue.waiting > 0) {
    remark(
      "queue",
      `longest wait ${shortTime(queue.longestWaitMs)}, most waiting ${count(queue.mostWaiting)}`,
    );
  }
  remark("refused", byReason(requests.refused));
  const { lost, timed_out, retried, slow, client_gone } = requests;
  remark("requests", byReason({ lost, timed_out, retried, slow, client_gone }));
  remark("restarts", byReason(restarts));
  for (const { number, state, hostPid, workers, inFlight, ageMs, residentBytes } of generations) {
    if (state === "current") {
      if (pool.isolation === "thread")
        remark(
          "threads",
          `of host ${hostPid}${residentBytes === 0 ? "" : `, which holds ${shortSize(residentBytes)}`}`,
        );
      continue;
    }
    const workerCount = `${workers} ${workers === 1 ? "worker" : "workers"}`;
    const facts = `${workerCount}, ${inFlight} in flight, ${shortTime(ageMs)} old, host ${shortSize(residentBytes)}`;
    remark(state, `generation ${number}: ${facts}`, "yellow");
  }
  return lines;
}

const WORKER_COLUMNS: readonly Column[] = [
  { title: "POOL" },
  { title: "NO", right: true },
  { title: "GEN", right: true },
  { title: "PID", right: true },
  { title: "STATE" },
  { title: "REQUESTS", right: true },
  { title: "AGE", right: true, from: ROOMY },
  { title: "MEMORY", right: true },
  { title: "RESIDENT", right: true, from: ROOMY },
  { title: "PHP PEAK", right: true, from: ROOMY },
  { title: "TIME", right: true },
  { title: "REQUEST" },
];

const WORKER_COLORS: Readonly<Record<PublicWorker["state"], Color>> = {
  starting: "yellow",
  booting: "yellow",
  ending: "yellow",
  idle: "dim",
  busy: "green",
  finishing: "cyan",
  retiring: "yellow",
  lost: "red",
};

function workerRow(pool: PublicPool, worker: PublicWorker): Cell[] {
  const { number, generation, pid, state, requests, ageMs, memory, request } = worker;
  const { ownBytes, residentBytes, phpPeakBytes } = memory;
  const { memoryLimitBytes } = pool.limits;
  return [
    cell(shortName(pool)),
    cell(String(number)),
    cell(String(generation)),
    cell(String(pid)),
    cell(state, WORKER_COLORS[state]),
    cell(count(requests)),
    cell(shortTime(ageMs)),
    cell(measured(ownBytes), memoryLimitBytes > 0 && ownBytes > memoryLimitBytes ? "red" : undefined),
    cell(measured(residentBytes)),
    cell(measured(phpPeakBytes)),
    cell(request === null ? "-" : shortTime(request.elapsedMs)),
    cell(request === null ? "-" : plain(`${request.method} ${request.uri}`)),
  ];
}

/** A worker that is new has not been looked at yet, and not all can be told of one that is a thread. */
function measured(bytes: number | null): string {
  return bytes === null || bytes === 0 ? "-" : shortSize(bytes);
}

function shortName({ name }: PublicPool): string {
  return cut(escapeControl(name), LONGEST_NAME);
}

/** `max_requests 3, crash 1`: what has happened, most often first. */
function byReason(counts: Readonly<Record<string, number>>): string {
  return Object.entries(counts)
    .filter(([, times]) => times > 0)
    .sort(([, left], [, right]) => right - left)
    .map(([reason, times]) => `${reason} ${count(times)}`)
    .join(", ");
}

function total(counts: Readonly<Record<string, number>>): number {
  return Object.values(counts).reduce((sum, times) => sum + times, 0);
}

function count(value: number): string {
  return value.toLocaleString("en-US");
}
