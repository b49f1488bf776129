import { WorkerState } from "../../ffi/layout.ts";
import type { PoolMemory } from "../../ffi/pool-memory.ts";
import type { PoolConfig } from "../config/config.ts";
import { PhprunError } from "../errors.ts";
import { Boots } from "./boots.ts";
import { AppOption, type AppOptions, type Exit } from "./messages.ts";
import { describeExit, EXIT_BOOT, EXIT_CONNECTIONS, type Workers } from "./workers.ts";

/** What has to be done about scripts that boot, or end, and take too long for it. */
export interface BootActions {
  /** PHP is to end the worker's script by itself. */
  askToEnd(worker: number): void;
  kill(worker: number, what: "boot" | "end"): void;
  /** The same of the host, while the application boots in it. */
  askTemplateToEnd(): void;
  killTemplate(): void;
  /** The first worker has booted: the others may be started. */
  first(): void;
}

/** The boots of a generation in worker mode: whether its application boots, in which workers it has, and why not. */
export class Booting {
  /** Does a host with the application booted fork the workers? */
  readonly hasTemplate: boolean;
  /** The application has connections open, so that copies of it cannot be made. */
  hasConnections = false;
  readonly #script: string;
  readonly #config: PoolConfig;
  readonly #memory: PoolMemory;
  readonly #workers: Workers;
  readonly #actions: BootActions;
  readonly #boots: Boots;
  /** Some worker has booted, or the template. */
  #booted = false;
  /** Some worker has been able to take requests; one of a template comes through the hooks behind the fork first. */
  #wasAble = false;
  /** When the template began to boot; null when there is none, or it has booted. */
  #templateSinceMs: number | null = null;
  #templateStage: "boots" | "asked-to-end" | "killed" = "boots";
  /** Why the first boot failed while none had succeeded; empty when PHP itself has said it. */
  #failure: string | null = null;

  constructor(
    app: AppOptions,
    config: PoolConfig,
    memory: PoolMemory,
    workers: Workers,
    actions: BootActions,
  ) {
    this.hasTemplate = (app.options & AppOption.template) !== 0;
    this.#script = app.script;
    this.#config = config;
    this.#memory = memory;
    this.#workers = workers;
    this.#actions = actions;
    this.#boots = new Boots(config.worker, config.killAfterMs);
  }

  /** It is told by whoever waits for the boot, and by nobody else. */
  get hasFailed(): boolean {
    return this.#failure !== null;
  }

  /** How many workers may be started now. Until one has shown that it boots, the others wait: a failure is told once. */
  get mayStart(): number {
    return this.#booted || this.hasTemplate ? Number.POSITIVE_INFINITY : Math.max(0, 1 - this.#workers.alive);
  }

  /** Workers that are there and have booted. */
  get able(): number {
    let count = 0;
    for (const { number, state } of this.#workers.all)
      if (state === "running" && this.#memory.worker(number).bootedNs > 0) count++;
    return count;
  }

  /** Can a worker take requests? */
  hasBooted(): boolean {
    if (this.#booted && !this.hasTemplate) return true;
    const there = this.able > 0;
    this.#wasAble ||= there;
    if (there && !this.#booted) {
      this.#booted = true;
      this.#actions.first();
    }
    return there;
  }

  /** Why it has not booted; `ended`: how its host has ended, null while it has not. */
  error(ended: string | null): PhprunError {
    if (this.hasConnections)
      return new PhprunError("BOOT_CONNECTIONS", `${this.#script} has connections open`);
    const host = ended === null ? "it is not wanted any more" : `its host ended with ${ended}`;
    const why = this.#failure ?? host;
    return new PhprunError(
      "BOOT",
      `The worker script ${this.#script} did not boot${why === "" ? "" : `: ${why}`}`,
    );
  }

  /** PHP has started in the host, which goes on to boot the application if it is a template. */
  hostStarted(nowMs: number): void {
    // It may have booted before we were done with its report.
    if (this.hasTemplate && !this.#booted) this.#templateSinceMs = nowMs;
  }

  templateBooted(): void {
    this.#templateSinceMs = null;
    this.#booted = true;
  }

  hostEnded(exit: Exit): void {
    this.#templateSinceMs = null;
    this.hasConnections = "code" in exit && exit.code === EXIT_CONNECTIONS;
    if (!this.#booted && this.hasTemplate && endedByItself(exit)) this.#failure ??= "";
  }

  /** Returns whether the worker that has ended had never booted. */
  workerEnded(worker: number, exit: Exit): boolean {
    this.#boots.forget(worker);
    const neverBooted = this.#memory.worker(worker).bootedNs === 0;
    this.#wasAble ||= !neverBooted || this.able > 0;
    if (neverBooted && !this.#wasAble) this.#failure ??= endedByItself(exit) ? "" : describeExit(exit);
    return neverBooted;
  }

  /** Looks at what takes too long. */
  sweep(nowMs: number): void {
    if (!this.#booted) this.hasBooted();
    this.#sweepTemplate(nowMs);
    for (const { number, state } of this.#workers.all) {
      if (state === "absent" || state === "starting" || state === "lost") continue;
      const { state: now } = this.#memory.worker(number);
      const due = this.#boots.step(number, now, nowMs);
      if (due === "nothing") continue;
      this.#memory.overdue(number);
      if (due === "ask-to-end") {
        this.#actions.askToEnd(number);
        continue;
      }
      if (!this.#booted) this.#failure ??= this.#tookTooLong();
      this.#actions.kill(number, now === WorkerState.starting ? "boot" : "end");
    }
  }

  #sweepTemplate(nowMs: number): void {
    if (this.#templateSinceMs === null) return;
    const { worker, killAfterMs } = this.#config;
    const tookMs = nowMs - this.#templateSinceMs;
    if (this.#templateStage === "boots" && tookMs > worker.bootTimeoutMs) {
      this.#templateStage = "asked-to-end";
      this.#actions.askTemplateToEnd();
    } else if (this.#templateStage === "asked-to-end" && tookMs > worker.bootTimeoutMs + killAfterMs) {
      this.#templateStage = "killed";
      this.#failure = this.#tookTooLong();
      this.#actions.killTemplate();
    }
  }

  #tookTooLong(): string {
    return `it took longer than ${this.#config.worker.bootTimeoutMs} ms (worker.boot_timeout_ms)`;
  }
}

/** In good order, or without having booted, which is told elsewhere. */
export function endedByItself(exit: Exit): boolean {
  return "code" in exit && (exit.code === 0 || exit.code === EXIT_BOOT);
}
