import type { Shim } from "../../../ffi/embedded.ts";
import type { Config } from "../../config/config.ts";
import { settleIsolation, wantsThreads } from "../../php/choose.ts";
import {
  describeLibphp,
  isSupported,
  type LibphpInfo,
  NEWEST_PHP,
  OLDEST_PHP,
} from "../../php/libphp-info.ts";
import { libphpCandidates } from "../../php/locate.ts";
import { probeLibphp, type Probed } from "../../php/probe.ts";
import { readExtensionDir } from "../../php/read-build.ts";
import { describeShims, SHIM_REMEDY, shimFor } from "../../php/shims.ts";
import { fail, type Finding, note, ok } from "./finding.ts";

export type LibphpConfig = Pick<Config, "php" | "pools">;

/** Every libphp on this machine, and the one that is used; null when there is none that can be. */
export async function checkLibphp(
  config: LibphpConfig,
  shims: readonly Shim[],
): Promise<{ findings: Finding[]; chosen: LibphpInfo | null }> {
  const probed = await Promise.all(libphpCandidates(config.php.libphp).map(probeLibphp));
  return judgeLibphps(probed, config, shims);
}

/** The rules are those of src/php/choose.ts, which asks no library. */
export function judgeLibphps(
  probed: readonly Probed[],
  config: LibphpConfig,
  shims: readonly Shim[],
): { findings: Finding[]; chosen: LibphpInfo | null } {
  const threads = wantsThreads(config);
  const usable = probed.filter(
    (candidate) => !("error" in candidate) && isSupported(candidate),
  ) as LibphpInfo[];
  const safe = usable.filter((info) => info.zts || !threads);
  const chosen = safe.find((info) => shimFor(info, shims) !== undefined) ?? null;
  const findings = probed.map((candidate) => describeCandidate(candidate, chosen, shims));
  if (usable.length === 0) findings.push(noneFound(probed, config.php.libphp));
  else if (chosen === null) findings.push(threads && safe.length === 0 ? noneSafe() : noShim(safe, shims));
  else findings.push(ok(`phprun was built for ${describeShims(shims)}`), describeIsolation(config, chosen));
  return { findings, chosen };
}

function noneFound(probed: readonly Probed[], configured: string): Finding {
  return fail(
    probed.length === 0
      ? "No libphp was found"
      : `No libphp that was found is PHP ${OLDEST_PHP} to ${NEWEST_PHP}`,
    configured === "auto"
      ? "Install it (Debian, Ubuntu: apt-get install libphp-embed), or set php.libphp to the path of a libphp.so"
      : "Set php.libphp to the path of a libphp.so, or leave it out so that one is looked for",
  );
}

const noneSafe = (): Finding =>
  fail(
    "No libphp that was found is thread-safe (ZTS), so isolation: thread cannot work",
    "Run ./setup.sh --zts to build such a PHP, set php.libphp to one, or use isolation: process",
  );

const noShim = (usable: readonly LibphpInfo[], shims: readonly Shim[]): Finding =>
  fail(
    `phprun was built for ${describeShims(shims)}, not for ${usable.map(describeLibphp).join(" or ")}`,
    SHIM_REMEDY,
  );

function describeCandidate(candidate: Probed, chosen: LibphpInfo | null, shims: readonly Shim[]): Finding {
  if ("error" in candidate)
    return note(`${candidate.path}: ${candidate.error.replace(`${candidate.path}: `, "")}`);
  const folder = extensionDir(candidate);
  const text = `${candidate.path}: ${describeLibphp(candidate)}${folder === null ? "" : `, extensions in ${folder}`}`;
  if (candidate === chosen) return ok(`${text}, the one that is used`);
  if (!isSupported(candidate)) return note(`${text}, not supported (${OLDEST_PHP} to ${NEWEST_PHP} are)`);
  return note(shimFor(candidate, shims) === undefined ? `${text}, which phprun was not built for` : text);
}

function extensionDir({ path, zendApi }: LibphpInfo): string | null {
  try {
    return readExtensionDir(path, zendApi);
  } catch {
    return null;
  }
}

/** `Workers are processes`, or what each pool has when they differ. */
function describeIsolation({ pools }: LibphpConfig, { zts }: LibphpInfo): Finding {
  const kinds = pools.map((pool) => WORDS[settleIsolation(pool, zts)]);
  if (new Set(kinds).size === 1) return ok(`Workers are ${kinds[0]}`);
  return ok(`Workers are ${pools.map(({ name }, index) => `${kinds[index]} in pool ${name}`).join(", ")}`);
}

const WORDS = { process: "processes", thread: "threads of one process per pool" } as const;
