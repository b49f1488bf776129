import { Leaving } from "../../ffi/layout.ts";
import type { PoolMemory } from "../../ffi/pool-memory.ts";
import { PhprunError } from "../errors.ts";
import type { Log } from "../log/log.ts";
import type { CrashScene } from "./crash-scene.ts";
import type { LogRecord } from "./log-channel.ts";
import type { Exit } from "./messages.ts";
import type { Running, Slots } from "./slots.ts";
import { describeExit } from "./workers.ts";

/** What a generation says, and what is said of it. */
export class GenerationLog {
  readonly #log: Log;
  readonly #number: number;
  readonly #memory: PoolMemory;
  readonly #slots: Slots;
  /** The host asks to be replaced. */
  readonly #renew: (why: string) => void;
  /** What PHP complains of while somebody wants to hear of it. */
  #complaints: string[] | null = null;
  /** While it starts, what it says is told by whoever started it. */
  silent = true;

  constructor(log: Log, number: number, slots: Slots, renew: (why: string) => void) {
    this.#log = log;
    this.#number = number;
    this.#renew = renew;
    this.#slots = slots;
    this.#memory = slots.memory;
  }

  /** Collects from here on, until null is given. */
  collect(complaints: string[] | null): void {
    this.#complaints = complaints;
  }

  /** How a worker is named. Its record stays until its successor is started. */
  nameOf(worker: number): { worker: number; gen: number; pid: number } {
    return { worker, gen: this.#number, pid: this.#memory.worker(worker).pid };
  }

  record(record: LogRecord): void {
    if (record.level === "slow") return this.#slowRecord(record);
    if (record.level === "renew") return this.#renew(record.text);
    this.#complaints?.push(record.text.trim());
    if (this.silent) return;
    this.#log[record.level](record.text, {
      ...record.fields,
      ...(record.worker === null ? {} : this.nameOf(record.worker)),
      ...(record.script === "" ? {} : { script: record.script }),
    });
  }

  /** A line on the standard error or output of the host or a worker. */
  line(text: string): void {
    this.#complaints?.push(text.trim());
    if (!this.silent) this.#log.warn(text, { source: "stderr", gen: this.#number });
  }

  replaced(worker: number, why: string): void {
    this.#log.info(`replacing a worker: it ${why}`, this.nameOf(worker));
  }

  killed(worker: number, why: string, running?: Running): void {
    this.#log.warn(`killed a worker: ${why}`, { ...this.nameOf(worker), ...running?.job.about });
  }

  died(worker: number, pid: number, exit: Exit, running: Running | undefined, place: string): void {
    this.#log.error(`a worker died: ${describeExit(exit)}`, {
      ...this.nameOf(worker),
      pid,
      ...running?.job.about,
      ...(place === "" ? {} : { in: place }),
    });
  }

  /** A thread that cannot be killed. */
  lost(worker: number, from: string, running?: Running): void {
    this.#log.error(
      `worker ${worker} does not come back from ${from}, and a thread cannot be killed; its host will be replaced`,
      { ...this.nameOf(worker), ...running?.job.about },
    );
  }

  /** Worker mode: its script came to its end. */
  ended(worker: number, leaving: number): void {
    const name = this.nameOf(worker);
    if (leaving === Leaving.boot) this.#log.error("a worker did not boot: its script has ended", name);
    if (leaving === Leaving.fatal) this.replaced(worker, "was ended by a fatal error");
    if (leaving === Leaving.exception) this.replaced(worker, "had an uncaught exception");
    if (leaving === Leaving.script) this.#log.debug("a worker's script has ended", name);
  }

  cameBack(worker: number, pid: number): void {
    this.#log.info("a lost worker came back, and has ended", { ...this.nameOf(worker), pid });
  }

  /** A host of threads has died: one of them has crashed, as far as is known, and the others are lost with it. */
  crashed({ culprit, requests, others }: CrashScene, exit: Exit): void {
    if (culprit !== null) {
      this.#log.error(`a worker crashed, and took its host with it: ${describeExit(exit)}`, {
        ...this.nameOf(culprit.worker),
        ...requests.get(culprit.worker)?.job.about,
        in: culprit.place,
      });
    }
    if (others.length === 0) return;
    const who =
      others.length === 1 ? "1 worker is lost with its" : `${others.length} workers are lost with their`;
    const had = others.filter((number) => requests.has(number)).length;
    const what = had === 0 ? "no request" : had === 1 ? "1 request" : `${had} requests`;
    // Killed from outside, or ended by _exit(): it may have been any of them.
    const at = culprit !== null || had === 0 ? {} : { scripts: scriptsOf(requests.values()) };
    this.#log.warn(`${who} host, and with it ${what}`, { gen: this.#number, ...at });
  }

  /** Once per request. `trace`: where its script is; empty when that is not known. */
  slow(running: Running, worker: number, trace: string): void {
    if (running.slow === "told") return;
    running.slow = "told";
    const seconds = ((performance.now() - running.runningSinceMs) / 1000).toFixed(1);
    this.#log.warn(`slow request: ${seconds} s so far${trace === "" ? "" : `, ${trace}`}`, {
      ...this.nameOf(worker),
      ...running.job.about,
    });
  }

  #slowRecord({ worker, request, text }: LogRecord): void {
    for (const [slot, running] of this.#slots.running()) {
      if (this.#memory.requestId(slot) === request) return this.slow(running, worker ?? 0, text);
    }
  }
}

/** A few of them, each once. */
function scriptsOf(requests: Iterable<Running>): string {
  const scripts = new Set([...requests].map(({ job }) => job.facts.script));
  return [...scripts].slice(0, 4).join(", ") + (scripts.size > 4 ? ", …" : "");
}

export function startError(why: string): PhprunError {
  return new PhprunError("HOST_START", `Cannot start PHP: ${why}`);
}

/** The error with what PHP itself had to say. */
export function withComplaints(error: unknown, complaints: readonly string[]): unknown {
  if (!(error instanceof PhprunError) || complaints.length === 0) return error;
  return new PhprunError(error.code, [error.message, ...new Set(complaints)].join("\n  "), {
    exitCode: error.exitCode,
    cause: error,
  });
}
