import { defineCommand } from "citty";
import type { Config } from "../config/config.ts";
import { loadConfig, loadConfigGently } from "../config/load.ts";
import { createLog, type Log } from "../log/log.ts";
import type { RunningServer, ServerOptions } from "../server.ts";
import { activatedSockets } from "../system/activation.ts";
import { Notifier, takeNotifySettings } from "../system/notify.ts";
import { reapOrphans } from "../system/orphans.ts";
import { configArg, textFlag } from "./args.ts";
import { print } from "./output.ts";
import { removePidFile, writePidFile } from "./pid-file.ts";
import { Signals } from "./signals.ts";
import { describeChanges } from "../watch/describe-changes.ts";
import { ownFiles } from "../watch/own-files.ts";
import { type FileWatch, watchFiles } from "../watch/watch-files.ts";

export const serve = defineCommand({
  meta: { name: "serve", description: "Serve a PHP application" },
  args: {
    ...configArg,
    root: { type: "string", valueHint: "dir", description: "Folder to serve (php.docroot)" },
    host: { type: "string", valueHint: "address", description: "Address to listen on (server.host)" },
    port: {
      type: "string",
      alias: "p",
      valueHint: "number",
      description: "TCP port; 0 takes any free one (server.port)",
    },
    workers: {
      type: "string",
      alias: "w",
      valueHint: "number",
      description: "PHP workers of the only pool (pools[0].worker_count)",
    },
    "worker-script": {
      type: "string",
      valueHint: "file",
      description: "Script that boots the application once, of the only pool (pools[0].worker_script)",
    },
    isolation: {
      type: "string",
      valueHint: "process|thread|auto",
      description: "How workers are kept apart (php.isolation)",
    },
    watch: { type: "boolean", description: "Reload when a file changes, for development (section watch)" },
    paranoid: {
      type: "boolean",
      description: "Worker mode: log what each request leaves behind, for development (worker.paranoid)",
    },
  },
  async run({ args }) {
    const flag = (name: "config" | "root" | "host" | "port" | "workers" | "worker-script" | "isolation") =>
      textFlag(args[name]);
    const flags = {
      config: flag("config"),
      root: flag("root"),
      host: flag("host"),
      port: flag("port"),
      workers: flag("workers"),
      isolation: flag("isolation"),
      workerScript: flag("worker-script"),
      paranoid: args.paranoid === true,
    };
    const cwd = process.cwd();
    const env = { ...process.env };
    const readConfig = () => loadConfigGently({ flags, env, cwd });
    await serveUntilStopped(loadConfig({ flags, env, cwd }), readConfig, args.watch === true);
  },
});

/** How long a start that was told to stop may go on before it is left behind. */
const START_GRACE_MS = 5_000;

async function serveUntilStopped(
  config: Config,
  readConfig: () => Promise<Config>,
  watching: boolean,
): Promise<void> {
  const signals = new Signals();
  const log = createLog(config.logging);
  const { pidFile } = config.server;
  // The signals are ours from here on, so that one that comes during start-up is not lost.
  signals.listen();
  const notifier = new Notifier(takeNotifySettings(), { onError: ({ message }) => log.warn(message) });
  const sockets = activatedSockets();
  const stopReaping = reapOrphans();
  if (pidFile !== null) writePidFile(pidFile);
  const started = Promise.withResolvers<RunningServer | null>();
  let watch: FileWatch | null = null;
  try {
    // Before the start: what changes meanwhile counts too.
    if (watching) watch = reloadOnChange(config, log, started.promise);
    const server = await start(
      { config, log, readConfig, sockets, onStop: () => signals.count("stop") },
      signals,
    );
    started.resolve(server);
    if (server !== null) await runUntilStopped(server, signals, notifier, watching);
  } finally {
    notifier.close();
    stopReaping();
    started.resolve(null);
    watch?.close();
    if (pidFile !== null) removePidFile(pidFile);
    log.close();
  }
}

/** The started server; null when it was told to stop and did not get ready in time. */
async function start(options: ServerOptions, signals: Signals): Promise<RunningServer | null> {
  const { startServer } = await import("../server.ts");
  const impatient = Promise.race([
    signals.stopAsked(1).then(() => Bun.sleep(START_GRACE_MS)),
    signals.stopAsked(2),
  ]);
  const started = startServer(options).catch((error: unknown) => {
    // A service manager's signal ends a host that is still starting as well: that is no failure of the start.
    if (signals.stopping) return null;
    throw error;
  });
  return Promise.race([started, impatient.then(() => null)]);
}

function reloadOnChange(config: Config, log: Log, started: Promise<RunningServer | null>): FileWatch {
  const root = config.watch.paths[0] ?? config.php.docroot;
  const onChange = async (changes: readonly string[]): Promise<void> => {
    const server = await started;
    await server?.reload(`watch: ${describeChanges(changes, root)}`);
  };
  return watchFiles(config.watch, onChange, log, ownFiles(config));
}

/** Act on signals until the server is asked to stop, then see it out. */
export async function runUntilStopped(
  server: RunningServer,
  signals: Signals,
  notifier: Notifier,
  watching = false,
): Promise<void> {
  // It may also fail while nobody waits for it: during the stop, say.
  server.failed.catch(() => {});
  print(`${server.banner}\n`);
  const serving = `Serving ${server.urls.join(", ")}`;
  server.onReload({ begins: () => notifier.reloading(), ended: () => notifier.ready(serving) });
  notifier.ready(serving);
  // Somebody who is changing files may well mend what has failed: a reload then brings it back.
  const failed = watching ? new Promise<never>(() => {}) : server.failed;
  try {
    for (;;) {
      const asked = await Promise.race([signals.next(), failed]);
      if (asked === "stop") break;
      if (asked === "reload") void server.reload("signal");
      else server.reopenLogs();
    }
  } catch (error) {
    await server.stopNow();
    throw error;
  }
  notifier.stopping();
  await Promise.race([server.stop(), signals.stopAsked(2).then(() => server.stopNow())]);
}
