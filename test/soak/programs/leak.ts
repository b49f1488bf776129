import { ask } from "../load/ask.ts";
import { Load } from "../load/load.ts";
import { mebibytes, WorkerMemory } from "../memory.ts";
import { Phprun } from "../phprun.ts";
import { type Outcome, type Program, Report, type Setup } from "../program.ts";

const WORKERS = 4;
const LIMIT_MB = 64;
const LEAK_MB = 10;
/** PHP itself, and what a worker has of its own before it leaks anything. */
const BASE_MB = 16;
/** What a host of threads, and the one that takes over from it, may come to hold before they are replaced. */
const HOST_BYTES = 2 * 2 ** 30;
/** Above this the run is ended before it takes the machine along. */
const TOO_MUCH_BYTES = 4 * 2 ** 30;

/** A page that leaks 10 MB each time, until it would have leaked 100 GB. */
export const leak: Program = {
  name: "leak",
  about: `a page that leaks ${LEAK_MB} MB with each request`,
  defaults: { seconds: 0, requests: 10_000 },
  run,
};

async function run({ command, php, requests }: Setup): Promise<Outcome> {
  await using server = await Phprun.start({
    command,
    php,
    pools: [{ name: "default", worker_count: WORKERS, memory_limit_mb: LIMIT_MB }],
    ini: { "ffi.enable": "1" },
  });
  const load = new Load(server, {
    connections: WORKERS * 2,
    next: () => ask("leak", `/leak.php?bytes=${LEAK_MB * 1048576}`),
  });
  using memory = new WorkerMemory(server, (bytes) => {
    if (bytes > TOO_MUCH_BYTES) load.end();
  });
  const startedMs = performance.now();
  await load.closed(requests).made();
  const tookMs = performance.now() - startedMs;
  load.end();
  const { tally } = load;
  const bound = WORKERS * (LIMIT_MB + LEAK_MB + BASE_MB) * 1048576;
  const report = new Report();
  report.tell("requests", `${tally.describe()}, in ${(tookMs / 1000).toFixed(1)} s`);
  report.tell("latency", tally.ok.describe());
  report.count("requests made", tally.total, String(requests), tally.total === requests);
  report.none("failed requests", tally.failed);
  const most = `most memory of all workers, ${memory.samples} samples`;
  if (server.threads) {
    // What C has leaked is the host's, which is looked at once a second: how much that is depends on the machine.
    report.timing(most, mebibytes(memory.mostBytes), mebibytes(HOST_BYTES), memory.mostBytes <= HOST_BYTES);
  } else {
    const sum = `${mebibytes(bound)} = ${WORKERS} × (${LIMIT_MB} + ${LEAK_MB} + ${BASE_MB})`;
    report.count(most, mebibytes(memory.mostBytes), sum, memory.mostBytes <= bound);
  }
  report.tell("workers seen, or hosts of threads", memory.seen.size);
  report.note(...tally.told);
  for (const fault of await server.stop()) report.count("stop", fault, "clean", false);
  return report;
}
