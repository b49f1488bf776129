import { coerce } from "./coerce.ts";
import type { Assignment } from "./environment.ts";
import type { Problem } from "./problem.ts";
import { fieldAt, type Path } from "./tree.ts";

/** Flags of the command line that touch the configuration, as typed. */
export interface ConfigFlags {
  readonly config?: string | undefined;
  readonly root?: string | undefined;
  readonly host?: string | undefined;
  readonly port?: string | undefined;
  readonly workers?: string | undefined;
  readonly isolation?: string | undefined;
  readonly workerScript?: string | undefined;
  readonly paranoid?: boolean;
}

export function readFlags(
  flags: ConfigFlags,
  pools: readonly unknown[],
): { assignments: Assignment[]; problems: Problem[] } {
  const assignments: Assignment[] = [];
  const problems: Problem[] = [];
  const set = (source: string, path: Path, text: string | undefined) => {
    const field = fieldAt(path);
    if (text !== undefined && field !== undefined)
      assignments.push({ path, value: coerce(text, field), source });
  };
  set("--root", ["php", "docroot"], flags.root);
  set("--host", ["server", "host"], flags.host);
  set("--port", ["server", "port"], flags.port);
  set("--isolation", ["php", "isolation"], flags.isolation);
  if (flags.paranoid === true)
    assignments.push({ path: ["worker", "paranoid"], value: true, source: "--paranoid" });
  const ofOnlyPool = (source: string, what: string, key: string, text: string | undefined) => {
    if (text === undefined || pools.length <= 1) return set(source, ["pools", 0, key], text);
    problems.push({
      where: source,
      message: `Cannot set the ${what}: there are ${pools.length} pools; set ${key} of each`,
    });
  };
  ofOnlyPool("--workers", "number of workers", "worker_count", flags.workers);
  ofOnlyPool("--worker-script", "worker script", "worker_script", flags.workerScript);
  return { assignments, problems };
}
