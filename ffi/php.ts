import { dlopen } from "bun:ffi";
import { PhprunError } from "../src/errors.ts";
import { phpShimPath } from "./embedded.ts";
import { openable } from "./open.ts";
import { readBuild } from "../src/php/read-build.ts";
import { phpSymbols } from "./symbols.ts";
import { openGlobal } from "./system.ts";
import { check } from "./transport.ts";

const PHP_ABI = 3;

/** PHPRUN_HOST_* of ffi/php/php.h. */
const HOST_SLOW_LOG = 1;

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

  /** Opens libphp for the whole process, then the shim, which finds PHP's symbols there. */
  constructor(libphp: string) {
    openGlobal(libphp);
    try {
      this.#symbols = dlopen(openable(phpShimPath), phpSymbols).symbols;
    } catch (cause) {
      if (cause instanceof PhprunError) throw cause;
      if (readBuild(libphp) === null) {
        throw new PhprunError(
          "LIBRARY",
          `Cannot use ${libphp}: it is not libphp. Set php.libphp to a libphp.so, or to auto.`,
        );
      }
      throw new PhprunError(
        "LIBPHP_API",
        `Cannot use ${libphp}: the shim was built for another PHP (${cause instanceof Error ? cause.message : cause}). Run ./setup.sh to build it for this one, or set php.libphp.`,
        { cause },
      );
    }
    const abi = this.#symbols.phprun_php_abi();
    if (abi !== PHP_ABI) {
      throw new PhprunError(
        "PHP_ABI",
        `Cannot use ${phpShimPath}: it must have ABI ${PHP_ABI}, received ${abi}`,
      );
    }
    this.#checkApi(libphp);
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

  /** Another API means other structures: starting that PHP would be a crash at best. */
  #checkApi(libphp: string): void {
    const built = this.builtFor();
    const found = readBuild(libphp);
    if (found === null) return;
    if (found.zendApi === built.zendApi && found.zts === built.zts && found.debug === built.debug) return;
    throw new PhprunError(
      "LIBPHP_API",
      `Cannot use ${libphp}: it must have API ${built.zendApi} ${kind(built)} (PHP ${built.version}), which the shim was built for, received API ${found.zendApi} ${kind(found)} (PHP ${found.version}). Run ./setup.sh to build it for this one, or set php.libphp.`,
    );
  }

  /** Brings PHP up. Once per process. */
  start(options: {
    ini: string;
    sapiName: string;
    poolName: string;
    jsonPost: boolean;
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
      options.jsonPost ? 1 : 0,
      options.logFd,
    );
    if (result !== 0) throw new PhprunError("PHP_START", "Cannot start PHP: module start-up failed");
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
}

function kind(build: { zts: boolean; debug: boolean }): string {
  return `${build.zts ? "ZTS" : "NTS"}${build.debug ? " debug" : ""}`;
}
