import { residentOf } from "../../../bench/processes.ts";
import { ask } from "../load/ask.ts";
import { Load } from "../load/load.ts";
import type { Slowness } from "../load/slow-peers.ts";
import { SlowProcess } from "../load/slow-process.ts";
import { Phprun } from "../phprun.ts";
import { type Outcome, type Program, Report, type Setup } from "../program.ts";
import { LargeSite } from "../site.ts";

const CONNECTIONS = 16;
const GOAL = 0.9;

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
  defaults: { seconds: 60, requests: 1000 },
  run,
};

async function run({ command, seconds, requests: count, say }: Setup): Promise<Outcome> {
  using site = new LargeSite();
  await using server = await Phprun.start({
    command,
    pools: [{ name: "default", worker_count: 4 }],
    docroot: site.path,
  });
  const load = new Load(server, {
    connections: CONNECTIONS,
    next: () => ask("hello", "/hello.php"),
  }).closed();
  const report = new Report();
  const sliceMs = (seconds * 1000) / (phases.length * 2 + 1);
  const rate = async (): Promise<number> => {
    await Bun.sleep(Math.min(500, sliceMs));
    load.takeTally();
    const startedMs = performance.now();
    await Bun.sleep(sliceMs);
    const { tally } = load;
    if (tally.failed > 0) {
      report.note(...tally.told);
      report.none("normal requests that failed", tally.failed);
    }
    return (tally.of("ok") * 1000) / (performance.now() - startedMs);
  };
  let before = await rate();
  for (const { name, mode, path } of phases) {
    await using slow = await SlowProcess.start(mode, server.port, count, path);
    const during = await rate();
    const latency = load.tally.ok.describe();
    const resident = residentOf(server.pid).nowBytes;
    const told = await slow.stop();
    const after = await rate();
    const usual = (before + after) / 2;
    before = after;
    report.timing(
      `throughput beside ${count} clients ${name}`,
      `${Math.round(during)} of ${Math.round(usual)} requests a second, ${((100 * during) / usual).toFixed(0)} %`,
      `${GOAL * 100} %`,
      during >= GOAL * usual,
    );
    report.tell("  latency beside them", latency);
    report.tell("  front's resident memory with them", `${Math.round(resident / 1048576)} MiB`);
    report.tell("  what became of them", JSON.stringify(told));
    if (mode !== "readers")
      report.none("  of them closed or answered before their time", told.closed + told.answered);
    say(`done: ${name}`);
  }
  const tally = await load.stop();
  report.none("wrong answers", tally.of("wrong"));
  for (const fault of await server.stop()) report.count("stop", fault, "clean", false);
  return report;
}
