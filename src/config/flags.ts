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
  if (flags.workers !== undefined && pools.length > 1) {
    problems.push({
      where: "--workers",
      message: `Cannot set the number of workers: there are ${pools.length} pools; set worker_count of each`,
    });
  } else {
    set("--workers", ["pools", 0, "worker_count"], flags.workers);
  }
  return { assignments, problems };
}
