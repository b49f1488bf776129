import { accessSync, constants, readFileSync, statSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Config, Listener } from "../../config/config.ts";
import { formatListen } from "../../config/listen.ts";
import { readPidFile } from "../pid-file.ts";
import { isAlive } from "../process.ts";
import { fail, type Finding, note, ok, warn } from "./finding.ts";

/** Folders, and the addresses to listen on. */
export async function checkPlaces(config: Config): Promise<Finding[]> {
  const listeners = config.server.listeners.map((listener) => checkListener(listener, config.server.pidFile));
  return [
    checkDocroot(config),
    checkWritable("The spool folder", config.server.spoolDir, "server.spool_dir"),
    checkTemporary(),
    ...(await Promise.all(listeners)),
  ];
}

function checkDocroot({ php }: Config): Finding {
  if (!allows(php.docroot, constants.R_OK | constants.X_OK)) {
    return fail(
      `The docroot ${php.docroot} cannot be read by this user`,
      `Give read access: chmod -R a+rX ${php.docroot}`,
    );
  }
  const { frontController } = php;
  const hasIndex = php.indexFiles.some(
    (file) => statSync(join(php.docroot, file), { throwIfNoEntry: false })?.isFile() === true,
  );
  if (hasIndex || (frontController !== null && allows(join(php.docroot, frontController), constants.R_OK)))
    return ok(`The docroot is ${php.docroot}`);
  return warn(
    `The docroot ${php.docroot} holds none of ${php.indexFiles.join(", ")}`,
    "Is it the right folder? Many frameworks want their `public` folder here",
  );
}

function checkWritable(name: string, folder: string, key: string): Finding {
  if (allows(folder, constants.W_OK | constants.X_OK)) return ok(`${name} ${folder} is writable`);
  return fail(
    `${name} ${folder} is not writable for this user`,
    `Set ${key} to a folder that is; large uploads are kept there`,
  );
}

/** The executable puts its embedded libraries there, and a noexec mount refuses to load them. */
function checkTemporary(): Finding {
  const folder = tmpdir();
  const options = mountOptions(folder);
  if (!allows(folder, constants.W_OK))
    return note(`The temporary folder ${folder} is not writable; TMPDIR can name another`);
  if (options.includes("noexec"))
    return note(
      `The temporary folder ${folder} is mounted noexec; TMPDIR can name another for the embedded libraries`,
    );
  return ok(`The temporary folder ${folder} can hold the embedded libraries`);
}

/** Options of the mount that a folder lies on: the longest mount point above it. */
function mountOptions(folder: string): readonly string[] {
  let best = "";
  let options: readonly string[] = [];
  for (const line of mounts().split("\n")) {
    const [, point = "", , list = ""] = line.split(" ");
    if (
      (folder === point || folder.startsWith(point.endsWith("/") ? point : `${point}/`)) &&
      point.length >= best.length
    ) {
      best = point;
      options = list.split(",");
    }
  }
  return options;
}

function mounts(): string {
  try {
    return readFileSync("/proc/self/mounts", "utf8");
  } catch {
    return "";
  }
}

async function checkListener(listener: Listener, pidFile: string | null): Promise<Finding> {
  const name = formatListen(listener);
  if (listener.kind === "tcp" && listener.port === 0) return ok(`${name} takes any free port`);
  const code = await tryListen(listener);
  if (code === null) return ok(`${name} is free`);
  const running = pidFile === null ? null : pidOf(pidFile);
  if (code === "EADDRINUSE" && running !== null)
    return ok(`${name} is in use, and phprun runs already as process ${running}`);
  if (code === "EADDRINUSE")
    return fail(
      `${name} is in use`,
      `Stop what listens there (\`ss -ltnp\` shows it), or choose another port`,
    );
  if (code === "EACCES")
    return fail(
      `${name} is not allowed for this user`,
      "Use a port above 1023, or give the executable CAP_NET_BIND_SERVICE",
    );
  return fail(`${name} cannot be listened on: ${code}`, "Is that address one of this machine's?");
}

/** Listen for a moment. A socket file that exists is left alone: trying would remove another server's. */
function tryListen(listener: Listener): Promise<string | null> {
  if (listener.kind === "unix") return Promise.resolve(null);
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    server.listen({ host: listener.host, port: listener.port, exclusive: true }, () =>
      server.close(() => resolve(null)),
    );
  });
}

function pidOf(pidFile: string): number | null {
  try {
    const pid = readPidFile(pidFile);
    return pid !== null && isAlive(pid) ? pid : null;
  } catch {
    return null;
  }
}

function allows(path: string, mode: number): boolean {
  try {
    accessSync(path, mode);
    return true;
  } catch {
    return false;
  }
}
