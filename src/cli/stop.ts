import { resolve } from "node:path";
import { defineCommand } from "citty";
import type { Config } from "../config/config.ts";
import { loadConfig } from "../config/load.ts";
import { askStop } from "../control/client.ts";
import { findSocket, notRunning } from "../control/find.ts";
import { PhprunError } from "../errors.ts";
import { configArg, socketArg, textFlag, wholeNumber } from "./args.ts";
import { say } from "./output.ts";
import { readPidFile } from "./pid-file.ts";
import { isAlive, looksLikeServer } from "./process.ts";
import { wantedBy, wantedServer } from "./wanted.ts";

const POLL_MS = 20;
/** Time beyond the server's own limit for its hosts and files to be cleared away. */
const GRACE_MS = 10_000;
/** The default of server.stop_timeout_ms, for a server whose configuration was not read. */
const STOP_MS = 30_000;

export const stop = defineCommand({
  meta: { name: "stop", description: "Stop a running server: requests that run are finished first" },
  args: {
    ...configArg,
    ...socketArg,
    pid: { type: "string", valueHint: "id", description: "Process to stop, in place of the pid file's" },
    "pid-file": {
      type: "string",
      valueHint: "file",
      description: "Pid file, in place of the configuration's",
    },
    timeout: {
      type: "string",
      valueHint: "seconds",
      description: "How long to wait; by default the server's stop_timeout_ms and 10 s",
    },
  },
  async run({ args }) {
    const waitMs = args.timeout === undefined ? undefined : wholeNumber("--timeout", args.timeout, 0) * 1000;
    const target = await stopTarget(
      textFlag(args.pid),
      textFlag(args["pid-file"]),
      textFlag(args.socket),
      textFlag(args.config),
    );
    await gone(target.pid, waitMs ?? target.waitMs);
    say.success(`Process ${target.pid} has stopped`);
  },
});

interface Target {
  readonly pid: number;
  readonly waitMs: number;
}

/** Find the server and ask it to stop: by what was named, else by its control socket, else by its pid file. */
async function stopTarget(
  pid: string | undefined,
  pidFile: string | undefined,
  socket: string | undefined,
  config: string | undefined,
): Promise<Target> {
  const waitMs = STOP_MS + GRACE_MS;
  if (pid !== undefined) {
    const id = wholeNumber("--pid", pid, 1);
    if (!isAlive(id)) throw new PhprunError("NOT_RUNNING", `Cannot stop process ${id}: there is none`);
    return { pid: signal(id), waitMs };
  }
  if (pidFile !== undefined) return { pid: signal(pidFrom(resolve(pidFile))), waitMs };
  if (socket !== undefined) return { pid: await askStop(resolve(socket)), waitMs };
  return await stopConfigured(config);
}

async function stopConfigured(flag: string | undefined): Promise<Target> {
  const { config, problem } = settled(flag);
  const wanted = config === null ? wantedServer(undefined, flag) : wantedBy(config);
  const waitMs = (config?.server.stopTimeoutMs ?? STOP_MS) + GRACE_MS;
  const pidFile = config?.server.pidFile ?? null;
  try {
    const socket = await findSocket(wanted, false);
    if (socket !== null) return { pid: await askStop(socket), waitMs };
  } catch (error) {
    // A signal may still reach a server that does not answer.
    if (pidFile === null) throw error;
  }
  if (problem !== null) throw problem;
  if (pidFile !== null) return { pid: signal(pidFrom(pidFile)), waitMs };
  const { message } = await notRunning(wanted);
  throw new PhprunError(
    "USAGE_NO_PID",
    `Cannot stop: the configuration names no server.pid_file, and ${message}`,
  );
}

/** A configuration that is wrong by now must not keep its server from being stopped. */
function settled(
  flag: string | undefined,
): { config: Config; problem: null } | { config: null; problem: unknown } {
  try {
    return { config: loadConfig({ flags: { config: flag } }), problem: null };
  } catch (problem) {
    return { config: null, problem };
  }
}

async function gone(pid: number, waitMs: number): Promise<void> {
  const deadline = Date.now() + waitMs;
  while (isAlive(pid)) {
    if (Date.now() >= deadline) {
      throw new PhprunError(
        "STOP_TIMEOUT",
        `Cannot stop process ${pid}: it still runs after ${waitMs / 1000} s; a second "phprun stop" ends it at once`,
      );
    }
    await Bun.sleep(POLL_MS);
  }
}

function pidFrom(path: string): number {
  const pid = readPidFile(path);
  if (pid === null)
    throw new PhprunError("NOT_RUNNING", `Cannot stop: phprun does not run, there is no ${path}`);
  if (!isAlive(pid) || !looksLikeServer(pid)) {
    throw new PhprunError(
      "NOT_RUNNING",
      `Cannot stop: phprun does not run; ${path} is left over from process ${pid}`,
    );
  }
  return pid;
}

function signal(pid: number): number {
  try {
    process.kill(pid, "SIGTERM");
    return pid;
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ESRCH") return pid;
    throw new PhprunError("STOP_REFUSED", `Cannot stop process ${pid}: ${(cause as Error).message}`, {
      cause,
    });
  }
}
