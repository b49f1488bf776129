import { linkSync, lstatSync, readdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { Elysia } from "elysia";
import type { Config } from "../config/config.ts";
import { parseListen } from "../config/listen.ts";
import { PhprunError } from "../errors.ts";
import type { Log } from "../log/log.ts";
import { claimSocket, probeSocket } from "../unix-socket.ts";
import type { Controlled } from "./controlled.ts";
import { asciiJson } from "./json.ts";
import { makePrivateFolder, SOCKET_NAME, socketFolders, socketIdentity } from "./place.ts";

export interface ControlServer {
  readonly path: string;
  /** Takes the socket away, and lets the answers that are on their way be sent. */
  stop(): Promise<void>;
}

type Place = Pick<Config, "source"> & {
  readonly server: Pick<Config["server"], "controlSocket">;
  readonly php: Pick<Config["php"], "docroot">;
};

/** How long an answer may still take when the server stops. */
const LAST_ANSWERS_MS = 200;

/**
 * Opens the socket for `phprun status`, `reload` and `stop`. Null when the configuration wants none, or when it cannot
 * be opened: that is logged, and costs nobody the web server.
 */
export async function startControl(
  config: Place,
  controlled: Controlled,
  log: Log,
  folders: readonly string[] = socketFolders(),
): Promise<ControlServer | null> {
  const { controlSocket } = config.server;
  if (controlSocket === null) return null;
  try {
    const app = controlApp(controlled, log);
    if (controlSocket !== "auto") return await open(app, controlSocket);
    return await openIn(usableFolder(folders), app, socketIdentity(config.source, config.php.docroot));
  } catch (error) {
    log.warn("no control socket: phprun status, reload and stop will not find this server", {
      reason: error instanceof Error ? error.message : String(error),
    });
    return null;
  }
}

/** The first folder that we may use and that others may not. Variables can be left over from another user's session. */
function usableFolder(folders: readonly string[]): string {
  const reasons: string[] = [];
  for (const folder of folders) {
    try {
      makePrivateFolder(folder);
      return folder;
    } catch (error) {
      if (!(error instanceof PhprunError)) throw error;
      reasons.push(error.message);
    }
  }
  throw new PhprunError("CONTROL_FOLDER", reasons.join("; "));
}

async function openIn(folder: string, app: ControlApp, identity: string): Promise<ControlServer> {
  await sweep(folder);
  try {
    return await open(app, join(folder, `${identity}.sock`));
  } catch (error) {
    if (!(error instanceof PhprunError) || error.code !== "LISTEN") throw error;
    // A second server with the same configuration: on another port, say.
    return await open(app, join(folder, `${identity}-${process.pid}.sock`));
  }
}

/** Clears away what servers that were killed left behind. Sockets get their names only once they are listened on. */
async function sweep(folder: string): Promise<void> {
  const paths = readdirSync(folder)
    .filter((name) => SOCKET_NAME.test(name))
    .map((name) => join(folder, name));
  await Promise.all(
    paths.map(async (path) => {
      const isSocket = lstatSync(path, { throwIfNoEntry: false })?.isSocket() === true;
      if (isSocket && probeSocket(path) === "dead") rmSync(path, { force: true });
    }),
  );
}

async function open(app: ControlApp, path: string): Promise<ControlServer> {
  const listener = parseListen(`unix:${path}`);
  if (typeof listener === "string") {
    throw new PhprunError("CONTROL_SOCKET", `Cannot listen on ${path}: it ${listener}`);
  }
  await claimSocket(path);
  const listening = listen(app, path);
  const own = lstatSync(path);
  return {
    path,
    async stop() {
      const found = lstatSync(path, { throwIfNoEntry: false });
      if (found !== undefined && found.ino === own.ino && found.dev === own.dev)
        rmSync(path, { force: true });
      await Promise.race([listening.stop(), Bun.sleep(LAST_ANSWERS_MS)]);
      await listening.stop(true);
    },
  };
}

/**
 * Listens under a name of its own first, then gives the socket its real name: link() takes no name that is there
 * already, and nobody finds a socket that is not listened on yet, or that has the wrong mode.
 */
function listen(app: ControlApp, path: string): Bun.Server<unknown> {
  const unnamed = join(dirname(path), `.${process.pid}.new`);
  rmSync(unnamed, { force: true });
  const mask = process.umask(0o177);
  try {
    // A reload takes as long as it takes: no connection is idle.
    const options: unknown = { unix: unnamed, development: false, idleTimeout: 0 };
    app.listen(options as Parameters<typeof app.listen>[0]);
  } finally {
    process.umask(mask);
  }
  const server = app.server as Bun.Server<unknown> | null;
  if (server === null) throw new PhprunError("LISTEN", `Cannot listen on ${path}: Bun gave no server`);
  try {
    linkSync(unnamed, path);
  } catch (cause) {
    void server.stop(true);
    const taken = (cause as NodeJS.ErrnoException).code === "EEXIST";
    throw new PhprunError(
      taken ? "LISTEN" : "CONTROL_SOCKET",
      `Cannot listen on ${path}: ${(cause as Error).message}`,
      { cause },
    );
  } finally {
    rmSync(unnamed, { force: true });
  }
  return server;
}

type ControlApp = ReturnType<typeof controlApp>;

function controlApp(controlled: Controlled, log: Log) {
  return (
    new Elysia()
      // Only for the routes that come after it.
      .onError(({ error, code }) => {
        if (code === "NOT_FOUND") return answer(404, { ok: false, reason: "there is no such command" });
        const reason = error instanceof Error ? error.message : String(error);
        log.warn("a command on the control socket failed", { reason });
        return answer(500, { ok: false, reason });
      })
      .get("/status", async () => answer(200, await controlled.status()))
      .post("/reload", () => reload(controlled))
      .post("/stop", () => {
        // The answer leaves first.
        setTimeout(() => controlled.stop(), 0);
        return answer(202, { ok: true, pid: process.pid });
      })
  );
}

async function reload(controlled: Controlled): Promise<Response> {
  const outcome = await controlled.reload("phprun reload");
  if (!outcome.ok) return answer(409, outcome);
  const { pools } = await controlled.status();
  const generations = pools.map(({ name, generation }) => ({ pool: name, generation }));
  return answer(200, { ok: true, generations, notes: outcome.notes });
}

/** One connection, one command: none is left open for the stop to wait for. */
function answer(status: number, body: unknown): Response {
  return new Response(asciiJson(body), {
    status,
    headers: { "Content-Type": "application/json", Connection: "close" },
  });
}
