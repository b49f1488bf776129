import { buildApplication, withRealDocroot } from "./application.ts";
import type { Config, PoolConfig } from "./config/config.ts";
import type { ReloadOutcome } from "./control/controlled.ts";
import { PhprunError } from "./errors.ts";
import type { Front } from "./http/front.ts";
import { probeRequest } from "./http/probe-request.ts";
import type { Listeners } from "./listeners.ts";
import type { AccessLog } from "./log/access.ts";
import type { Log } from "./log/log.ts";
import type { PoolSetup } from "./pool/generation.ts";
import { hostEnvironment, hostOptions } from "./pool/host-options.ts";
import type { Pool } from "./pool/pool.ts";
import { Router } from "./route/router.ts";

/** How a pool is made from a configuration (with its docroot real) and the settings of that pool. */
export function poolSetup(config: Config, pool: PoolConfig): PoolSetup {
  return {
    config: pool,
    host: hostOptions(config, pool),
    env: hostEnvironment(config, pool),
    probe: probeRequest(config, new Router(config.php, { serveFiles: false })),
  };
}

/** Hears of every reload, whoever asked for it. */
export interface ReloadListener {
  begins(): void;
  ended(): void;
}

export interface ReloaderParts {
  readonly front: Front;
  readonly listeners: Listeners;
  readonly log: Log;
  readonly access: AccessLog;
  /** Reads the configuration anew; throws with everything that is wrong with it. */
  readonly readConfig: () => Promise<Config>;
  readonly makePool: (config: Config, setup: PoolSetup) => Pool;
}

/** What serves now. */
export interface Serving {
  readonly config: Config;
  readonly pools: readonly Pool[];
}

/** Puts a new configuration, new code and a new PHP in place of what serves, or leaves everything as it is. */
export class Reloader {
  readonly #parts: ReloaderParts;
  #serving: Serving;
  #running: Promise<ReloadOutcome> | undefined;
  #next: Promise<ReloadOutcome> | undefined;
  #stopped = false;
  /** Pools that no request leads to any more, until what they had has ended. */
  readonly #leaving = new Set<Pool>();
  /** What a reload that runs has begun to prepare. */
  #preparing: readonly Pool[] = [];
  listener: ReloadListener | undefined;
  done = 0;
  refused = 0;
  last: { at: string; ok: boolean; reason: string | null } | null = null;

  constructor(parts: ReloaderParts, serving: Serving) {
    this.#parts = parts;
    this.#serving = serving;
  }

  get serving(): Serving {
    return this.#serving;
  }

