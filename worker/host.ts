import { Php } from "../ffi/php.ts";
import { PhprunError } from "../src/errors.ts";
import { HOST_FDS, HOST_OPTIONS_VARIABLE, type HostOptions, encodeHostReport } from "../src/pool/messages.ts";
import { type PhpReport, REPORT_CODE } from "../src/php/report.ts";
import { writeSync } from "node:fs";

/**
 * A host: PHP brought up once, then the fork server. Runs in a process of its own; what it inherits is in
 * HOST_FDS. Never returns.
 */
export function runHost(): never {
  process.exit(serve(JSON.parse(process.env[HOST_OPTIONS_VARIABLE] ?? "{}") as HostOptions));
}

function serve(options: HostOptions): number {
  delete process.env[HOST_OPTIONS_VARIABLE];
  let php: Php;
  try {
    php = new Php(options.libphp);
    php.start({
      ini: options.ini,
      sapiName: options.sapiName,
      poolName: options.poolName,
      jsonPost: options.jsonPost,
      logFd: HOST_FDS.log,
    });
    report({ ok: true, report: { ...JSON.parse(php.evaluate(REPORT_CODE)), ...facts(php, options) } });
  } catch (error) {
    const code = error instanceof PhprunError ? error.code : "PHP_START";
    report({ ok: false, code, message: error instanceof Error ? error.message : String(error) });
    return 1;
  }
  if (options.inspectOnly) return 0;
  return php.runHost(HOST_FDS.pool, HOST_FDS.control, HOST_FDS.wake, HOST_FDS.spool) === 0 ? 0 : 1;
}

function facts(php: Php, options: HostOptions): Pick<PhpReport, "zendApi" | "libphp"> {
  return { zendApi: php.builtFor().zendApi, libphp: options.libphp };
}

function report(result: Parameters<typeof encodeHostReport>[0]): void {
  const bytes = encodeHostReport(result);
  for (let sent = 0; sent < bytes.length;) sent += writeSync(HOST_FDS.control, bytes, sent);
}
