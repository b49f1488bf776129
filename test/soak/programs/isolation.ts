import { ask } from "../load/ask.ts";
import { Histogram, milliseconds } from "../load/histogram.ts";
import { Load } from "../load/load.ts";
import { refusalOf } from "../available.ts";
import { Phprun } from "../phprun.ts";
import { type Outcome, type Program, Report, type Setup, unavailable } from "../program.ts";

const FAST_PER_SECOND = 300;
const HEAVY_CLIENTS = 8;
const ROUNDS = 10;
const GOAL = 1.5;
const pools = [
  // By nice alone the ratio was 1.1 to 1.9 from run to run: a processor that computes is given up at once only by chance.
  { name: "heavy", worker_count: 3, nice: 19, cpu_affinity: "0", patterns: ["/spin*"] },
  { name: "fast", worker_count: 4 },
];

/** A pool that computes with all its workers, beside one that should not notice. */
export const isolation: Program = {
  name: "isolation",
  about: "latency of a fast pool alone, and beside a heavy one (nice, one processor) at full load",
  defaults: { seconds: 60, requests: 0 },
  run,
};

async function run({ command, php, seconds }: Setup): Promise<Outcome> {
  const refusal = refusalOf(command, pools, php);
  if (refusal !== null) return unavailable(refusal);
  await using server = await Phprun.start({ command, php, pools });
  const next = () => ask("hello", "/hello.php");
  const rounds = seconds < 20 ? 2 : ROUNDS;
  const sliceMs = (seconds * 1000) / (rounds * 2);
  const latency = { alone: new Histogram(), beside: new Histogram() };
  let into: Histogram | undefined;
  let failed = 0;
  const fast = new Load(server, {
    connections: 32,
    next,
    onResult: ({ ending, dueMs, endedMs }) => {
      if (ending !== "ok") failed++;
      into?.add(endedMs - dueMs);
    },
  }).atRate(FAST_PER_SECOND);
  const report = new Report();
  let served = 0;
  // In turns, so that whatever else goes on meets both.
  for (let round = 0; round < rounds; round++) {
    await measured(latency.alone);
    const spin = new Load(server, {
      connections: HEAVY_CLIENTS,
      next: () => ask("spin", "/spin.php?us=150000"),
    });
    spin.closed();
    await measured(latency.beside);
    const tally = await spin.stop();
    served += tally.of("ok");
    failed += tally.failed;
    report.note(...tally.told);
  }
  const tally = await fast.stop();
  const ratio = latency.beside.p99 / latency.alone.p99;
  report.tell("fast pool alone", latency.alone.describe());
  report.tell("fast pool beside the heavy one", latency.beside.describe());
  report.tell("requests of the heavy pool", served);
  report.timing(
    "p99 beside / alone",
    `${ratio.toFixed(2)} (${milliseconds(latency.beside.p99)} / ${milliseconds(latency.alone.p99)})`,
    `${GOAL} at most`,
    ratio <= GOAL,
  );
  report.none("failed requests", failed);
  report.note(...tally.told);
  for (const fault of await server.stop()) report.count("stop", fault, "clean", false);
  return report;

  async function measured(histogram: Histogram): Promise<void> {
    await Bun.sleep(Math.min(300, sliceMs));
    into = histogram;
    await Bun.sleep(sliceMs);
    into = undefined;
  }
}
