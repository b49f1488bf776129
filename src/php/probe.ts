import { PhprunError } from "../errors.ts";
import { selfCommand } from "../self.ts";
import {
  describeLibphp,
  isSupported,
  type LibphpFailure,
  type LibphpInfo,
  NEWEST_PHP,
  OLDEST_PHP,
} from "./libphp-info.ts";
import { libphpCandidates } from "./locate.ts";

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

export const isUsable = (probed: Probed): probed is LibphpInfo => !("error" in probed) && isSupported(probed);

/** The library to run: the first candidate that loads and that phprun supports. `accepts` may narrow the choice (isolation, API). */
export async function findLibphp(
  configured: string,
  accepts: (info: LibphpInfo) => boolean = () => true,
): Promise<LibphpInfo> {
  const refused: string[] = [];
  for (const path of libphpCandidates(configured)) {
    const probed = await probeLibphp(path);
    if (isUsable(probed) && accepts(probed)) return probed;
    refused.push(
      "error" in probed ? `${path}: ${probed.error}` : `${path}: ${describeLibphp(probed)} does not fit`,
    );
  }
  const rule = `need libphp.so of PHP ${OLDEST_PHP} to ${NEWEST_PHP}`;
  const seen =
    refused.length === 0 ? "none was found" : `none that was found fits\n  ${refused.join("\n  ")}`;
  throw new PhprunError(
    "PHP_NOT_FOUND",
    `Cannot start PHP: ${rule}, ${seen}\nOn Debian: apt install libphp-embed. Elsewhere set php.libphp to its path.`,
  );
}
