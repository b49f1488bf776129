import { CString, dlopen, type Pointer, read } from "bun:ffi";
import type { LibphpFailure, LibphpInfo } from "../src/php/libphp-info.ts";
import { readBuild } from "../src/php/read-build.ts";

const RTLD_NOW = 0x002;
const RTLD_GLOBAL = 0x100;

/** Where the fields of zend_module_entry stand on 64-bit machines, PHP 8.0 to 8.5. */
const MODULE = { size: 0, zendApi: 4, debug: 8, zts: 9, version: 88, bytes: 168 } as const;

/**
 * `phprun __probe PATH`: load one libphp in this process, which is made to be lost, and print what it is as JSON.
 * A library that crashes while it loads takes nobody with it.
 */
export function runProbe(): void {
  const path = process.argv[3] ?? "";
  const result = probe(path);
  process.stdout.write(`${JSON.stringify(result)}\n`);
  process.exitCode = "error" in result ? 1 : 0;
}

function probe(path: string): LibphpInfo | LibphpFailure {
  try {
    const module = loadModule(path);
    const build = readBuild(path);
    if (module === null && build === null)
      return { path, error: "it is not libphp, or its build cannot be told" };
    return { path, version: "", zendApi: 0, zts: false, debug: false, ...build, ...module };
  } catch (error) {
    return { path, error: error instanceof Error ? error.message : String(error) };
  }
}

type Build = Omit<LibphpInfo, "path">;

/** Load the library as PHP's host would, and read its standard module's own entry where that is exported. */
function loadModule(path: string): Build | null {
  const { symbols: libc } = dlopen(process.platform === "linux" ? "libc.so.6" : "libc.so", {
    dlopen: { args: ["ptr", "i32"], returns: "ptr" },
    dlsym: { args: ["ptr", "ptr"], returns: "ptr" },
    dlerror: { args: [], returns: "ptr" },
  });
  const name = Buffer.from(`${path}\0`);
  const library = libc.dlopen(name, RTLD_NOW | RTLD_GLOBAL);
  if (library === null) {
    const message = libc.dlerror();
    throw new Error(message === null ? "it cannot be loaded" : text(message));
  }
  const startup = Buffer.from("php_module_startup\0");
  if (libc.dlsym(library, startup) === null)
    throw new Error("it is not libphp: it does not export php_module_startup");
  const symbol = Buffer.from("basic_functions_module\0");
  const module = libc.dlsym(library, symbol);
  // Most builds hide it; the file then has to tell.
  if (module === null || read.u16(module, MODULE.size) !== MODULE.bytes) return null;
  return {
    version: text(read.ptr(module, MODULE.version)),
    zendApi: read.u32(module, MODULE.zendApi),
    zts: read.u8(module, MODULE.zts) === 1,
    debug: read.u8(module, MODULE.debug) === 1,
  };
}

function text(address: number | bigint): string {
  return new CString(Number(address) as Pointer).toString();
}
