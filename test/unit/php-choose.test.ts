import { afterEach, expect, test } from "bun:test";
import { renameSync } from "node:fs";
import { shims } from "../../ffi/embedded.ts";
import { PhprunError } from "../../src/errors.ts";
import { chooseLibphp, settleIsolation } from "../../src/php/choose.ts";
import { libphpCandidates } from "../../src/php/locate.ts";
import { readBuild } from "../../src/php/read-build.ts";
import { requireShim, shimFor, shimOf } from "../../src/php/shims.ts";
import { hostOptions } from "../../src/pool/host-options.ts";
import { Folder } from "./config-helper.ts";

interface Kind {
  zendApi?: number;
  zts?: boolean;
  version?: string;
}

/** The two strings of a libphp that tell its kind, which is all of it that is read before it is loaded. */
function libphpText({ zendApi = 20990101, zts = false, version = "8.2.99" }: Kind): string {
  return `\0API${zendApi},${zts ? "TS" : "NTS"}\0X-Powered-By: PHP/${version}\0`;
}

const [shim] = shims;
const environment = { ...process.env };
afterEach(() => {
  for (const name of ["XDG_CACHE_HOME", "PHPRUN_ZTS_PREFIX"]) delete process.env[name];
  Object.assign(process.env, environment);
});

/** The configuration with a libphp of this kind. */
function configured(folder: Folder, kind: Kind, yaml = "") {
  const libphp = folder.write("libphp.so", libphpText(kind));
  folder.write("phprun.yaml", yaml);
  return folder.load({}, { PHPRUN_PHP__LIBPHP: libphp });
}

function refusal(act: () => unknown): PhprunError {
  try {
    act();
  } catch (error) {
    if (error instanceof PhprunError) return error;
    throw error;
  }
  throw new Error("It was not refused");
}

test("a libphp that no shim was built for is refused with both kinds and the remedy", () => {
  using folder = new Folder();
  const error = refusal(() => chooseLibphp(configured(folder, {})));
  expect(error.code).toBe("LIBPHP_API");
  expect(error.message).toStartWith(
    `Cannot use ${folder.path}/libphp.so: it must have API ${shim?.zendApi} `,
  );
  expect(error.message).toContain("which phprun was built for, received API 20990101 NTS (PHP 8.2.99). ");
  expect(error.message).toContain("./setup.sh");
});

test("isolation: thread refuses a libphp that is not thread-safe, in php or in one pool", () => {
  const one = "pools: [{ name: a, isolation: thread, patterns: [/a] }, { name: b }]";
  for (const yaml of ["php: { isolation: thread }", one]) {
    using folder = new Folder();
    const error = refusal(() => chooseLibphp(configured(folder, {}, yaml)));
    expect(error.code).toBe("LIBPHP_NOT_ZTS");
    expect(error.message).toContain("libphp.so with API 20990101 NTS (PHP 8.2.99). Run ./setup.sh --zts");
  }
});

test("a file that tells no kind is left to the host to refuse", () => {
  using folder = new Folder();
  const libphp = folder.write("libphp.so", "I am a text file");
  expect(chooseLibphp(folder.load({}, { PHPRUN_PHP__LIBPHP: libphp }))).toEqual({ path: libphp, info: null });
  expect(shimOf(libphp)).toBeUndefined();
  expect(shimOf("/nowhere/libphp.so")).toBeUndefined();
});

test("the choice is made anew when the file is another one, and only then", () => {
  using folder = new Folder();
  const kind = { zendApi: shim?.zendApi, zts: shim?.zts };
  const config = configured(folder, { ...kind, version: "8.2.1" });
  const first = chooseLibphp(config);
  expect(first.info?.version).toBe("8.2.1");
  expect(chooseLibphp(config)).toBe(first);
  renameSync(folder.write("new.so", libphpText({ ...kind, version: "8.2.2" })), `${folder.path}/libphp.so`);
  expect(chooseLibphp(config).info?.version).toBe("8.2.2");
});

test("each kind of libphp has its own shim, and every shim is of a kind of its own", () => {
  expect(shims.length).toBeGreaterThan(0);
  for (const each of shims) {
    expect(shimFor(each)).toBe(each);
    expect(requireShim({ ...each, path: "/x" })).toBe(each);
    expect(shimFor({ ...each, debug: !each.debug, zendApi: 1 })).toBeUndefined();
    expect(readBuild(each.path)).toBeNull();
  }
});

test("what ./setup.sh --zts has built comes last, the newest first, and never that of another user", () => {
  using folder = new Folder();
  process.env["XDG_CACHE_HOME"] = folder.path;
  process.env["PHPRUN_ZTS_PREFIX"] = `${folder.path}/own`;
  for (const name of ["phprun/php-8.4.9-zts", "phprun/php-8.4.10-zts", "phprun/php-8.4.11", "own"])
    folder.write(`${name}/lib/libphp.so`, libphpText({ zts: true }));
  const found = libphpCandidates("auto");
  expect(found.slice(-3)).toEqual([
    `${folder.path}/own/lib/libphp.so`,
    `${folder.path}/phprun/php-8.4.10-zts/lib/libphp.so`,
    `${folder.path}/phprun/php-8.4.9-zts/lib/libphp.so`,
  ]);
  expect(found.slice(0, -3).filter((path) => path.startsWith(folder.path))).toEqual([]);
});

test("auto means threads exactly when libphp is thread-safe; what is asked for stands", () => {
  using folder = new Folder();
  const [pool] = folder.load().pools;
  if (pool === undefined) throw new Error("There is no pool");
  const settled = (["auto", "process", "thread"] as const).map((isolation) => [
    settleIsolation({ ...pool, isolation }, false),
    settleIsolation({ ...pool, isolation }, true),
  ]);
  expect(settled).toEqual([
    ["process", "thread"],
    ["process", "process"],
    ["thread", "thread"],
  ]);
});

test.skipIf(!shims.some(({ zts }) => zts))(
  "a host is told what its workers are, with the ini they need",
  () => {
    using folder = new Folder();
    const safe = shims.find(({ zts }) => zts);
    const yaml = `
php: { thread_stack_size: 2MiB, ini: { opcache.force_restart_timeout: 180 } }
pools: [{ name: a, isolation: process, patterns: [/a] }, { name: b }]
`;
    const config = configured(folder, { zendApi: safe?.zendApi, zts: true, version: "8.4.1" }, yaml);
    const [a, b] = config.pools.map((pool) => hostOptions(config, pool));
    expect(a).toMatchObject({
      isolation: "process",
      ini: "opcache.force_restart_timeout=180\nopcache.huge_code_pages=0\n",
    });
    expect(b).toMatchObject({
      isolation: "thread",
      threadStackBytes: 2 * 1024 ** 2,
      ini: "opcache.force_restart_timeout=0\nopcache.huge_code_pages=0\nopcache.protect_memory=0\n",
    });
  },
);
