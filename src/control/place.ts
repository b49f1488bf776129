import { createHash } from "node:crypto";
import { lstatSync, mkdirSync } from "node:fs";
import { isAbsolute, join } from "node:path";
import { PhprunError } from "../errors.ts";

type Environment = Readonly<Record<string, string | undefined>>;

/** The names that servers give their sockets in these folders. */
export const SOCKET_NAME = /^([0-9a-f]{12})(?:-[1-9]\d*)?\.sock$/;

const SYSTEM_FOLDER = "/run/phprun";

/**
 * The folders for the control sockets of a user. A server uses the first that it can. A command looks into all: a
 * server that a service manager started knows other variables than the shell of the same user.
 */
export function socketFolders(uid = ownUid(), env: Environment = process.env): string[] {
  // systemd tells a service which folder it has made for it (RuntimeDirectory=).
  const [service = ""] = (env["RUNTIME_DIRECTORY"] ?? "").split(":");
  const runtime = env["XDG_RUNTIME_DIR"] ?? "";
  const folders = [
    ...(isAbsolute(service) ? [service] : []),
    ...(uid === 0 ? [] : userFolders(uid, runtime)),
    SYSTEM_FOLDER,
  ];
  return [...new Set(folders)];
}

function userFolders(uid: number, runtime: string): string[] {
  return [
    // The specification tells to ignore one that is not absolute.
    ...(isAbsolute(runtime) ? [join(runtime, "phprun")] : []),
    `/tmp/phprun-${uid}`,
    `/run/user/${uid}/phprun`,
  ];
}

/** What identifies a server to the commands that look for it: its configuration file, else the folder it serves. */
export function socketIdentity(config: string | null, docroot: string): string {
  const text = config === null ? `docroot ${docroot}` : `config ${config}`;
  return createHash("sha256").update(text).digest("hex").slice(0, 12);
}

/** Makes the folder if need be. In a folder of somebody else's, others could put their socket in our place. */
export function makePrivateFolder(path: string, uid = ownUid()): void {
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== "EEXIST") {
      throw new PhprunError(
        "CONTROL_FOLDER",
        `Cannot use ${path} for the control socket: ${(cause as Error).message}`,
        { cause },
      );
    }
  }
  const flaw = folderFlaw(path, uid);
  if (flaw !== null) {
    throw new PhprunError("CONTROL_FOLDER", `Cannot use ${path} for the control socket: ${flaw}`);
  }
}

/**
 * What keeps a folder from being trusted; null when it is there, ours and closed to others. Below /run, where not
 * everybody makes folders, it is enough that others cannot write to it: systemd makes them with mode 0755.
 */
export function folderFlaw(path: string, uid: number | "any" = ownUid()): string | null {
  const stats = lstatSync(path, { throwIfNoEntry: false });
  if (stats === undefined) return "it does not exist";
  if (!stats.isDirectory()) return "must be a folder, not a link or a file";
  if (uid !== "any" && stats.uid !== uid) return `must belong to user ${uid}, received user ${stats.uid}`;
  const mode = stats.mode & 0o777;
  const forbidden = path.startsWith("/run/") ? 0o022 : 0o077;
  return (mode & forbidden) === 0 ? null : `must have mode 0700, received 0${mode.toString(8)}`;
}

/** May a command look for servers here? Root may for those of all users: a service that runs as another one is its own. */
export function isTrusted(path: string, uid = ownUid()): boolean {
  return folderFlaw(path, uid === 0 ? "any" : uid) === null;
}

function ownUid(): number {
  return process.getuid?.() ?? 0;
}
