import { LIBRARY_DIR_VARIABLE, openable } from "../ffi/open.ts";
import { Php } from "../ffi/php.ts";
import { dieWithParent } from "../ffi/system.ts";
import { PhprunError } from "../src/errors.ts";
import { HOST_FDS, HOST_OPTIONS_VARIABLE, type HostOptions, encodeHostReport } from "../src/pool/messages.ts";
import { type PhpReport, REPORT_CODE } from "../src/php/report.ts";
import { shimOf } from "../src/php/shims.ts";
import { applyIdentity, type Identity } from "../src/system/identity.ts";
import { ThreadHost } from "./thread-host.ts";
import { writeSync } from "node:fs";

/**
 * A host: PHP brought up once, then the fork server, or threads. Runs in a process of its own; what it inherits is
 * in HOST_FDS. Never returns.
 */
export async function runHost(): Promise<never> {
  process.exit(await serve(JSON.parse(process.env[HOST_OPTIONS_VARIABLE] ?? "{}") as HostOptions));
}

async function serve(options: HostOptions): Promise<number> {
  delete process.env[HOST_OPTIONS_VARIABLE];
  let php: Php;
  try {
    // A library that goes to a folder is put there by whom the folder belongs to, not by the pool's user.
    const shim = process.env[LIBRARY_DIR_VARIABLE] ? shimOf(options.libphp) : undefined;
    if (shim !== undefined) openable(shim.path);
    applyIdentity(options.poolName, identityOf(options));
    // After the change of user, which takes it back. Here and not with PHP: its start may take long.
    if (!dieWithParent(HOST_FDS.control)) return 1;
    php = new Php(options.libphp);
    php.start({
      ini: options.ini,
      sapiName: options.sapiName,
      poolName: options.poolName,
      jsonPost: options.jsonPost,
      frankenphp: options.frankenphp,
      threads: options.isolation === "thread",
      logFd: HOST_FDS.log,
    });
    report({ ok: true, report: { ...JSON.parse(php.evaluate(REPORT_CODE)), ...facts(php, options) } });
  } catch (error) {
    const code = error instanceof PhprunError ? error.code : "PHP_START";
    report({ ok: false, code, message: error instanceof Error ? error.message : String(error) });
    return 1;
  }
  if (options.inspectOnly) return 0;
  if (options.app !== null) php.configureApp(options.app);
  if (options.isolation === "thread") return await new ThreadHost(php, options).run();
  return php.runHost(HOST_FDS, options.slowLog) === 0 ? 0 : 1;
}

/**
 * Threads share one table of descriptors: what scripts open, and four of ours for each worker. Bun does not survive
 * the end of it, so the usual 1024 would end a host of some 240 workers.
 */
const THREADS_OPEN_FILES = 8192;

function identityOf(options: HostOptions & Partial<Identity>): Identity {
  const { runAs = null, nice = 0, cpuAffinity = [] } = options;
  const openFiles = options.openFiles ?? (options.isolation === "thread" ? THREADS_OPEN_FILES : undefined);
  return { runAs, nice, cpuAffinity, ...(openFiles === undefined ? {} : { openFiles }) };
}

function facts(php: Php, options: HostOptions): Pick<PhpReport, "zendApi" | "libphp"> {
  return { zendApi: php.builtFor().zendApi, libphp: options.libphp };
}

function report(result: Parameters<typeof encodeHostReport>[0]): void {
  const bytes = encodeHostReport(result);
  for (let sent = 0; sent < bytes.length;) sent += writeSync(HOST_FDS.control, bytes, sent);
}
