import { createHash } from "node:crypto";
import { lstatSync, mkdirSync } from "node:fs";
import { isAbsolute, join } from "node:path";
import { PhprunError } from "../errors.ts";

type Environment = Readonly<Record<string, string | undefined>>;

/** The names that servers give their sockets in these folders. */
export const SOCKET_NAME = /^([0-9a-f]{12})(?:-[1-9]\d*)?\.sock$/;

/**
 * The folders for the control sockets of a user. A server uses the first. A command looks into all: a server that a
 * service manager started has no XDG_RUNTIME_DIR, the shell of the same user has one, or the other way round.
 */
export function socketFolders(uid = ownUid(), env: Environment = process.env): string[] {
  if (uid === 0) return ["/run/phprun"];
  const runtime = env["XDG_RUNTIME_DIR"] ?? "";
  const folders = [
    // The specification tells to ignore one that is not absolute.
    ...(isAbsolute(runtime) ? [join(runtime, "phprun")] : []),
    `/tmp/phprun-${uid}`,
    `/run/user/${uid}/phprun`,
  ];
  return [...new Set(folders)];
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

/** What keeps a folder from being trusted; null when it is there, ours and closed to others. */
export function folderFlaw(path: string, uid = ownUid()): string | null {
  const stats = lstatSync(path, { throwIfNoEntry: false });
  if (stats === undefined) return "it does not exist";
  if (!stats.isDirectory()) return "must be a folder, not a link or a file";
  if (stats.uid !== uid) return `must belong to user ${uid}, received user ${stats.uid}`;
  const mode = stats.mode & 0o777;
  return (mode & 0o077) === 0 ? null : `must have mode 0700, received 0${mode.toString(8)}`;
}

function ownUid(): number {
  return process.getuid?.() ?? 0;
}
