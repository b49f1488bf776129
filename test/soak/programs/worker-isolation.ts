import { refusalOf } from "../available.ts";
import { Crowd } from "../crowd.ts";
import { crowdSite } from "../crowd-site.ts";
import { Load } from "../load/load.ts";
import { Phprun } from "../phprun.ts";
import { type Outcome, type Program, Report, type Setup, unavailable } from "../program.ts";
import { requestsIn, statusOf } from "../status.ts";

const WORKERS = 4;
const CONNECTIONS = 16;
const VISITORS = 64;
const SAMPLE_MS = 30_000;
/** All of test/soak/app/plants.php. */
const PLANTS = 2 ** 16 - 1;
/** Where the kernel refuses threads one of their own it is the host's, by design. */
const PLANT_UMASK = 1 << 15;

/** Logins and logouts, requests that end in every way: does anybody see anything of another? */
export const workerIsolation: Program = {
  name: "worker-isolation",
  about: "users of an application in worker mode, each with tokens that nobody else may ever see",
  defaults: { seconds: 0, requests: 120_000 },
  run,
};

async function run(setup: Setup): Promise<Outcome> {
  const { requests, random, say } = setup;
  const site = crowdSite(
    setup,
    {
      worker_count: WORKERS,
      worker: { reset: ["ini", "env", "cwd", "error_handlers", "timezone", "locale"] },
    },
    { variables_order: "EGPCS" },
  );
  const refusal = refusalOf(setup.command, site.pools, setup.php);
  if (refusal !== null) return unavailable(refusal);
  await using server = await Phprun.start(site);
  const crowd = new Crowd({
    visitors: VISITORS,
    random,
    ways: {
      page: 600,
      renew: 30,
      logout: 50,
      exit: 60,
      stream: 60,
      finish: 60,
      throw: 60,
      fatal: 5,
      cut: 5,
      leave: 20,
    },
    plants: server.threads ? PLANTS & ~PLANT_UMASK : PLANTS,
    all: true,
  });
  const load = new Load(server, {
    connections: CONNECTIONS,
    next: crowd.next,
    onResult: crowd.done,
    hangMs: 30_000,
  }).closed(requests);
  const startedMs = performance.now();
  const sample = setInterval(() => {
    const seconds = Math.round((performance.now() - startedMs) / 1000);
    say(`${seconds} s: ${load.tally.total} of ${requests}, ${load.tally.failed} failed`);
  }, SAMPLE_MS);
  await load.made();
  clearInterval(sample);
  const tally = await load.stop();
  const tookMs = performance.now() - startedMs;

  const report = new Report();
  report.tell("requests", `${tally.describe()}, in ${(tookMs / 1000).toFixed(0)} s`);
  report.tell("of them", tally.describeKinds());
  report.tell("users", crowd.identities);
  report.tell("workers that have answered", crowd.workers.size);
  report.tell("latency", tally.ok.describe());
  report.count("requests made", tally.total, String(requests), tally.total === requests);
  report.none("answers with another's token, or otherwise wrong", tally.of("wrong"));
  report.none("failed requests", tally.failed);
  const status = statusOf(server);
  if (status === null) report.count("status", "none", "an answer", false);
  else {
    report.none("slots in use", requestsIn(status));
    report.tell("replaced, by reason", JSON.stringify(status.pools[0]?.restarts));
  }
  report.note(`seed ${random.seed}`);
  report.note(...tally.told);
  for (const fault of await server.stop()) report.count("stop", fault, "clean", false);
  return report;
}
