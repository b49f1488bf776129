import { refusalOf } from "../available.ts";
import { ask, type Ask } from "../load/ask.ts";
import { LoadConnection } from "../load/connection.ts";
import { Histogram, milliseconds } from "../load/histogram.ts";
import { Load } from "../load/load.ts";
import type { Result } from "../load/tally.ts";
import { Phprun } from "../phprun.ts";
import { type Outcome, type Program, Report, type Setup, unavailable } from "../program.ts";

const WORKERS = 8;
/** Requests that have a slot without having a worker yet. */
const IN_RING = 16;
const PER_SECOND = 1000;
const CONNECTIONS = 64;
/** Hosts that die faster than one a second are started ever later. */
const BETWEEN_MS = 1200;
const GOAL_MS = 500;

/** Hosts that die while requests come in: by a crash in one of their threads, or by a signal. */
export const chaosHost: Program = {
  name: "chaos-host",
  about: `a host that dies again and again, at ${PER_SECOND} requests a second`,
  defaults: { seconds: 60, requests: 0 },
  run,
};

async function run({ command, php, seconds, random }: Setup): Promise<Outcome> {
  const pools = [{ name: "default", worker_count: WORKERS }];
  const refusal = refusalOf(command, pools, php);
  if (refusal !== null) return unavailable(refusal);
  await using server = await Phprun.start({ command, php, pools, ini: { "ffi.enable": "1" } });
  const load = new Load(server, {
    connections: CONNECTIONS,
    next: () => ask("wait", "/wait.php?us=1500"),
  }).atRate(PER_SECOND);
  const own = new LoadConnection(server);
  const report = new Report();
  const backMs = new Histogram();
  let deaths = 0;
  let crashes = 0;
  let never = 0;
  const endMs = performance.now() + seconds * 1000;
  while (performance.now() < endMs) {
    await Bun.sleep(BETWEEN_MS * (0.9 + 0.4 * random.next()));
    const [host] = server.hosts();
    if (host === undefined) continue;
    const startedMs = performance.now();
    // In a process of its own a crash costs that worker alone, which is what the program chaos looks at.
    if (server.threads && random.next() < 0.5) {
      crashes++;
      const { ending } = await answer(own, ask("crash", "/crash.php", { status: 502, answer: "none" }));
      if (ending !== "ok") report.note(`a request that crashes ended with ${ending}`);
    } else process.kill(host, random.next() < 0.5 ? "SIGKILL" : "SIGSEGV");
    deaths++;
    let back = false;
    // The first may still be given to the host that is dying.
    for (let tries = 0; tries < 5 && !back; tries++)
      back = (await answer(own, ask("hello", "/hello.php"))).ending === "ok";
    if (back) backMs.add(performance.now() - startedMs);
    else never++;
  }
  const tally = await load.stop();
  own.close();
  const lost = tally.of("502");
  const most = deaths * (WORKERS + IN_RING);
  report.tell("requests", tally.describe());
  report.tell("hosts that died", `${deaths}, ${crashes} of them by a crash in a thread`);
  report.none("wrong answers", tally.of("wrong"));
  report.none("hanging requests", tally.of("hang"));
  report.none("failed otherwise than by 502", tally.failed - lost);
  report.count("502", lost, `${most} at most, ${WORKERS + IN_RING} for each death`, lost <= most);
  report.none("deaths after which nobody answered", never);
  report.timing(
    "from a death to the next answer",
    backMs.describe(),
    `${milliseconds(GOAL_MS)} at most`,
    backMs.maxMs <= GOAL_MS,
  );
  report.timing("requests that found no connection in time", String(load.behind), "0", load.behind === 0);
  report.tell("latency", tally.ok.describe());
  report.count("hosts at the end", server.hosts().length, "1", server.hosts().length === 1);
  report.note(...tally.told.filter((line) => !line.includes(": 502:")));
  for (const fault of await server.stop()) report.count("stop", fault, "clean", false);
  return report;
}

async function answer(connection: LoadConnection, request: Ask): Promise<Result> {
  const { promise, resolve } = Promise.withResolvers<Result>();
  connection.send(request, performance.now(), resolve);
  return await promise;
}
