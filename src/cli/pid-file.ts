import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { PhprunError } from "../errors.ts";
import { isAlive, looksLikeServer } from "./process.ts";

/** The process id in a pid file; null when there is no such file. */
export function readPidFile(path: string): number | null {
  let text: string;
  try {
    text = readFileSync(path, "utf8").trim();
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw new PhprunError(
      "PID_FILE_UNREADABLE",
      `Cannot read the pid file ${path}: ${(cause as Error).message}`,
      { cause },
    );
  }
  if (/^[1-9]\d{0,9}$/.test(text)) return Number(text);
  throw new PhprunError("PID_FILE_INVALID", `Cannot use the pid file ${path}: must hold a process id`);
}

/** Put our process id in place; a file that another running server holds is an error, a stale one is replaced. */
export function writePidFile(path: string): void {
  for (let attempt = 0; attempt < 2; attempt++) {
    try {
      writeFileSync(path, `${process.pid}\n`, { flag: "wx", mode: 0o644 });
      return;
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== "EEXIST") {
        throw new PhprunError(
          "PID_FILE_UNWRITABLE",
          `Cannot write the pid file ${path}: ${(cause as Error).message}`,
          { cause },
        );
      }
      const pid = readPidFile(path);
      if (pid !== null && pid !== process.pid && isAlive(pid) && looksLikeServer(pid)) {
        throw new PhprunError(
          "ALREADY_RUNNING",
          `Cannot start: phprun is running already, as process ${pid} (${path})`,
        );
      }
      rmSync(path, { force: true });
    }
  }
  throw new PhprunError(
    "PID_FILE_UNWRITABLE",
    `Cannot write the pid file ${path}: another process keeps making it`,
  );
}

/** Remove the pid file, if it is still ours. */
export function removePidFile(path: string): void {
  try {
    if (readPidFile(path) === process.pid) rmSync(path, { force: true });
  } catch {
    // Somebody wrote something else into it; then it is not ours to remove.
  }
}
