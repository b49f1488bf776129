import { memoryOf } from "../../../bench/processes.ts";
import { refusalOf } from "../available.ts";
import { ask, type Ask } from "../load/ask.ts";
import { Load } from "../load/load.ts";
import type { Tally } from "../load/tally.ts";
import { mebibytes } from "../memory.ts";
import { Agreement, threadMix, writeClasses } from "../mix-threads.ts";
import { Phprun, until } from "../phprun.ts";
import { type Outcome, type Program, Report, type Setup, unavailable } from "../program.ts";
import { judgeLeftovers, resourcesAtRest } from "../resources.ts";
import { Rewriting } from "../rewriting.ts";
import { LargeSite } from "../site.ts";
import { requestsIn, statusOf } from "../status.ts";

const WORKERS = 8;
const LATE_WORKERS = 2;
const CONNECTIONS = 24;
/** Threads end and others take their place all the time. */
const MAX_REQUESTS = 5000;
const TIMEOUT_MS = 3000;
/** opcache counts whole seconds, from the second in which it looked last. */
const LATE_MS = 2000;
const REWRITE_MS = 120;
const FIRST_RESET_MS = 2000;
const RESET_MS = 30_000;
const WARM_UP_SHARE = 0.1;
const WARM_UP_LEAST = 10_000;
const SAMPLE_MS = 30_000;
const END_MS = 20_000;

/** A day of a site in threads: everything that could get in each other's way, while its scripts are rewritten. */
export const threads: Program = {
  name: "threads",
  about: `all that ${WORKERS} threads could get in each other's way with, while scripts are rewritten`,
  defaults: { seconds: 0, requests: 1_000_000 },
  run,
};

async function run({ command, php, requests, random, say }: Setup): Promise<Outcome> {
  const pools = [
    {
      name: "late",
      patterns: ["/late/*"],
      worker_count: LATE_WORKERS,
      ini: { "opcache.revalidate_freq": "1" },
    },
    { name: "default", worker_count: WORKERS, max_requests: MAX_REQUESTS, timeout_ms: TIMEOUT_MS },
  ];
  const refusal = refusalOf(command, pools, php);
  if (refusal !== null) return unavailable(refusal);
  using site = new LargeSite();
  writeClasses(site.path);
  const fresh = new Rewriting({ site: site.path, folder: "fresh", pages: 24 });
  const late = new Rewriting({ site: site.path, folder: "late", pages: 8, staleMs: LATE_MS });
  await using server = await Phprun.start({
    command,
    php,
    pools,
    ini: {
      "opcache.enable": "1",
      "opcache.validate_timestamps": "1",
      "opcache.revalidate_freq": "0",
      "date.timezone": "UTC",
      include_path: ".",
      max_execution_time: "20",
      error_reporting: "30719",
    },
    docroot: site.path,
  });
  const agreement = new Agreement();
  // Before PHP 8.3 it ends with its stack, and with its host.
  const endsRecursion = !/^ {2}PHP +8\.2\./m.test(server.log);
  const mixed = threadMix(random, fresh, late, agreement, endsRecursion);
  const startedMs = performance.now();
  let resetMs = startedMs + FIRST_RESET_MS;
  let resets = 0;
  const next = (): Ask => {
    if (performance.now() < resetMs) return mixed();
    resetMs += RESET_MS;
    resets++;
    return ask("opcache reset", "/threads/opcache.php?do=reset");
  };
  const through = async (count: number): Promise<Tally> => {
    const load = new Load(server, { connections: CONNECTIONS, next, hangMs: 30_000 }).closed(count);
    const sample = setInterval(() => {
      const hosts = server.hosts().map((pid) => mebibytes(memoryOf(pid).pssBytes));
      const seconds = Math.round((performance.now() - startedMs) / 1000);
      say(
        `${seconds} s: ${load.tally.total} of ${count}, ${load.tally.failed} failed, hosts ${hosts.join(" ")}`,
      );
      for (const line of load.tally.told.splice(0)) say(`  ${line}`);
    }, SAMPLE_MS);
    await load.made();
    clearInterval(sample);
    return await load.stop();
  };

  fresh.start(REWRITE_MS, random);
  late.start(2 * REWRITE_MS, random);
  const warmUp = await through(
    Math.ceil(Math.max(requests * WARM_UP_SHARE, Math.min(WARM_UP_LEAST, requests / 2))),
  );
  await settled(server);
  const before = await resourcesAtRest(server);
  say(`warm: front ${mebibytes(before.frontBytes)}, ${before.descriptors.length} descriptors`);
  const main = await through(requests - warmUp.total);
  const tookMs = performance.now() - startedMs;
  fresh.stop();
  late.stop();
  await settled(server);
  const after = await resourcesAtRest(server);

  const report = new Report();
  const sum = (count: (tally: Tally) => number): number => count(warmUp) + count(main);
  report.tell("requests", `${main.describe()}, in ${(tookMs / 1000).toFixed(0)} s`);
  report.tell("of them", main.describeKinds());
  if (!endsRecursion)
    report.tell("deep recursion", "not asked for: PHP 8.2 does not end it before its stack does");
  report.tell("files rewritten meanwhile", fresh.rewrites + late.rewrites);
  report.tell("calls of opcache_reset()", resets);
  report.tell("latency", main.ok.describe());
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
  const crashes = server.log
    .split("\n")
    .filter((line) => /signal \d+|host (?:has )?(?:ended|died)/.test(line));
  report.none("crashes in the log", crashes.length);
  const status = statusOf(server);
  if (status === null) report.count("status", "none", "an answer", false);
  else {
    const restarts = status.pools.map(({ restarts: made }) => made);
    const all = (pick: (made: (typeof restarts)[0]) => number) =>
      restarts.reduce((n, made) => n + pick(made), 0);
    report.none(
      "hosts that ended by themselves",
      all(({ host, emergency }) => host + emergency),
    );
    report.none(
      "threads that did not come back",
      all(({ lost }) => lost),
    );
    report.tell("replaced, by reason", JSON.stringify(restarts));
    report.none("slots in use", requestsIn(status));
    const serving = status.pools.map(({ workers }) => workers.length).join(" and ");
    const wanted = `${LATE_WORKERS} and ${WORKERS}`;
    report.count("workers", serving, wanted, serving === wanted);
  }
  report.count("hosts", server.hosts().length, String(pools.length), server.hosts().length === pools.length);
  const leaked = judgeLeftovers(report, before, after);
  report.note(...warmUp.told, ...main.told, ...crashes.slice(0, 10), ...leaked, ...after.files.slice(0, 10));
  for (const fault of await server.stop()) report.count("stop", fault, "clean", false);
  return report;
}

/** Generations that were to be replaced have been, and those before them are gone. */
async function settled(server: Phprun): Promise<void> {
  await until(END_MS, () => {
    const pools = statusOf(server)?.pools ?? [];
    return pools.every(({ generations }) => generations.length === 1) ? true : undefined;
  });
}
