import { residentOf } from "../../../bench/processes.ts";
import { ask } from "../load/ask.ts";
import { Load } from "../load/load.ts";
import { RudeClients } from "../load/rude.ts";
import type { Tally } from "../load/tally.ts";
import { mebibytes } from "../memory.ts";
import { mixOf } from "../mix.ts";
import { Phprun } from "../phprun.ts";
import { type Outcome, type Program, Report, type Setup } from "../program.ts";
import { judgeLeftovers, resourcesAtRest, workersIdle } from "../resources.ts";
import { LargeSite } from "../site.ts";
import { requestsIn, statusOf } from "../status.ts";

const WORKERS = 4;
const CONNECTIONS = 24;
const LIMIT_MB = 64;
const RUDE_PER_SECOND = 20;
const WARM_UP_SHARE = 0.1;
const WARM_UP_LEAST = 10_000;
const SAMPLE_MS = 30_000;

/** A million requests of every kind, beside clients with bad manners: is anything wrong, and is anything left? */
export const soak: Program = {
  name: "soak",
  about: "a mix of all there is, beside clients with bad manners; then what is left of it",
  defaults: { seconds: 0, requests: 1_000_000 },
  run,
};

async function run({ command, php, requests, random, say }: Setup): Promise<Outcome> {
  using site = new LargeSite();
  await using server = await Phprun.start({
    command,
    php,
    pools: [{ name: "default", worker_count: WORKERS, memory_limit_mb: LIMIT_MB }],
    ini: { "ffi.enable": "1", upload_max_filesize: "8M", post_max_size: "16M" },
    docroot: site.path,
    rest: { logging: { access: false, file: "/dev/null" } },
  });
  const next = mixOf(random, site);
  const report = new Report();
  const startedMs = performance.now();
  const through = async (count: number): Promise<{ tally: Tally; rude: RudeClients }> => {
    const rude = new RudeClients(server, RUDE_PER_SECOND);
    const load = new Load(server, { connections: CONNECTIONS, next }).closed(count);
    const sample = setInterval(() => {
      const resident = mebibytes(residentOf(server.pid).nowBytes);
      const seconds = Math.round((performance.now() - startedMs) / 1000);
      say(`${seconds} s: ${load.tally.total} of ${count}, ${load.tally.failed} failed, front ${resident}`);
    }, SAMPLE_MS);
    await load.made();
    clearInterval(sample);
    await rude.stop();
    return { tally: await load.stop(), rude };
  };

  const warmUp = await through(
    Math.ceil(Math.max(requests * WARM_UP_SHARE, Math.min(WARM_UP_LEAST, requests / 2))),
  );
  const before = await resourcesAtRest(server);
  say(`warm: front ${mebibytes(before.frontBytes)}, ${before.descriptors.length} descriptors`);
  const main = await through(requests - warmUp.tally.total);
  const idle = await workersIdle(server);
  const after = await resourcesAtRest(server);
  const tookMs = performance.now() - startedMs;

  const tallies = [warmUp.tally, main.tally];
  const sum = (count: (tally: Tally) => number): number =>
    tallies.reduce((all, tally) => all + count(tally), 0);
  const faults = [...warmUp.rude.faults, ...main.rude.faults];
  report.tell("requests", `${main.tally.describe()}, in ${(tookMs / 1000).toFixed(0)} s`);
  report.tell("of them", main.tally.describeKinds());
  report.tell("beside them", [...main.rude.counts].map(([kind, count]) => `${count} ${kind}`).join(", "));
  report.tell("latency", main.tally.ok.describe());
  report.none(
    "wrong answers",
    sum((tally) => tally.of("wrong")),
  );
  report.none(
    "hanging requests",
    sum((tally) => tally.of("hang")),
  );
  report.none(
    "failed requests",
    sum((tally) => tally.failed),
  );
  report.none("slow readers that did not get their answer", faults.length);
  const leaked = judgeLeftovers(report, before, after);
  report.count("workers", after.workers, String(WORKERS), after.workers === WORKERS);
  report.count("all workers idle", idle ? "yes" : "no", "yes", idle);
  await allServe(report, server);
  const status = statusOf(server);
  if (status === null) report.tell("slots in use", "not available in this build: no status");
  else {
    report.none("slots in use", requestsIn(status));
    report.tell("workers replaced", JSON.stringify(status.pools[0]?.restarts));
  }
  report.note(
    ...warmUp.tally.told,
    ...main.tally.told,
    ...faults.slice(0, 10),
    ...leaked,
    ...after.files.slice(0, 10),
  );
  const stopFaults = await server.stop();
  report.count("stop", stopFaults.join("; ") || "clean", "clean", stopFaults.length === 0);
  return report;
}

/** A worker that is still held by something would let one of these wait for its turn. */
async function allServe(report: Report, server: Phprun): Promise<void> {
  const waitMs = 400;
  const next = () => ask("all at once", `/wait.php?us=${waitMs * 1000}`);
  const load = new Load(server, { connections: WORKERS, next }).closed(WORKERS);
  await load.made();
  const { ok } = await load.stop();
  const together = ok.count === WORKERS && ok.maxMs < 2 * waitMs;
  report.count("as many requests as workers, served at once", together ? "yes" : "no", "yes", together);
}
