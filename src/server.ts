import { totalmem } from "node:os";
import { raiseOpenFiles } from "../ffi/system.ts";
import { buildApplication, withRealDocroot } from "./application.ts";
import { banner } from "./banner.ts";
import type { Config } from "./config/config.ts";
import { type Admin, startAdmin } from "./control/admin.ts";
import { type ControlServer, startControl } from "./control/control-server.ts";
import type { Controlled, ReloadOutcome } from "./control/controlled.ts";
import { PhprunError } from "./errors.ts";
import { Front } from "./http/front.ts";
import { Listeners } from "./listeners.ts";
import { createAccessLog } from "./log/access.ts";
import type { Log } from "./log/log.ts";
import { findMemoryCgroups, lowestLimit } from "./monitor/cgroup.ts";
import { describeMemoryBudget } from "./monitor/memory-budget.ts";
import { Monitor } from "./monitor/monitor.ts";
import { watched } from "./pool-watch.ts";
import type { PoolSetup } from "./pool/generation.ts";
import { Pool } from "./pool/pool.ts";
import { poolSetup, Reloader, type ReloadListener } from "./reload.ts";
import type { ActivatedSocket } from "./system/activation.ts";
import { serverStatus } from "./server-status.ts";
import { threadWarnings } from "./thread-warnings.ts";

export interface RunningServer {
  readonly urls: readonly string[];
  /** What to tell the user at start. */
  readonly banner: string;
  reload(by: string): Promise<ReloadOutcome>;
  onReload(listener: ReloadListener): void;
  /** Stops accepting, finishes what runs (bounded by server.stop_timeout_ms), ends every process. */
  stop(): Promise<void>;
  /** Ends everything now. */
  stopNow(): Promise<void>;
  reopenLogs(): void;
  /** Rejects when the server can no longer serve anything. */
  readonly failed: Promise<never>;
}

export interface ServerOptions {
  readonly config: Config;
  readonly log: Log;
  /** Reads the configuration anew, for a reload; throws with everything that is wrong with it. */
  readonly readConfig: () => Promise<Config>;
  /** Open listeners of the service manager, to be served in place of those of the configuration. */
  readonly sockets: readonly ActivatedSocket[];
  /** Somebody has asked for a stop by the control socket. */
  readonly onStop: () => void;
}

/** How long a client may take for the error page that a request cut off by the stop is answered with. */
const LAST_ANSWERS_MS = 200;

/** Brings PHP up, then opens the listeners. */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  const { log } = options;
  const openFiles = raiseOpenFiles();
  const config = withRealDocroot(options.config);
  const failure = Promise.withResolvers<never>();
  failure.promise.catch(() => undefined);
  const access = createAccessLog(config.logging);
  const startedAt = new Date();
  let stopping = false;

  const makePool = (settings: Config, setup: PoolSetup): Pool =>
    new Pool({
      setup,
      spoolDir: settings.server.spoolDir,
      clientMaxBodyBytes: settings.server.clientMaxBodyBytes,
      drainTimeoutMs: settings.reload.drainTimeoutMs,
      log,
      isSaturated: (nice) => monitor.cpuSaturated(nice),
      onFailed: () => {
        if (reloader.serving.pools.some((pool) => pool.failure === null)) return;
        failure.reject(
          new PhprunError("POOLS_FAILED", "Cannot go on: every pool has been given up, see the log"),
        );
      },
    });
  const pools = config.pools.map((pool) => makePool(config, poolSetup(config, pool)));
  const front = new Front(buildApplication(config, pools, log, access));
  const listeners = new Listeners();
  const reloader = new Reloader(
    { front, listeners, log, access, readConfig: options.readConfig, makePool },
    { config, pools },
  );
  const livePools = (): readonly Pool[] => reloader.pools;
  const monitor = new Monitor({
    pools: () => watched(livePools()),
    memoryWarnBytes: config.server.memoryWarnBytes,
    actions: {
      replace: (worker, why) => worker.source.retire(worker.number, "memory", why),
      kill: (worker, why) => worker.source.killForMemory(worker.number, why),
      // One that is on its way out, or not in yet, is no reason to replace the one that serves.
      rollGeneration: (host, why) => {
        if (host.generation === host.owner.generation) host.owner.roll(why);
      },
      warn: (text, fields) => log.warn(text, fields),
    },
  });
  const controlled: Controlled = {
    status: () =>
      serverStatus({
        reloader,
        urls: listeners.urls,
        startedAt,
        stopping,
        sampleOf: (pid) => monitor.latest(pid),
      }),
    reload: (by) => reloader.reload(by),
    stop: options.onStop,
  };
  const budget = describeMemoryBudget(config, lowestLimit(findMemoryCgroups()), totalmem());
  let admin: Admin | null = null;
  let control: ControlServer | null = null;

  const end = async (): Promise<void> => {
    stopping = true;
    monitor.stop();
    await Promise.all(livePools().map((pool) => pool.end()));
    await Promise.all([control?.stop(), admin?.stop()]);
    access.close();
  };
  try {
    await Promise.all(pools.map((pool) => pool.start()));
    // PHP complains alike in every pool, unless they have settings of their own.
    for (const message of new Set(pools.flatMap(({ report }) => report?.startupErrors ?? []))) {
      log.warn(message, { source: "php start" });
    }
    for (const { level, text } of threadWarnings(pools, config.php.ini)) log[level](text);
    admin = await startAdmin(config.admin, controlled, log);
    await listeners.open(config, front, options.sockets);
    control = await startControl(options.config, controlled, log);
    monitor.start();
    if (budget !== null && config.logging.file !== null) log.warn(budget);
  } catch (error) {
    listeners.close();
    await end();
    throw error;
  }

  const close = async (now: boolean): Promise<void> => {
    stopping = true;
    reloader.stop();
    const answered = listeners.stop(now);
    const { stopTimeoutMs } = reloader.serving.config.server;
    if (!now) {
      const deadline = Bun.sleep(stopTimeoutMs);
      const rested = await Promise.all(livePools().map((pool) => pool.drain(stopTimeoutMs)));
      if (rested.includes(false)) log.warn(`requests did not end within ${stopTimeoutMs} ms and are cut off`);
      await Promise.race([answered, deadline]);
    }
    await end();
    // The answers to requests that were just cut off are on their way.
    await Promise.race([answered, Bun.sleep(LAST_ANSWERS_MS)]);
    listeners.close();
  };
  let closing: Promise<void> | undefined;
  return {
    urls: listeners.urls,
    banner: banner({
      config,
      pools,
      budget,
      ...(admin === null ? {} : { adminUrl: admin.url }),
      urls: listeners.urls,
      openFiles,
      asRoot: process.getuid?.() === 0,
    }),
    reload: (by) => reloader.reload(by),
    onReload: (listener) => {
      reloader.listener = listener;
    },
    stop: () => (closing ??= close(false)),
    stopNow: () => close(true),
    reopenLogs: () => {
      log.reopen();
      access.reopen();
    },
    failed: failure.promise,
  };
}
