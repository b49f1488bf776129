/** phprun in worker mode beside phprun in classic mode and beside nginx + php-fpm. */
import { applicationSites } from "./applications/applications.ts";
import { attempt } from "./attempt.ts";
import { installMissing } from "./install.ts";
import { type Candidate, findBest } from "./measure/calibrate.ts";
import { measureWarmFork, type WarmFork } from "./measure/warm-fork.ts";
import { type Measured, measureThroughput, type RunShape } from "./measure/throughput.ts";
import type { WorkloadResult } from "./results.ts";
import type { Scratch } from "./scratch.ts";
import { compareSettings, settingsOf } from "./settings.ts";
import { plainSite, type Site } from "./sites.ts";
import { nginxWorkers, type NginxFpmOptions, startNginxFpm } from "./stacks/nginx-fpm.ts";
import { startPhprun } from "./stacks/phprun.ts";
import type { Stack } from "./stacks/stack.ts";
import type { Workload } from "./workloads.ts";

/** Debian's packages of both frameworks, and what the applications need beside them. */
const PACKAGES = [
  "php-laravel-framework",
  "php-symfony-framework-bundle",
  "php-symfony-runtime",
  "php-symfony-validator",
];
/** As in production: the files do not change under a running server. The same for all of them. */
const ini = { "opcache.validate_timestamps": "0" };

export interface WorkerModeSetUp {
  readonly workers: number;
  readonly workersTried: readonly Candidate[];
  readonly classicWorkers: number;
  readonly classicTried: readonly Candidate[];
  readonly bestChildren: number;
  /** Are their FastCGI connections kept? */
  readonly bestKept: boolean;
  readonly bestTried: readonly Candidate[];
  readonly deployedChildren: number;
  readonly deployedTried: readonly Candidate[];
}

export type WorkerModeResult = WorkloadResult & { readonly setUp: WorkerModeSetUp | null };

export interface WorkerModeParts {
  readonly scratch: Scratch;
  readonly executable: string;
  readonly php: NginxFpmOptions["php"];
  /** Of PHP, such as `8.2`. */
  readonly version: string;
  readonly shape: RunShape;
  /** In place of the best numbers of phprun's workers. */
  readonly workers: number | undefined;
  /** Children of php-fpm whose connections nginx can keep. */
  readonly keptChildren: number;
  readonly say: (text: string) => void;
}

export async function measureWorkerMode(
  parts: WorkerModeParts,
  wanted: readonly Workload[],
): Promise<WorkerModeResult[]> {
  const found: WorkerModeResult[] = [];
  const sites = await sitesFor(parts, wanted);
  for (const workload of wanted) {
    const { name, title, connections, against, goal } = workload;
    parts.say(`${title}, ${connections} connections, worker mode`);
    let setUp: WorkerModeSetUp | null = null;
    const result = await attempt(parts.say, async () => {
      const servers = startersOf(parts, sites(name));
      setUp = await findSetUp(parts, servers, workload);
      return { measured: await measure(parts, servers, setUp, workload) };
    });
    found.push({ name, title, connections, against, goal, ...result, setUp });
  }
  return found;
}

/** How workers of these applications come and go, and what they hold. */
export async function measureForks(
  { scratch, executable, version, say }: WorkerModeParts,
  tries: number,
): Promise<WarmFork[]> {
  await installMissing([...PACKAGES, `php${version}-cli`]);
  const sites = applicationSites(scratch, `php${version}`);
  const found: WarmFork[] = [];
  for (const [name, title] of [
    ["laravel", "Laravel"],
    ["symfony", "Symfony"],
  ] as const) {
    say(`${title}, workers forked from the template and workers that boot`);
    found.push(await measureWarmFork({ scratch, executable, ini, tries }, title, sites[name]));
  }
  return found;
}

async function sitesFor(
  { scratch, version }: WorkerModeParts,
  wanted: readonly Workload[],
): Promise<(workload: string) => Site> {
  if (wanted.every(({ template }) => template !== true)) return () => plainSite(scratch);
  await installMissing([...PACKAGES, `php${version}-cli`]);
  const { laravel, symfony } = applicationSites(scratch, `php${version}`);
  return (workload) =>
    workload === "worker-laravel" ? laravel : workload === "worker-symfony" ? symfony : plainSite(scratch);
}

type Starters = ReturnType<typeof startersOf>;

function startersOf({ scratch, executable, php, keptChildren }: WorkerModeParts, site: Site) {
  const phprun = (mode: Stack["mode"]) => (workers: number) =>
    startPhprun(scratch, { executable, workers, site, mode, ini });
  return {
    worker: phprun("worker"),
    classic: phprun("classic"),
    /** With as many children as connections can be kept they are kept; fewer serve one connection after the other. */
    best: (children: number) => {
      const kept = children === keptChildren ? Math.floor(children / nginxWorkers) : 0;
      return startNginxFpm(scratch, { key: "fpm-best", children, kept, php, site, ini });
    },
    deployed: (children: number) =>
      startNginxFpm(scratch, { key: "fpm-deployed", children, kept: 0, php, site, ini }),
  };
}

/** For each side the numbers that serve it best with this workload. */
async function findSetUp(
  { scratch, workers, keptChildren, say }: WorkerModeParts,
  servers: Starters,
  workload: Workload,
): Promise<WorkerModeSetUp> {
  say("  finding the best numbers of workers");
  const numbers = workers === undefined ? [2, 4, 8] : [workers];
  const best = (counts: readonly number[], start: (count: number) => Promise<Stack>) =>
    counts.length === 1 ? { best: counts[0]!, candidates: [] } : findBest(scratch, workload, counts, start);
  const worker = await best(numbers, servers.worker);
  const classic = await best(numbers, servers.classic);
  const fpm = await best([keptChildren, 4, 8, 16], servers.best);
  const deployed = await best([4, 8], servers.deployed);
  return {
    workers: worker.best,
    workersTried: worker.candidates,
    classicWorkers: classic.best,
    classicTried: classic.candidates,
    bestChildren: fpm.best,
    bestKept: fpm.best === keptChildren,
    bestTried: fpm.candidates,
    deployedChildren: deployed.best,
    deployedTried: deployed.candidates,
  };
}

async function measure(
  { scratch, shape }: WorkerModeParts,
  servers: Starters,
  setUp: WorkerModeSetUp,
  workload: Workload,
): Promise<Measured[]> {
  const stacks = [
    await servers.worker(setUp.workers),
    await servers.classic(setUp.classicWorkers),
    await servers.best(setUp.bestChildren),
    await servers.deployed(setUp.deployedChildren),
  ];
  const [, classic, ...fpm] = stacks;
  const settings = await settingsOf(classic!);
  for (const stack of fpm) compareSettings(settings, await settingsOf(stack));
  const measured = await measureThroughput(scratch, stacks, workload, shape);
  await Promise.all(stacks.map((stack) => stack.stop()));
  return measured;
}
