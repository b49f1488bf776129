import { residentOf } from "../../../bench/processes.ts";
import { median } from "../../../bench/statistics.ts";
import { ask } from "../load/ask.ts";
import { Load } from "../load/load.ts";
import type { Slowness } from "../load/slow-peers.ts";
import { SlowProcess } from "../load/slow-process.ts";
import type { Tally } from "../load/tally.ts";
import { mebibytes } from "../memory.ts";
import { Phprun } from "../phprun.ts";
import { type Outcome, type Program, Report, type Setup } from "../program.ts";
import { LargeSite } from "../site.ts";

const CONNECTIONS = 16;
const GOAL = 0.9;
const ROUNDS = 5;

interface Phase {
  readonly name: string;
  readonly mode: Slowness;
  readonly path: string;
}

const phases: readonly Phase[] = [
  { name: "a byte of their headers each second", mode: "headers", path: "/hello.php" },
  { name: "a byte of their bodies each second", mode: "bodies", path: "/hello.php" },
  { name: "reading a large static file slowly", mode: "readers", path: "/large.bin" },
  { name: "reading 900 KB of PHP slowly", mode: "readers", path: "/fill.php?bytes=900000" },
];

/** Many clients that take their time beside others that do not. */
export const slowClients: Program = {
  name: "slow-clients",
  about: "1,000 clients that send or read a byte at a time, beside others",
  counted: "clients",
  defaults: { seconds: 60, requests: 1000 },
  run,
};

async function run({ command, php, seconds, requests: count, say }: Setup): Promise<Outcome> {
  using site = new LargeSite();
  await using server = await Phprun.start({
    command,
    php,
    pools: [{ name: "default", worker_count: 4 }],
    docroot: site.path,
  });
  const next = () => ask("hello", "/hello.php");
  const load = new Load(server, { connections: CONNECTIONS, next }).closed();
  const report = new Report();
  const rounds = seconds < 20 ? 1 : ROUNDS;
  const sliceMs = (seconds * 1000) / (phases.length * rounds * 2);
  let failed = 0;
  let wrong = 0;
  const slice = async (): Promise<{ tally: Tally; perSecond: number }> => {
    await Bun.sleep(Math.min(500, sliceMs));
    load.takeTally();
    const startedMs = performance.now();
    await Bun.sleep(sliceMs);
    const tally = load.takeTally();
    wrong += tally.of("wrong");
    report.note(...tally.told);
    failed += tally.failed;
    return { tally, perSecond: (tally.of("ok") * 1000) / (performance.now() - startedMs) };
  };
  // Code that has not run often is slower.
  await Bun.sleep(Math.min(3000, 4 * sliceMs));
  for (const { name, mode, path } of phases) {
    // In turns, so that whatever else goes on meets both.
    const rates: { without: number; beside: number }[] = [];
    let turnedAway = 0;
    let latency = "";
    let resident = 0;
    let told = "";
    for (let round = 0; round < rounds; round++) {
      const without = (await slice()).perSecond;
      await using slow = await SlowProcess.start(mode, server.port, count, path);
      const { tally, perSecond } = await slice();
      rates.push({ without, beside: perSecond });
      latency = tally.ok.describe();
      resident = residentOf(server.pid).nowBytes;
      const became = await slow.stop();
      turnedAway += became.closed + became.answered;
      told = `${became.steps} steps, ${became.receivedBytes} bytes received, ${became.closed} closed, ${became.answered} answered early`;
    }
    const ratios = rates.map(({ without, beside }) => beside / without);
    const each = rates
      .map(({ without, beside }) => `${Math.round(beside)}/${Math.round(without)}`)
      .join(", ");
    report.timing(
      `throughput beside ${count} clients ${name}`,
      `${(100 * median(ratios)).toFixed(0)} %, the median of ${each} a second`,
      `${GOAL * 100} %`,
      median(ratios) >= GOAL,
    );
    report.tell("  latency beside them", latency);
    report.tell("  front's memory with them", mebibytes(resident));
    report.tell("  what became of them", told);
    if (mode !== "readers") report.none("  of them closed or answered before their time", turnedAway);
    say(`done: ${name}`);
  }
  await load.stop();
  report.none("normal requests that failed", failed);
  report.none("wrong answers", wrong);
  for (const fault of await server.stop()) report.count("stop", fault, "clean", false);
  return report;
}
