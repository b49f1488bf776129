import { parseArgs } from "node:util";
import { join, resolve } from "node:path";

export interface Options {
  /** The executable under test. */
  readonly phprun: string;
  readonly rounds: number;
  readonly roundMs: number;
  /** Names (or parts of names) of the only measurements wanted; empty for all. */
  readonly only: readonly string[];
  readonly quick: boolean;
  /** A fixed number of phprun workers, in place of the best of 2, 4 and 8. */
  readonly workers: number | undefined;
  readonly json: string;
  /** Compare threads with processes, on this thread-safe libphp, in place of phprun with php-fpm. */
  readonly isolation: boolean;
  readonly libphp: string | undefined;
}

export const usage = `Usage: npm run bench -- [options]

Runs phprun and nginx + php-fpm side by side and compares them. A full run takes about 20 minutes.
With --isolation it compares threads with processes instead, which takes about 5 minutes.

Options:
  --quick          2 rounds of 2 s, and smaller transfers: for trying things out, not for publishing
  --only NAME      measure this alone; may be repeated, and part of a name will do:
                   hello, browser, post, 100kb, includes, static-3kb, static-10mb, memory, start, transfers;
                   for worker mode alone: worker, or of it worker-hello, worker-laravel, worker-symfony, worker-fork
  --rounds N       rounds per server and workload (default 5)
  --duration S     seconds per round (default 3)
  --workers N      use N phprun workers instead of finding the best number
  --phprun FILE    the executable to measure (default ./phprun)
  --json FILE      where the results go (default bench/results/latest.json, or isolation.json beside it)
  --isolation      threads and processes side by side, on the same thread-safe PHP; also for --only: respawn, crash
  --libphp FILE    that PHP (default: the one that ./setup.sh --zts provides)
  -h, --help       show this text
`;

const root = resolve(import.meta.dirname, "..");
export const defaultJson = join(root, "bench/results/latest.json");
const isolationJson = join(root, "bench/results/isolation.json");

/** Undefined when only the help is wanted. */
export function readOptions(args: string[]): Options | undefined {
  const { values } = parseArgs({
    args,
    options: {
      quick: { type: "boolean", default: false },
      only: { type: "string", multiple: true, default: [] },
      rounds: { type: "string" },
      duration: { type: "string" },
      workers: { type: "string" },
      phprun: { type: "string", default: join(root, "phprun") },
      json: { type: "string" },
      isolation: { type: "boolean", default: false },
      libphp: { type: "string" },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) return undefined;
  const seconds = positive("--duration", values.duration) ?? (values.quick ? 2 : 3);
  return {
    phprun: resolve(values.phprun),
    rounds: whole("--rounds", values.rounds) ?? (values.quick ? 2 : 5),
    roundMs: seconds * 1000,
    only: values.only,
    quick: values.quick,
    workers: whole("--workers", values.workers),
    json: resolve(values.json ?? (values.isolation ? isolationJson : defaultJson)),
    isolation: values.isolation,
    libphp: values.libphp,
  };
}

/** True when `name` is to be measured. */
export function wants(options: Options, name: string): boolean {
  return options.only.length === 0 || options.only.some((part) => name.includes(part));
}

function positive(flag: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (value > 0 && value <= 600) return value;
  throw new Error(`Cannot use ${flag}: must be a number above 0, received "${text}"`);
}

function whole(flag: string, text: string | undefined): number | undefined {
  const value = positive(flag, text);
  if (value === undefined || Number.isInteger(value)) return value;
  throw new Error(`Cannot use ${flag}: must be a whole number, received "${text}"`);
}
