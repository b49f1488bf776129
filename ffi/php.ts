import { dlopen } from "bun:ffi";
import { PhprunError } from "../src/errors.ts";
import { openable } from "./open.ts";
import { readBuild } from "../src/php/read-build.ts";
import { requireShim } from "../src/php/shims.ts";
import { phpSymbols } from "./symbols.ts";
import { openGlobal } from "./system.ts";
import { check } from "./transport.ts";

const PHP_ABI = 5;

/** PHPRUN_HOST_* of ffi/php/php.h. */
const HOST_SLOW_LOG = 1;

/** PHPRUN_PHP_* of ffi/php/php.h. */
const PHP_JSON_POST = 1;
const PHP_THREADS = 2;
const PHP_FRANKENPHP = 4;

/** What the shim was compiled against. */
export interface BuiltFor {
  readonly zendApi: number;
  readonly zts: boolean;
  readonly debug: boolean;
  readonly version: string;
}

/** The PHP shim in this process. Only a host may have one: it brings libphp with it. */
export class Php {
  readonly #symbols: ReturnType<typeof dlopen<typeof phpSymbols>>["symbols"];

  /** Opens libphp for the whole process, then the shim for its kind, which finds PHP's symbols there. */
  constructor(libphp: string) {
    openGlobal(libphp);
    const build = readBuild(libphp);
    if (build === null) {
      throw new PhprunError(
        "LIBRARY",
        `Cannot use ${libphp}: it is not libphp. Set php.libphp to a libphp.so, or to auto.`,
      );
    }
    const shim = requireShim({ path: libphp, ...build });
    this.path = openable(shim.path);
    try {
      this.#symbols = dlopen(this.path, phpSymbols).symbols;
    } catch (cause) {
      if (cause instanceof PhprunError) throw cause;
      throw new PhprunError(
        "LIBPHP_API",
        `Cannot use ${libphp}: the shim that was built for it does not fit (${cause instanceof Error ? cause.message : cause}). Run ./setup.sh to build it anew, or set php.libphp.`,
        { cause },
      );
    }
    const abi = this.#symbols.phprun_php_abi();
    if (abi !== PHP_ABI) {
      throw new PhprunError(
        "PHP_ABI",
        `Cannot use ${shim.path}: it must have ABI ${PHP_ABI}, received ${abi}`,
      );
    }
  }

  builtFor(): BuiltFor {
    const out = new Uint32Array(4);
    this.#symbols.phprun_php_built_for(out);
    const id = out[3] ?? 0;
    return {
      zendApi: out[0] ?? 0,
      zts: out[1] === 1,
      debug: out[2] === 1,
      version: `${Math.floor(id / 10_000)}.${Math.floor(id / 100) % 100}.${id % 100}`,
    };
  }

  /** Brings PHP up. Once per process. */
  start(options: {
    ini: string;
    sapiName: string;
    poolName: string;
    jsonPost: boolean;
    frankenphp: boolean;
    /** Workers will be threads of this process. */
    threads: boolean;
    logFd: number;
  }): void {
    // In variables, so alive for the whole call.
    const ini = Buffer.from(`${options.ini}\0`);
    const sapiName = Buffer.from(`${options.sapiName}\0`);
    const poolName = Buffer.from(`${options.poolName}\0`);
    const result = this.#symbols.phprun_php_start(
      ini,
      sapiName,
      poolName,
      (options.jsonPost ? PHP_JSON_POST : 0) |
        (options.threads ? PHP_THREADS : 0) |
        (options.frankenphp ? PHP_FRANKENPHP : 0),
      options.logFd,
    );
    if (result !== 0) throw new PhprunError("PHP_START", "Cannot start PHP: module start-up failed");
  }

  /** Worker mode: what workers run. Before any of them is started. */
  configureApp(app: { script: string; scriptName: string; documentRoot: string; options: number }): void {
    const [script, name, root] = [app.script, app.scriptName, app.documentRoot].map((text) =>
      Buffer.from(`${text}\0`),
    ) as [Buffer, Buffer, Buffer];
    this.#symbols.phprun_app_configure(script, name, root, app.options);
  }

  /** Runs PHP code in a forked child; `code` is an expression that yields a string. */
  evaluate(code: string, maxBytes = 1 << 20): string {
    const source = Buffer.from(`${code}\0`);
    const out = new Uint8Array(maxBytes);
    const length = check(
      this.#symbols.phprun_php_evaluate(source, out, out.length),
      "run PHP in a child of the host",
    );
    return new TextDecoder().decode(out.slice(0, length));
  }

  /** The fork server; returns when the front is gone or has said END. */
  runHost(fds: { pool: number; control: number; wake: number; spool: number }, slowLog: boolean): number {
    const options = slowLog ? HOST_SLOW_LOG : 0;
    return this.#symbols.phprun_host_run(fds.pool, fds.control, fds.wake, fds.spool, options);
  }

  // ---- workers that are threads: see ffi/php/php.h ------------------------------------------------

  /** The shim's path as other threads of this process open the same library by it. */
  readonly path: string;

  openThreads(
    fds: { pool: number; wake: number; spool: number },
    options: { slowLog: boolean; stackBytes: number },
  ): void {
    const flags = options.slowLog ? HOST_SLOW_LOG : 0;
    check(
      this.#symbols.phprun_threads_open(fds.pool, fds.wake, fds.spool, flags, options.stackBytes),
      "prepare for workers in threads",
    );
  }

  threadDeadline(worker: number): void {
    this.#symbols.phprun_thread_deadline(worker);
  }

  measureThreads(): void {
    this.#symbols.phprun_threads_measure();
  }

  /** Ends the process without Bun's exit handlers. */
  exitNow(status: number): never {
    this.#symbols.phprun_exit_now(status);
    throw new Error("unreachable");
  }
}
