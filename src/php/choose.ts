import { statSync } from "node:fs";
import type { Config, PoolConfig } from "../config/config.ts";
import { PhprunError } from "../errors.ts";
import type { LibphpInfo } from "./libphp-info.ts";
import { libphpCandidates } from "./locate.ts";
import { describeKind, describeShims, readBuildIfAny, requireShim, SHIM_REMEDY, shimFor } from "./shims.ts";

/** The libphp that all pools of a configuration run. */
export interface Choice {
  readonly path: string;
  /** null when it cannot be told without loading it; the host then says what is wrong with it. */
  readonly info: LibphpInfo | null;
}

/** One libphp serves all pools, so one that wants threads decides for all. */
export const wantsThreads = ({ php, pools }: Pick<Config, "php" | "pools">): boolean =>
  php.isolation === "thread" || pools.some(({ isolation }) => isolation === "thread");

/** What a pool's workers are: `auto` stands for threads where PHP can have them. */
export function settleIsolation({ isolation }: PoolConfig, zts: boolean): "process" | "thread" {
  if (isolation === "auto") return zts ? "thread" : "process";
  return isolation;
}

interface Remembered {
  readonly key: string;
  readonly choice: Choice;
  readonly ino: number;
  readonly mtimeMs: number;
}

let last: Remembered | undefined;

/** The search takes milliseconds, which requests would feel at each reload: while the file is the same, so is the choice. */
export function chooseLibphp(config: Config): Choice {
  const threads = wantsThreads(config);
  const key = `${threads} ${config.php.libphp}`;
  if (last?.key === key) {
    const stats = statSync(last.choice.path, { throwIfNoEntry: false });
    if (stats?.ino === last.ino && stats.mtimeMs === last.mtimeMs) return last.choice;
  }
  const choice = searchLibphp(libphpCandidates(config.php.libphp), threads);
  const stats = statSync(choice.path, { throwIfNoEntry: false });
  last = stats === undefined ? undefined : { key, choice, ino: stats.ino, mtimeMs: stats.mtimeMs };
  return choice;
}

/** The first candidate that there is a shim for, and that is thread-safe if it has to be. */
function searchLibphp(candidates: readonly string[], threads: boolean): Choice {
  const [first] = candidates;
  if (first === undefined) {
    throw new PhprunError(
      "LIBPHP_MISSING",
      "Cannot find libphp: it must be installed or named. Install it (Debian: apt-get install libphp-embed) or set php.libphp to its path.",
    );
  }
  const known: LibphpInfo[] = [];
  for (const path of candidates) {
    const info = readBuildIfAny(path);
    if (info === null) continue;
    if (shimFor(info) !== undefined && (info.zts || !threads)) return { path, info };
    known.push(info);
  }
  if (known.length === 0) return { path: first, info: null };
  throw refusal(known, threads);
}

function refusal(known: readonly LibphpInfo[], threads: boolean): PhprunError {
  const seen = known.map((info) => `${info.path} with ${describeKind(info)}`).join(" and ");
  if (threads && !known.some(({ zts }) => zts)) {
    return new PhprunError(
      "LIBPHP_NOT_ZTS",
      `Cannot run workers in threads: libphp must be thread-safe (ZTS), received ${seen}. Run ./setup.sh --zts to build such a PHP, set php.libphp to one, or set isolation to process.`,
    );
  }
  const [only] = known;
  if (only !== undefined && known.length === 1) {
    try {
      requireShim(only);
    } catch (error) {
      if (error instanceof PhprunError) return error;
      throw error;
    }
  }
  return new PhprunError(
    "LIBPHP_API",
    `Cannot use any libphp that was found: it must have ${describeShims()}, which phprun was built for,${threads ? " and be thread-safe (ZTS)," : ""} received ${seen}. ${SHIM_REMEDY}.`,
  );
}
