import { readFileSync } from "node:fs";

/** Kills a worker whose host is gone, if the process of that id still is one: ids are used again. */
export function killOrphan(pid: number): void {
  try {
    // The name a worker gives itself, see ffi/php/host.c.
    if (!readFileSync(`/proc/${pid}/comm`, "latin1").startsWith("phprun/")) return;
    process.kill(pid, "SIGKILL");
  } catch {
    // It has died with its host, as it should.
  }
}
