import { expect, test } from "bun:test";
import { chmodSync } from "node:fs";
import { join } from "node:path";
import { findPhpHeaders, readPhpHeaders, shimName } from "../../ffi/php-headers.ts";
import { shims } from "../../ffi/embedded.ts";
import { hasThreadTimers, readBuild, readExtensionDir } from "../../src/php/read-build.ts";
import { iniForThreads, threadIniWarnings } from "../../src/php/thread-ini.ts";
import { unsafeInThreads } from "../../src/php/thread-safety.ts";
import { Folder } from "./config-helper.ts";

const root = join(import.meta.dir, "../..");
const MIB = 1024 ** 2;

/** An installation with headers, as far as a build looks at them. */
function install(
  folder: Folder,
  version: string,
  { zts = false, debug = false, api = 20240924 } = {},
): string {
  folder.write("include/main/php.h", "/* PHP */\n");
  const safe = zts ? "#define ZTS 1" : "/* #undef ZTS */";
  folder.write("include/main/php_config.h", `${safe}\n#define ZEND_DEBUG ${debug ? 1 : 0}\n`);
  folder.write("include/Zend/zend_modules.h", `#define ZEND_MODULE_API_NO ${api}\n`);
  const tool = folder.write(
    "bin/php-config",
    `#!/bin/sh\ncase $1 in --version) echo ${version};; --includes) echo "-I${folder.path}/include -DX=1";; esac\n`,
  );
  chmodSync(tool, 0o755);
  return tool;
}

test("a PHP with headers is told apart by its API, its thread safety and debug", () => {
  using folder = new Folder();
  const tool = install(folder, "8.4.3", { zts: true, debug: true });
  const found = readPhpHeaders(tool);
  expect(found).toMatchObject({ version: "8.4.3", zendApi: 20240924, zts: true, debug: true });
  expect(found).toMatchObject({ includes: [`${folder.path}/include`] });
  expect("rule" in found ? "" : shimName(found)).toBe("libphprun-php-20240924-zts-debug.so");
  expect(shimName({ zendApi: 20220829, zts: false, debug: false })).toBe("libphprun-php-20220829-nts.so");
});

test("a PHP that is too old, has no headers or does not run is left out with the reason", () => {
  using folder = new Folder();
  expect(readPhpHeaders(install(folder, "8.1.30"))).toMatchObject({
    rule: "it must be of PHP 8.2 to 8.5, received 8.1.30",
  });
  using bare = new Folder();
  const tool = install(bare, "8.3.1");
  bare.write("include/Zend/zend_modules.h", "");
  expect(readPhpHeaders(tool)).toMatchObject({ rule: `there are no headers in ${bare.path}/include` });
  expect(readPhpHeaders(`${bare.path}/nope`)).toMatchObject({ rule: "it cannot be run" });
});

test("the shims of this build are those of the PHPs with headers, the machine's own first", () => {
  const { found } = findPhpHeaders(root);
  const [first] = found;
  expect(shims[0]).toMatchObject({ zendApi: first?.zendApi, zts: first?.zts, debug: first?.debug });
  expect(new Set(found.map(shimName)).size).toBe(found.length);
});

test("a kind is found wherever its strings lie, also where two chunks meet", () => {
  const id = "\0API20220829,NTS\0";
  const header = "\0X-Powered-By: PHP/8.2.9-1+deb\0";
  const expected = { version: "8.2.9-1+deb", zendApi: 20220829, zts: false, debug: false };
  for (const before of [0, MIB - 4096, MIB - id.length - 5, MIB - 9, MIB - 1, MIB, 2 * MIB - 4100]) {
    using folder = new Folder();
    const path = folder.write("libphp.so", `${"x".repeat(before)}${id}${"y".repeat(5)}${header}`);
    expect(readBuild(path)).toEqual(expected);
  }
});

test("a file without the strings, or with half of them, is no libphp", () => {
  for (const text of ["", "x", "\0API20220829,NTS\0", "\0X-Powered-By: PHP/8.2.9\0", "\0API20220829,NTS"]) {
    using folder = new Folder();
    expect(readBuild(folder.write("libphp.so", `${text}${"z".repeat(2 * MIB)}`))).toBeNull();
    expect(readBuild(folder.write("short.so", text))).toBeNull();
  }
});

test("the extension folder is the path that ends in the API number", () => {
  using folder = new Folder();
  const path = folder.write("libphp.so", "\0API20240924,TS\0\0/opt/php/ext/no-debug-zts-20240924\0");
  expect(readExtensionDir(path, 20240924)).toBe("/opt/php/ext/no-debug-zts-20240924");
  expect(readExtensionDir(path, 20220829)).toBeNull();
});

test("threads get opcache that never kills its process, and no timer that they would share", () => {
  const opcache = { "opcache.force_restart_timeout": "0", "opcache.protect_memory": "0" };
  using folder = new Folder();
  const shared = { path: folder.write("8.2.so", "\0X-Powered-By: PHP/8.2.30\0"), version: "8.2.30" };
  const own = { path: folder.write("8.4.so", "\0X-Powered-By: PHP/8.4.1\0"), version: "8.4.1" };
  expect(iniForThreads({}, own)).toEqual(opcache);
  expect(iniForThreads({}, null)).toEqual(opcache);
  expect(iniForThreads({}, shared)).toEqual({ ...opcache, max_execution_time: "0" });
  expect(iniForThreads({ max_execution_time: "5" }, shared)).toEqual(opcache);
  expect(threadIniWarnings({ max_execution_time: "5" }, shared)).toMatchObject([
    { text: expect.stringContaining("max_execution_time=5") },
  ]);
  expect(threadIniWarnings({}, shared)).toEqual([]);
  expect(threadIniWarnings({ max_execution_time: "0" }, shared)).toEqual([]);
  expect(threadIniWarnings({ max_execution_time: "5" }, own)).toEqual([]);
});

test("PHP 8.2 has a timer for each thread when it exports the functions of one", () => {
  using folder = new Folder();
  const header = "\0X-Powered-By: PHP/8.2.30\0";
  const timer = "\0zend_max_execution_timer_init\0";
  const has = (text: string) => hasThreadTimers({ path: folder.write("libphp.so", text), version: "8.2.30" });
  expect(has(`\x7fELF${timer}${header}`)).toBeTrue();
  for (const before of [MIB - 10, 2 * MIB - 4100])
    expect(has(`${"x".repeat(before)}${timer}${"y".repeat(MIB)}${header}`)).toBeTrue();
  expect(has(header)).toBeFalse();
  expect(has(`\0zend_max_execution_timer_initial\0${header}`)).toBeFalse();
  const path = join(folder.path, "gone.so");
  expect(hasThreadTimers({ path, version: "8.2.30" })).toBeFalse();
  expect(hasThreadTimers({ path, version: "8.3.0" })).toBeTrue();
});

test("extensions that are not for threads are known by name, whatever its case", () => {
  expect(unsafeInThreads(["Core", "curl", "Zend OPcache"])).toEqual([]);
  const found = unsafeInThreads(["IMAP", "Core", "gettext"]);
  expect(found.map(({ name, crashes }) => [name, crashes])).toEqual([
    ["imap", true],
    ["gettext", false],
  ]);
  for (const { reason } of found) expect(reason.length).toBeGreaterThan(10);
});
