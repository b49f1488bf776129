import { accessSync, constants, type Stats, statSync } from "node:fs";
import { dirname } from "node:path";
import type { Config } from "./config.ts";
import { type Layers, RANK } from "./layers.ts";
import type { Problem } from "./problem.ts";
import { type Path, pathText } from "./tree.ts";

type Kind = "file" | "folder" | "file or folder";

/** What the configuration points to on disk must be there, and be of the right kind. */
export function checkDisk(config: Config, layers: Layers): Problem[] {
  const problems: Problem[] = [];
  const need = (path: Path, file: string | null, kind: Kind) => {
    const rule = file === null ? undefined : missing(file, kind);
    if (rule !== undefined)
      problems.push({ where: layers.origin(path).where, message: `Cannot use '${pathText(path)}': ${rule}` });
  };
  need(["php", "docroot"], config.php.docroot, "folder");
  if (config.php.libphp !== "auto") need(["php", "libphp"], config.php.libphp, "file");
  need(["server", "spool_dir"], config.server.spoolDir, "folder");
  for (const [status, file] of Object.entries(config.errorPages)) need(["error_pages", status], file, "file");
  for (const [index, { mode, workerScript }] of config.pools.entries()) {
    if (mode === "worker") need(["pools", index, "worker_script"], workerScript, "file");
  }
  const { controlSocket } = config.server;
  if (controlSocket !== "auto") need(["server", "control_socket"], parent(controlSocket), "folder");
  need(["server", "pid_file"], parent(config.server.pidFile), "folder");
  need(["logging", "file"], parent(config.logging.file), "folder");
  need(["logging", "access_file"], parent(config.logging.accessFile), "folder");
  for (const [index, listener] of config.server.listeners.entries()) {
    if (listener.kind === "unix") need(["server", "listen", index], parent(listener.path), "folder");
  }
  // The paths that are watched otherwise are the docroot and the like, which have been looked at.
  if (layers.origin(["watch", "paths"]).rank > RANK.default) {
    for (const [index, path] of config.watch.paths.entries())
      need(["watch", "paths", index], path, "file or folder");
  }
  return problems;
}

const parent = (file: string | null): string | null => (file === null ? null : dirname(file));

function missing(file: string, kind: Kind): string | undefined {
  let stats: Stats | undefined;
  try {
    stats = statSync(file, { throwIfNoEntry: false });
  } catch {
    return `the ${kind} ${file} cannot be reached`;
  }
  if (stats === undefined) return `the ${kind} ${file} does not exist`;
  if (kind === "folder" && !stats.isDirectory()) return `${file} must be a folder`;
  // /dev/null stands in for an empty file in many set-ups.
  if (kind === "file" && stats.isDirectory()) return `${file} must be a file`;
  try {
    accessSync(file, kind === "folder" ? constants.X_OK : constants.R_OK);
  } catch {
    return `the ${kind} ${file} must be readable for this user`;
  }
  return undefined;
}