  /** Every pool that has processes, also those on their way out. */
  get pools(): readonly Pool[] {
    return [...this.#serving.pools, ...this.#leaving];
  }

  get isRunning(): boolean {
    return this.#running !== undefined;
  }

  /** No further reload; one that runs is let go of. */
  stop(): void {
    this.#stopped = true;
    for (const pool of this.#preparing) void this.#discard(pool);
  }

  /**
   * Settles when the new generations serve, or when the reload was refused. One that is asked for while another runs
   * comes after it: what changed meanwhile would be missed otherwise. Those that wait share one.
   */
  reload(by: string): Promise<ReloadOutcome> {
    // Between two that follow each other none runs: whoever asks then must not start a third beside them.
    if (this.#next !== undefined) return this.#next;
    if (this.#running === undefined) return (this.#running = this.#run(by));
    return (this.#next = this.#running.then(() => {
      this.#next = undefined;
      return (this.#running = this.#run(by));
    }));
  }

  async #run(by: string): Promise<ReloadOutcome> {
    const { log } = this.#parts;
    log.info("reloading", { by });
    this.listener?.begins();
    const outcome = await this.#try();
    this.#running = undefined;
    this.listener?.ended();
    this.last = { at: new Date().toISOString(), ok: outcome.ok, reason: outcome.ok ? null : outcome.reason };
    if (outcome.ok) {
      this.done++;
      log.info(`reloaded: ${outcome.notes.join("; ")}`, { by });
    } else {
      this.refused++;
      log.error(`reload refused, nothing has changed: ${outcome.reason}`, { by });
    }
    return outcome;
  }

  async #try(): Promise<ReloadOutcome> {
    const prepared: Pool[] = [];
    this.#preparing = prepared;
    try {
      const config = withRealDocroot(await this.#parts.readConfig());
      const pools: { pool: Pool; setup: PoolSetup }[] = [];
      for (const settings of config.pools) {
        // Requests come first: each of these steps takes milliseconds.
        await Bun.sleep(1);
        const next = this.#poolFor(config, settings);
        pools.push(next);
        prepared.push(next.pool);
      }
      const known = this.#serving.pools.flatMap(({ report }) => report?.startupErrors ?? []);
      // One after the other: a reload is to be felt as little as possible.
      for (const { pool, setup } of pools) {
        if (this.#stopped) throw new PhprunError("STOPPING", "the server is stopping");
        await pool.prepare(setup, known).catch((error: unknown) => {
          throw inPool(pool.name, error);
        });
      }
      if (this.#stopped) throw new PhprunError("STOPPING", "the server is stopping");
      for (const pool of prepared) pool.check();
      return { ok: true, notes: this.#commit(config, prepared) };
    } catch (error) {
      await Promise.all(prepared.map((pool) => this.#discard(pool)));
      if (this.#stopped) return { ok: false, reason: "the server is stopping" };
      return { ok: false, reason: error instanceof Error ? error.message : String(error) };
    } finally {
      this.#preparing = [];
    }
  }

  /** A pool of the same name lives on, with its queue and counters; another one is made. */
  #poolFor(config: Config, poolConfig: PoolConfig): { pool: Pool; setup: PoolSetup } {
    const setup = poolSetup(config, poolConfig);
    const { clientMaxBodyBytes, spoolDir } = config.server;
    const same = this.#serving.pools.find(
      (pool) =>
        pool.name === poolConfig.name &&
        pool.clientMaxBodyBytes === clientMaxBodyBytes &&
        pool.spoolDir === spoolDir,
    );
    return { pool: same ?? this.#parts.makePool(config, setup), setup };
  }

  #commit(config: Config, pools: readonly Pool[]): string[] {
    const { front, listeners, log, access } = this.#parts;
    const application = buildApplication(config, pools, log, access);
    const before = this.#serving;
    this.#serving = { config, pools };
    for (const pool of pools) pool.commit(config.reload.drainTimeoutMs);
    front.use(application);
    listeners.trust(config.server.trustedProxies);
    for (const pool of before.pools) {
      if (pools.includes(pool)) continue;
      this.#leaving.add(pool);
      void endGently(pool, config.reload.drainTimeoutMs).finally(() => this.#leaving.delete(pool));
    }
    const generations = pools.map(({ name, generation }) => `pool ${name} generation ${generation}`);
    return [...generations, ...needsRestart(before.config, config)];
  }

  async #discard(pool: Pool): Promise<void> {
    if (this.#serving.pools.includes(pool)) await pool.abandon();
    else await pool.end();
  }
}

function inPool(name: string, error: unknown): unknown {
  if (!(error instanceof PhprunError)) return error;
  return new PhprunError(error.code, `pool ${name}: ${error.message}`, { cause: error });
}

/** Its requests are finished, then it goes. */
async function endGently(pool: Pool, timeoutMs: number): Promise<void> {
  await pool.drain(timeoutMs);
  await pool.end();
}

/** What has changed and is read only at start. */
function needsRestart(before: Config, after: Config): string[] {
  const fixed = (config: Config): Readonly<Record<string, unknown>> => ({
    "server.listen": config.server.listeners,
    "server.keep_alive_timeout_ms": config.server.keepAliveTimeoutMs,
    "server.pid_file": config.server.pidFile,
    "server.control_socket": config.server.controlSocket,
    "server.memory_warn_mb": config.server.memoryWarnBytes,
    admin: config.admin,
    logging: { ...config.logging, access: null },
  });
  const old = fixed(before);
  return Object.entries(fixed(after)).flatMap(([key, value]) =>
    Bun.deepEquals(value, old[key]) ? [] : [`${key} has changed and takes effect after a restart`],
  );
}
