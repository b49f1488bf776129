import { selfCommand } from "../self.ts";
import type { LibphpFailure, LibphpInfo } from "./libphp-info.ts";

const PROBE_TIMEOUT_MS = 10_000;

export type Probed = LibphpInfo | LibphpFailure;

/** Ask one library what it is, in a child process: loading it runs code that nobody here has vouched for. */
export async function probeLibphp(path: string): Promise<Probed> {
  const child = Bun.spawn(selfCommand("__probe", path), {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "ignore",
    timeout: PROBE_TIMEOUT_MS,
    killSignal: "SIGKILL",
  });
  const output = await child.stdout.text();
  await child.exited;
  try {
    return JSON.parse(output) as Probed;
  } catch {
    return {
      path,
      error: child.signalCode === null ? "it could not be asked" : `loading it ended in ${child.signalCode}`,
    };
  }
}
