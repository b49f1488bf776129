import { PhprunError } from "../../errors.ts";
import { describeIni } from "../../php/describe-ini.ts";
import type { LibphpInfo } from "../../php/libphp-info.ts";
import type { PhpReport } from "../../php/report.ts";
import { threadIniWarnings } from "../../php/thread-ini.ts";
import { type UnsafeExtension, unsafeInThreads } from "../../php/thread-safety.ts";
import { fail, type Finding, note, ok, warn } from "./finding.ts";

/** Start PHP once and judge what it says of itself. */
export async function checkPhp(inspect: () => Promise<PhpReport>, threads = false): Promise<Finding[]> {
  let report: PhpReport;
  try {
    report = await inspect();
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    const remedy =
      error instanceof PhprunError
        ? "See the message; `php -m` may show the same"
        : "PHPRUN_DEBUG=1 shows more";
    return [fail(`PHP does not start: ${reason}`, remedy)];
  }
  return judge(report, threads);
}

/** `threads`: there are workers that are threads. */
export function judge(report: PhpReport, threads = false): Finding[] {
  const findings = [ok(`PHP ${report.version} starts, as "${report.sapi}"`)];
  const files = describeIni(report);
  findings.push(
    files === ""
      ? note("No php.ini is read: PHP's built-in settings are in force")
      : ok(`Ini files: ${files}`),
  );
  findings.push(ok(`${report.extensions.length} extensions: ${report.extensions.join(", ")}`));
  if (threads) findings.push(...unsafeInThreads(report.extensions).map(unsafe));
  for (const message of report.startupErrors) {
    findings.push(
      fail(
        `PHP complains at start: ${message}`,
        "Correct or remove that line of php.ini, or install what it names",
      ),
    );
  }
  findings.push(
    report.opcache
      ? ok("opcache is on")
      : warn(
          `opcache is off${report.opcacheReason === "" ? "" : `: ${report.opcacheReason}`}`,
          "Install php-opcache and set opcache.enable=1; without it every request compiles its scripts",
        ),
  );
  if (report.debug)
    findings.push(
      warn("This is a debug build of PHP", "Use a release build in production: it is several times faster"),
    );
  return findings;
}

export function checkThreadIni(given: Readonly<Record<string, string>>, chosen: LibphpInfo): Finding[] {
  return threadIniWarnings(given, chosen).map(({ text, remedy }) => warn(text, remedy));
}

function unsafe({ name, reason, crashes }: UnsafeExtension): Finding {
  const text = `The extension ${name} is not for workers in threads: ${reason}`;
  const remedy = "Leave it out, or set isolation: process for the pools whose scripts use it";
  return crashes ? warn(text, remedy) : note(text);
}
