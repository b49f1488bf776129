import { ask } from "../load/ask.ts";
import { milliseconds } from "../load/histogram.ts";
import { Load } from "../load/load.ts";
import type { Tally } from "../load/tally.ts";
import { Phprun } from "../phprun.ts";
import { type Outcome, type Program, Report, type Setup } from "../program.ts";

const WORKERS = 8;
const WORK_US = 20_000;
const QUEUE = 8;
const TIMES = 10;
const RECOVERY_MS = 1000;
const SLICE_MS = 100;
const FAST_MS = 100;
const GOAL = 0.9;

/** Ten times more clients than there is capacity, first as clients that ask again at once, then as a rate. */
export const overload: Program = {
  name: "overload",
  about: `${TIMES} times more clients than capacity, and the recovery from it`,
  defaults: { seconds: 30, requests: 0 },
  run,
};

async function run({ command, php, seconds }: Setup): Promise<Outcome> {
  await using server = await Phprun.start({
    command,
    php,
    pools: [{ name: "default", worker_count: WORKERS, queue: { max: QUEUE, timeout_ms: 1000 } }],
  });
  const next = () => ask("work", `/wait.php?us=${WORK_US}`);
  const clients = (connections: number): Load => new Load(server, { connections, next });
  const phaseMs = (seconds * 1000) / 4;
  const report = new Report();

  // As many clients as workers would leave each idle while its client reads: a few more find the peak.
  const normal = clients(WORKERS * 2).closed();
  await settled(normal);
  const peak = await goodput(normal, phaseMs);
  report.tell("peak, clients = 2 × workers", perSecond(peak));
  report.tell("its latency", normal.tally.ok.describe());

  // Those that are turned away ask again at once: the rudest clients there are.
  const surplus = clients(WORKERS * TIMES - WORKERS * 2).closed();
  await settled(normal, surplus);
  const rude = await goodputOf([normal, surplus], phaseMs);
  judge("clients that ask again at once", rude.perSecond, rude.tallies);

  const leftMs = performance.now();
  surplus.end();
  const recovered = await recovery(normal, peak);
  report.timing(
    "recovery after they left",
    recovered === null ? "none" : milliseconds(recovered - leftMs),
    `${RECOVERY_MS} ms`,
    recovered !== null && recovered - leftMs <= RECOVERY_MS,
  );
  await normal.stop();

  // At ten times the rate that can be served, whatever becomes of them.
  const flood = clients(WORKERS * 50).atRate(peak * TIMES);
  await settled(flood);
  const flooded = await goodputOf([flood], phaseMs);
  judge(`${TIMES} × the rate`, flooded.perSecond, flooded.tallies);
  await flood.stop();
  for (const fault of await server.stop()) report.count("stop", fault, "clean", false);
  return report;

  function judge(name: string, rate: number, tallies: readonly Tally[]): void {
    const total = tallies.reduce((sum, tally) => sum + tally.total, 0);
    const shed = tallies.reduce((sum, tally) => sum + tally.of("503"), 0);
    const good = tallies.reduce((sum, tally) => sum + tally.of("ok"), 0);
    report.tell(`${name}: requests`, `${total}: ${good} ok, ${shed} 503`);
    report.timing(
      `${name}: goodput`,
      `${perSecond(rate)}, ${((100 * rate) / peak).toFixed(0)} %`,
      `${GOAL * 100} % of the peak`,
      rate >= GOAL * peak,
    );
    for (const [i, tally] of tallies.entries()) {
      const who = tallies.length === 1 ? "" : i === 0 ? " to the first clients" : " to the others";
      report.tell(`${name}: latency of answers${who}`, tally.ok.describe());
      const p99 = tally.refused.p99;
      report.timing(`${name}: 503${who}`, tally.refused.describe(), `p99 ≤ ${FAST_MS} ms`, !(p99 > FAST_MS));
      report.note(...tally.told);
    }
    report.none(`${name}: neither served nor 503`, total - good - shed);
  }
}

/** What was under way when the load changed belongs to neither side. */
async function settled(...loads: Load[]): Promise<void> {
  await Bun.sleep(500);
  for (const load of loads) load.takeTally();
}

async function goodput(load: Load, ms: number): Promise<number> {
  load.takeTally();
  await Bun.sleep(ms);
  return (load.tally.of("ok") * 1000) / ms;
}

async function goodputOf(
  loads: readonly Load[],
  ms: number,
): Promise<{ perSecond: number; tallies: readonly Tally[] }> {
  const startedMs = performance.now();
  for (const load of loads) load.takeTally();
  await Bun.sleep(ms);
  const tookMs = performance.now() - startedMs;
  const tallies = loads.map((load) => load.takeTally());
  const good = tallies.reduce((sum, tally) => sum + tally.of("ok"), 0);
  return { perSecond: (good * 1000) / tookMs, tallies };
}

/** When the first of the slices began in which nothing was refused and the rate was the old one; null for never. */
async function recovery(load: Load, peak: number): Promise<number | null> {
  load.takeTally();
  for (let waitedMs = 0; waitedMs < 3 * RECOVERY_MS; waitedMs += SLICE_MS) {
    const startedMs = performance.now();
    await Bun.sleep(SLICE_MS);
    const tookMs = performance.now() - startedMs;
    const tally = load.takeTally();
    if (tally.of("503") === 0 && (tally.of("ok") * 1000) / tookMs >= GOAL * peak) return startedMs;
  }
  return null;
}

function perSecond(rate: number): string {
  return `${Math.round(rate)} requests a second`;
}
