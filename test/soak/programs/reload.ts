import { median } from "../../../bench/statistics.ts";
import { ask } from "../load/ask.ts";
import { Histogram, milliseconds } from "../load/histogram.ts";
import { Load } from "../load/load.ts";
import { hasCommand } from "../available.ts";
import { mebibytes } from "../memory.ts";
import { Phprun } from "../phprun.ts";
import { type Outcome, type Program, Report, type Setup, unavailable } from "../program.ts";
import { newDescriptors, resourcesAtRest } from "../resources.ts";

const PER_SECOND = 1000;
/** One in so many requests is still running when the reload comes. */
const LONG_EVERY = 200;
const LONG_US = 300_000;
const WINDOW_MS = 600;
const LOOK_MS = 50;
/** A reload that has not put a new host in the place of the old one by then has not worked. */
const RELOAD_MS = 10_000;
const MOMENT_MS = 20;
const GOAL = 2;

/** Reloads under load: the requests of the moment go on, those that come find the new generation. */
export const reload: Program = {
  name: "reload",
  about: `reloads by SIGHUP at ${PER_SECOND} requests a second`,
  counted: "reloads",
  defaults: { seconds: 0, requests: 50 },
  run,
};

async function run({ command, php, requests: reloads }: Setup): Promise<Outcome> {
  if (!hasCommand(command, "reload")) return unavailable("it has no command reload, and SIGHUP stops it");
  await using server = await Phprun.start({ command, php, pools: [{ name: "default", worker_count: 4 }] });
  let asked = 0;
  const next = () =>
    ++asked % LONG_EVERY === 0
      ? ask("long", `/wait.php?us=${LONG_US}`)
      : asked % 20 === 0
        ? ask("post", "/hello.php", { body: Buffer.alloc(2000, "x") })
        : ask("hello", "/hello.php");
  const latency = { normal: new Histogram(), reloading: new Histogram() };
  let into = latency.normal;
  let moments = new Moments();
  let signalledMs = 0;
  const load = (): Load =>
    new Load(server, {
      connections: 64,
      next,
      onResult: ({ ask: { kind }, ending, dueMs, endedMs }) => {
        if (kind === "long" || ending !== "ok") return;
        into.add(endedMs - dueMs);
        if (into === latency.reloading) moments.add(dueMs - signalledMs, endedMs - dueMs);
      },
    }).atRate(PER_SECOND);
  const report = new Report();

  // The first reloads bring in what later ones keep.
  const warmUp = load();
  await normalWindow(server);
  for (let i = 0; i < 2; i++) await reloadWindow(server);
  const warmUpTally = await warmUp.stop();
  const before = await resourcesAtRest(server);
  latency.normal = into = new Histogram();
  latency.reloading = new Histogram();
  moments = new Moments();

  const main = load();
  const tookMs = new Histogram();
  let without = 0;
  for (let i = 0; i < reloads; i++) {
    into = latency.normal;
    await normalWindow(server);
    into = latency.reloading;
    signalledMs = performance.now();
    moments.next();
    const took = await reloadWindow(server);
    if (took === null) without++;
    else tookMs.add(took);
  }
  const tally = await main.stop();
  const after = await resourcesAtRest(server);
  const ratio = latency.reloading.p99 / latency.normal.p99;
  report.tell("requests", tally.describe());
  report.none("failed requests", tally.failed + warmUpTally.failed);
  report.none("wrong answers", tally.of("wrong") + warmUpTally.of("wrong"));
  report.none(`reloads of ${reloads} after which the old host was still there`, without);
  report.tell("from SIGHUP to the end of the old host", tookMs.describe());
  report.tell("latency between reloads", latency.normal.describe());
  report.tell("latency during reloads", latency.reloading.describe());
  report.timing(
    "p99 during reloads / between",
    `${ratio.toFixed(2)} (${milliseconds(latency.reloading.p99)} / ${milliseconds(latency.normal.p99)})`,
    `${GOAL} at most`,
    ratio <= GOAL,
  );
  report.tell("slowest moments, in ms after SIGHUP", moments.describe());
  report.none("requests that found no connection in time", main.behind);
  const leaked = newDescriptors(before, after);
  report.count("descriptors of the front that are new", leaked.length, "0", leaked.length === 0);
  report.none("files left", after.files.length);
  report.tell(
    "front's memory, before and after",
    `${mebibytes(before.frontBytes)}, ${mebibytes(after.frontBytes)}`,
  );
  report.count("hosts at the end", server.hosts().length, "1", server.hosts().length === 1);
  report.note(...warmUpTally.told, ...tally.told, ...leaked);
  if (without > 0) report.note(...server.logTail(12).split("\n"));
  for (const fault of await server.stop()) report.count("stop", fault, "clean", false);
  return report;
}

/** When, seen from its signal, a reload is felt the most: the longest latency of each moment, the usual one of all reloads. */
class Moments {
  readonly #worst = new Map<number, number[]>();
  #reloads = 0;

  next(): void {
    this.#reloads++;
  }

  add(afterMs: number, tookMs: number): void {
    const moment = Math.max(0, Math.floor(afterMs / MOMENT_MS)) * MOMENT_MS;
    const worst = this.#worst.get(moment) ?? [];
    worst[this.#reloads - 1] = Math.max(worst[this.#reloads - 1] ?? 0, tookMs);
    this.#worst.set(moment, worst);
  }

  describe(): string {
    const usual = [...this.#worst].map(
      ([moment, worst]) => [moment, median(worst.filter(Number.isFinite))] as const,
    );
    usual.sort(([, a], [, b]) => b - a);
    return usual
      .slice(0, 4)
      .map(([moment, ms]) => `${moment}–${moment + MOMENT_MS}: ${milliseconds(ms)}`)
      .join(", ");
  }
}

/** Looks at the processes as often as a reload does: that, too, costs time. */
async function normalWindow(server: Phprun): Promise<void> {
  const endMs = performance.now() + WINDOW_MS;
  while (performance.now() < endMs) {
    server.hosts();
    await Bun.sleep(LOOK_MS);
  }
}

/** Until the new host has taken the place of the old one, and as long as the other windows; null when it has not. */
async function reloadWindow(server: Phprun): Promise<number | null> {
  const old = new Set(server.hosts());
  const startedMs = performance.now();
  server.signal("SIGHUP");
  let tookMs: number | null = null;
  while (performance.now() - startedMs < (tookMs === null ? RELOAD_MS : WINDOW_MS)) {
    const hosts = server.hosts();
    if (tookMs === null && hosts.length === old.size && !hosts.some((pid) => old.has(pid))) {
      tookMs = performance.now() - startedMs;
    }
    await Bun.sleep(LOOK_MS);
  }
  return tookMs;
}
