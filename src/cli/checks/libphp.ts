import type { PhpConfig } from "../../config/config.ts";
import {
  describeLibphp,
  isBuiltFor,
  isSupported,
  type LibphpInfo,
  type ShimBuild,
  NEWEST_PHP,
  OLDEST_PHP,
} from "../../php/libphp-info.ts";
import { libphpCandidates } from "../../php/locate.ts";
import { probeLibphp, type Probed } from "../../php/probe.ts";
import { fail, type Finding, note, ok } from "./finding.ts";

/** Every libphp on this machine, and the one that would be used. */
export async function checkLibphp(
  php: PhpConfig,
  shim: ShimBuild | null,
): Promise<{ findings: Finding[]; chosen: LibphpInfo | null }> {
  const probed = await Promise.all(libphpCandidates(php.libphp).map(probeLibphp));
  const usable = probed.filter(
    (candidate) => !("error" in candidate) && isSupported(candidate),
  ) as LibphpInfo[];
  const chosen = usable.find((info) => shim !== null && isBuiltFor(shim, info)) ?? usable[0] ?? null;
  const findings = probed.map((candidate) => describeCandidate(candidate, chosen));
  if (chosen === null) {
    findings.push(
      fail(
        probed.length === 0
          ? "No libphp was found"
          : `No libphp that was found is PHP ${OLDEST_PHP} to ${NEWEST_PHP}`,
        php.libphp === "auto"
          ? "Install it (Debian, Ubuntu: apt-get install libphp-embed), or set php.libphp to the path of a libphp.so"
          : "Set php.libphp to the path of a libphp.so, or leave it out so that one is looked for",
      ),
    );
    return { findings, chosen };
  }
  if (php.isolation === "thread" && !chosen.zts) {
    findings.push(
      fail(
        `${chosen.path} is not thread-safe, so php.isolation: thread cannot work`,
        "Use isolation: process, or a ZTS build of libphp",
      ),
    );
  }
  if (shim !== null) findings.push(checkShim(chosen, shim));
  return { findings, chosen };
}

/** Do the shim and the library fit together? `shim` says what the shim was built for. */
export function checkShim(info: LibphpInfo, shim: ShimBuild): Finding {
  const wrong: string[] = [];
  if (info.zendApi !== shim.zendApi) wrong.push(`API ${shim.zendApi}, not ${info.zendApi}`);
  if (info.zts !== shim.zts) wrong.push(shim.zts ? "ZTS, not NTS" : "NTS, not ZTS");
  if (info.debug !== shim.debug) wrong.push(shim.debug ? "a debug build" : "a build without debug");
  if (wrong.length === 0) return ok(`phprun was built for this API (${describeLibphp(info)})`);
  return fail(
    `phprun was built for PHP of ${wrong.join(" and ")}`,
    "Set php.libphp to a libphp it was built for, or build phprun for this one: install its headers (-dev package) and run ./setup.sh",
  );
}

function describeCandidate(candidate: Probed, chosen: LibphpInfo | null): Finding {
  if ("error" in candidate)
    return note(`${candidate.path}: ${candidate.error.replace(`${candidate.path}: `, "")}`);
  const text = `${candidate.path}: ${describeLibphp(candidate)}`;
  if (candidate === chosen) return ok(`${text}, the one that is used`);
  return note(isSupported(candidate) ? text : `${text}, not supported (${OLDEST_PHP} to ${NEWEST_PHP} are)`);
}
