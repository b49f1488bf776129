import { memoryOf } from "../../../bench/processes.ts";
import { median } from "../../../bench/statistics.ts";
import { refusalOf } from "../available.ts";
import { Crowd } from "../crowd.ts";
import { crowdSite } from "../crowd-site.ts";
import { Load } from "../load/load.ts";
import type { Tally } from "../load/tally.ts";
import { Phprun } from "../phprun.ts";
import { type Outcome, type Program, Report, type Setup, unavailable } from "../program.ts";
import { statusOf } from "../status.ts";

const CONNECTIONS = 8;
const VISITORS = 200;
const WARM_UP_SHARE = 0.1;
const SAMPLE_MS = 30_000;
const GROWTH_BYTES = 1048576;
const LOOKS = 5;
const LOOK_MS = 50;

/** A million requests that one worker answers, which boots once: is anything wrong, and does it grow? */
export const workerMillion: Program = {
  name: "worker-million",
  about: "an application in worker mode whose one worker answers all requests",
  defaults: { seconds: 0, requests: 1_000_000 },
  run,
};

async function run(setup: Setup): Promise<Outcome> {
  const { requests, random, say } = setup;
  const site = crowdSite(
    setup,
    { worker_count: 1, max_requests: 0 },
    // PHP keeps the path of each upload in there, some 100 bytes each, until it is full: the warm-up fills this one.
    { realpath_cache_size: "64K" },
  );
  const refusal = refusalOf(setup.command, site.pools, setup.php);
  if (refusal !== null) return unavailable(refusal);
  await using server = await Phprun.start(site);
  const crowd = new Crowd({
    visitors: VISITORS,
    random,
    ways: { page: 800, renew: 10, logout: 50, exit: 60, stream: 20, finish: 30, throw: 60 },
    plants: 0,
    all: false,
    staysOut: 0.9,
    bodiless: 0.7,
  });
  const startedMs = performance.now();
  const through = async (count: number): Promise<Tally> => {
    const load = new Load(server, { connections: CONNECTIONS, next: crowd.next, onResult: crowd.done });
    load.closed(count);
    const sample = setInterval(() => {
      const seconds = Math.round((performance.now() - startedMs) / 1000);
      const own = server.workers().map((pid) => kibibytes(memoryOf(pid).privateBytes));
      say(`${seconds} s: ${load.tally.total} of ${count}, ${load.tally.failed} failed, own ${own.join(" ")}`);
    }, SAMPLE_MS);
    await load.made();
    clearInterval(sample);
    return await load.stop();
  };

  const warmUp = await through(Math.ceil(requests * WARM_UP_SHARE));
  const before = await ownBytes(server);
  say(`warm: the worker's own memory ${kibibytes(before)}`);
  const main = await through(requests - warmUp.total);
  const after = await ownBytes(server);
  const tookMs = performance.now() - startedMs;

  const report = new Report();
  report.tell("requests", `${main.describe()}, in ${(tookMs / 1000).toFixed(0)} s`);
  report.tell("of them", main.describeKinds());
  report.tell("users", crowd.identities);
  report.tell("latency", main.ok.describe());
  report.count(
    "requests made",
    warmUp.total + main.total,
    String(requests),
    warmUp.total + main.total === requests,
  );
  report.none("wrong answers", warmUp.of("wrong") + main.of("wrong"));
  report.none("failed requests", warmUp.failed + main.failed);
  report.count("workers that have answered", crowd.workers.size, "1", crowd.workers.size === 1);
  const served = statusOf(server)?.pools[0]?.workers.map((worker) => worker.requests) ?? [];
  // And the probe, when it was this worker that answered it.
  const all = served.length === 1 && served[0]! >= requests && served[0]! <= requests + 1;
  report.count("requests it has counted", served.join(" and "), String(requests), all);
  const memory = `${kibibytes(before)}, ${kibibytes(after)}`;
  const goal = `${kibibytes(GROWTH_BYTES)} more at most`;
  // A thread's is its host's, which runs JavaScript beside it.
  if (server.threads) report.tell("memory of its host, after warm-up and at the end", memory);
  else
    report.count(
      "its own memory, after warm-up and at the end",
      memory,
      goal,
      after - before <= GROWTH_BYTES,
    );
  report.note(`seed ${random.seed}`, ...warmUp.told, ...main.told);
  for (const fault of await server.stop()) report.count("stop", fault, "clean", false);
  return report;
}

/** Of the worker at rest: what it shares with nobody. */
async function ownBytes(server: Phprun): Promise<number> {
  const looks: number[] = [];
  for (let i = 0; i < LOOKS; i++) {
    await Bun.sleep(LOOK_MS);
    looks.push(server.workers().reduce((sum, pid) => sum + memoryOf(pid).privateBytes, 0));
  }
  return median(looks);
}

function kibibytes(bytes: number): string {
  return `${Math.round(bytes / 1024).toLocaleString("en")} KiB`;
}
