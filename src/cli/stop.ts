import { resolve } from "node:path";
import { defineCommand } from "citty";
import { loadConfig } from "../config/load.ts";
import { PhprunError } from "../errors.ts";
import { configArg, textFlag } from "./args.ts";
import { say } from "./output.ts";
import { readPidFile } from "./pid-file.ts";
import { isAlive, looksLikeServer } from "./process.ts";

const POLL_MS = 20;
/** Time beyond the server's own limit for its hosts and files to be cleared away. */
const GRACE_MS = 10_000;

export const stop = defineCommand({
  meta: { name: "stop", description: "Stop a running server: requests that run are finished first" },
  args: {
    ...configArg,
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
    const target = findTarget(textFlag(args.pid), textFlag(args["pid-file"]), textFlag(args.config));
    const waitMs =
      args.timeout === undefined ? target.waitMs : wholeNumber("--timeout", args.timeout, 0) * 1000;
    signal(target.pid);
    const deadline = Date.now() + waitMs;
    while (isAlive(target.pid)) {
      if (Date.now() >= deadline) {
        throw new PhprunError(
          "STOP_TIMEOUT",
          `Cannot stop process ${target.pid}: it still runs after ${waitMs / 1000} s; a second "phprun stop" ends it at once`,
        );
      }
      await Bun.sleep(POLL_MS);
    }
    say.success(`Process ${target.pid} has stopped`);
  },
});

interface Target {
  readonly pid: number;
  readonly waitMs: number;
}

function findTarget(
  pid: string | undefined,
  pidFile: string | undefined,
  config: string | undefined,
): Target {
  if (pid !== undefined) {
    const id = wholeNumber("--pid", pid, 1);
    if (!isAlive(id)) throw new PhprunError("NOT_RUNNING", `Cannot stop process ${id}: there is none`);
    return { pid: id, waitMs: 30_000 + GRACE_MS };
  }
  if (pidFile !== undefined) return { pid: pidFrom(resolve(pidFile)), waitMs: 30_000 + GRACE_MS };
  const { server } = loadConfig({ flags: { config } });
  if (server.pidFile === null) {
    throw new PhprunError(
      "USAGE_NO_PID",
      "Cannot stop: the configuration names no server.pid_file; give --pid or --pid-file",
    );
  }
  return { pid: pidFrom(server.pidFile), waitMs: server.stopTimeoutMs + GRACE_MS };
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

function signal(pid: number): void {
  try {
    process.kill(pid, "SIGTERM");
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ESRCH") return;
    throw new PhprunError("STOP_REFUSED", `Cannot stop process ${pid}: ${(cause as Error).message}`, {
      cause,
    });
  }
}

function wholeNumber(flag: string, text: string, min: number): number {
  if (/^\d{1,9}$/.test(text) && Number(text) >= min) return Number(text);
  throw new PhprunError(
    "USAGE_INVALID",
    `Cannot use ${flag}: must be a whole number, ${min} or more, received "${text}"`,
  );
}
