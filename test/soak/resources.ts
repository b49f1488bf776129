import { readdirSync } from "node:fs";
import { join } from "node:path";
import { cpuSeconds, residentOf } from "../../bench/processes.ts";
import { descriptors } from "../process/support.ts";
import { mebibytes } from "./memory.ts";
import { type Phprun, until } from "./phprun.ts";
import type { Report } from "./program.ts";
import { statusOf } from "./status.ts";

/** What a server at rest holds. */
export interface Resources {
  readonly frontBytes: number;
  readonly descriptors: readonly string[];
  readonly hostDescriptors: number;
  readonly files: readonly string[];
  readonly workers: number;
}

/** What the front may hold more after a long run than after its warm-up. */
const GROWTH_BYTES = 20 * 1048576;

const REST_MS = 10_000;
const STILL_MS = 500;
/** A host looks after its threads now and then; one that is busy would take all of STILL_MS. */
const HOST_CPU_S = 0.1;

/** Waits until nothing moves any more, and looks. */
export async function resourcesAtRest(server: Phprun): Promise<Resources> {
  let open = -1;
  await until(REST_MS, () => {
    const now = descriptors(server.pid).size;
    if (now === open) return true;
    open = now;
    Bun.sleepSync(STILL_MS / 5);
    return undefined;
  });
  return {
    frontBytes: residentOf(server.pid).nowBytes,
    descriptors: [...descriptors(server.pid).values()],
    hostDescriptors: server.hosts().reduce((sum, pid) => sum + descriptors(pid).size, 0),
    files: ["spool", "tmp"].flatMap((name) =>
      readdirSync(join(server.folder, name)).map((file) => `${name}/${file}`),
    ),
    workers: server.threads ? threadsOf(server) : server.workers().length,
  };
}

/** Only the server knows which threads of a host run PHP. */
function threadsOf(server: Phprun): number {
  return statusOf(server)?.pools.reduce((sum, { workers }) => sum + workers.length, 0) ?? 0;
}

/** Does no worker do anything? */
export async function workersIdle(server: Phprun): Promise<boolean> {
  const workers = server.workers();
  const before = cpuSeconds(workers);
  await Bun.sleep(STILL_MS);
  return cpuSeconds(workers) - before <= (server.threads ? HOST_CPU_S : 0);
}

/** Is anything left after a long run that was not there before it? Returns the descriptors that are. */
export function judgeLeftovers(report: Report, before: Resources, after: Resources): string[] {
  const grown = after.frontBytes - before.frontBytes;
  report.count(
    "front's memory, after warm-up and at the end",
    `${mebibytes(before.frontBytes)}, ${mebibytes(after.frontBytes)}`,
    `${mebibytes(GROWTH_BYTES)} more at most`,
    grown <= GROWTH_BYTES,
  );
  const leaked = newDescriptors(before, after);
  report.count("descriptors of the front that are new", leaked.length, "0", leaked.length === 0);
  const ofHosts = after.hostDescriptors - before.hostDescriptors;
  report.count("descriptors of the hosts that are new", ofHosts, "0", ofHosts <= 0);
  report.none("files left in spool and temporary folder", after.files.length);
  return leaked;
}

/** Descriptors that are there now and were not before, by what they lead to. */
export function newDescriptors(before: Resources, after: Resources): string[] {
  const known = new Map<string, number>();
  for (const what of before.descriptors) known.set(kindOf(what), (known.get(kindOf(what)) ?? 0) + 1);
  const more: string[] = [];
  for (const what of after.descriptors) {
    const left = known.get(kindOf(what)) ?? 0;
    if (left === 0) more.push(what);
    else known.set(kindOf(what), left - 1);
  }
  return more;
}

/** Without the number: another socket in the place of one is none too many. */
function kindOf(what: string): string {
  return what.replace(/\[?\d+\]?$/, "").replace(/ \(deleted\)$/, "");
}
