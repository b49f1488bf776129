import type { Config } from "./config.ts";
import { crossCheck } from "./cross-checks.ts";
import { checkDisk } from "./disk-checks.ts";
import { readEnvironment } from "./environment.ts";
import { findConfigFile } from "./find-file.ts";
import { type ConfigFlags, readFlags } from "./flags.ts";
import { Layers, RANK } from "./layers.ts";
import { settleListeners } from "./listeners.ts";
import { configError } from "./problem.ts";
import { settle } from "./settle.ts";
import { setAt } from "./tree.ts";
import { validate } from "./validate.ts";
import { readConfigFile } from "./yaml-file.ts";

export interface LoadOptions {
  readonly flags?: ConfigFlags;
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly cwd?: string;
}

/**
 * Settle the configuration: defaults, under the file, under the environment, under the flags.
 * Throws one CONFIG_INVALID that lists everything that is wrong with it.
 */
export function loadConfig(options: LoadOptions = {}): Config {
  const steps = load(options);
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
}

/** The same with pauses: each step takes milliseconds, which the requests of a running server would feel. */
export async function loadConfigGently(options: LoadOptions): Promise<Config> {
  const steps = load(options);
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
    await Bun.sleep(1);
  }
}

/** Yields between its steps. */
function* load({
  flags = {},
  env = process.env,
  cwd = process.cwd(),
}: LoadOptions): Generator<void, Config, void> {
  const path = findConfigFile(flags.config, env["PHPRUN_CONFIG"], cwd);
  const layers = new Layers(path === null ? null : readConfigFile(path, cwd), cwd);
  yield;
  const pools = poolsOf(layers);
  const environment = readEnvironment(env, pools);
  layers.assign(environment.assignments, RANK.environment);
  const typed = readFlags(flags, poolsOf(layers));
  layers.assign(typed.assignments, RANK.flag);
  yield;
  const { tree, problems, healed } = validate(layers);
  yield;
  const { listeners, problems: listenProblems } = settleListeners(tree, layers);
  const config = settle(tree, listeners, path, cwd);
  yield;
  const all = [
    ...problems,
    ...environment.problems,
    ...typed.problems,
    ...listenProblems,
    ...crossCheck(tree, { listeners, layers, healed }),
    ...checkDisk(config, layers),
  ];
  if (all.length > 0) throw configError(all);
  return config;
}

/** The pools as far as they are known; the default one is put in place so that its keys can be set one by one. */
function poolsOf(layers: Layers): readonly unknown[] {
  const { pools } = layers.tree;
  if (Array.isArray(pools)) return pools;
  if (pools !== undefined && pools !== null) return [];
  setAt(layers.tree, ["pools"], [{ name: "default" }]);
  return [{ name: "default" }];
}
