import { ask } from "../load/ask.ts";
import { Load } from "../load/load.ts";
import { type Outcome, type Program, Report, type Setup, unavailable } from "../program.ts";
import { refusalOf } from "../available.ts";
import { isRunning } from "../../process/support.ts";
import { Phprun, until } from "../phprun.ts";

const WORKERS = 8;
const PER_SECOND = 2000;
const BETWEEN_KILLS_MS = 500;
const CONNECTIONS = 64;

/** Workers that are killed at random while 2,000 requests a second come in. */
const program = (name: string, retry: boolean): Program => ({
  name,
  about: `kill -9 of a random worker twice a second at ${PER_SECOND} requests a second, ${retry ? "with" : "without"} retry`,
  defaults: { seconds: 60, requests: 0 },
  run: async (setup) => await chaos(setup, retry),
});

export const chaosPlain = program("chaos", false);
export const chaosRetry = program("chaos-retry", true);

async function chaos(setup: Setup, retry: boolean): Promise<Outcome> {
  if (setup.php.isolation === "thread")
    return unavailable("threads cannot be killed; chaos-host kills hosts");
  const pool = { name: "default", worker_count: WORKERS, ...(retry ? { retry: true } : {}) };
  const refusal = refusalOf(setup.command, [pool], setup.php);
  if (refusal !== null) return unavailable(refusal);
  await using server = await Phprun.start({ command: setup.command, php: setup.php, pools: [pool] });
  await until(5000, () => (server.workers().length === WORKERS ? true : undefined));
  const load = new Load(server, {
    connections: CONNECTIONS,
    // Long enough for some to be in flight at any moment, short enough for the rate.
    next: () => ask("wait", "/wait.php?us=1500"),
  }).atRate(PER_SECOND);

  let kills = 0;
  const endMs = performance.now() + setup.seconds * 1000;
  while (performance.now() < endMs) {
    const worker = setup.random.pick(server.workers());
    // Looking for it held up the load: by the time of the kill requests are in flight again.
    await Bun.sleep(BETWEEN_KILLS_MS * (0.5 + setup.random.next()));
    if (worker === undefined || !isRunning(worker)) continue;
    process.kill(worker, "SIGKILL");
    kills++;
  }
  const tally = await load.stop();
  const report = new Report();
  const back = await until(5000, () => (server.workers().length === WORKERS ? true : undefined));
  const lost = tally.of("502");
  report.tell("requests", tally.describe());
  report.tell("workers killed", kills);
  if (retry) report.none("failed requests", tally.failed);
  else {
    report.count(
      "failed requests",
      tally.failed,
      `${kills} or fewer, one for each kill`,
      tally.failed <= kills,
    );
    report.none("failed otherwise than by 502", tally.failed - lost);
  }
  report.none("wrong answers", tally.of("wrong"));
  report.none("hanging requests", tally.of("hang"));
  report.timing("requests that found no connection in time", String(load.behind), "0", load.behind === 0);
  report.tell("latency", tally.ok.describe());
  report.count("workers at the end", server.workers().length, String(WORKERS), back === true);
  report.note(...tally.told.filter((line) => retry || !line.includes(": 502:")));
  for (const fault of await server.stop()) report.count("stop", fault, "clean", false);
  return report;
}
