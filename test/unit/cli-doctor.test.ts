import { expect, test } from "bun:test";
import { createServer } from "node:net";
import { checkPhp, checkThreadIni, judge } from "../../src/cli/checks/php.ts";
import { judgeLibphps } from "../../src/cli/checks/libphp.ts";
import { checkMemory, checkOpenFiles } from "../../src/cli/checks/limits.ts";
import { checkPlaces } from "../../src/cli/checks/places.ts";
import type { PhpReport } from "../../src/php/report.ts";
import { libphpCandidates } from "../../src/php/locate.ts";
import { type Probed, probeLibphp } from "../../src/php/probe.ts";
import { PhprunError } from "../../src/errors.ts";
import { Folder } from "./config-helper.ts";

const REPORT: PhpReport = {
  version: "8.2.1",
  sapi: "phprun",
  zts: false,
  debug: false,
  zendApi: 20220829,
  libphp: "/usr/lib/libphp.so",
  opcache: true,
  opcacheReason: "",
  iniFile: "/etc/php.ini",
  iniScanned: [],
  extensions: ["Core"],
  startupErrors: [],
};

const LIBPHP = { path: "/x", version: "8.2.1", zendApi: 20220829, zts: false, debug: false };

test("a healthy PHP is fine, and each thing that is not comes with a remedy", () => {
  expect(judge(REPORT).every(({ level }) => level === "ok")).toBeTrue();
  const sick = judge({
    ...REPORT,
    opcache: false,
    opcacheReason: "not loaded",
    startupErrors: ["cannot load foo.so"],
  });
  expect(sick.find(({ level }) => level === "fail")?.text).toContain("cannot load foo.so");
  expect(sick.find(({ level }) => level === "warn")?.text).toBe("opcache is off: not loaded");
  expect(sick.every(({ level, remedy }) => level === "ok" || remedy !== undefined)).toBeTrue();
});

test("a PHP that does not start is one finding", async () => {
  const [finding] = await checkPhp(() => Promise.reject(new PhprunError("PHP_START", "no such library")));
  expect(finding).toMatchObject({ level: "fail", text: "PHP does not start: no such library" });
});

const ZTS = { ...LIBPHP, path: "/z", version: "8.4.2", zendApi: 20240924, zts: true };
const NTS_SHIM = { ...LIBPHP, path: "/nts.so" };
const ZTS_SHIM = { ...ZTS, path: "/zts.so" };

/** The last finding of what is judged for a configuration, and the library that is used. */
function judged(yaml: string, probed: readonly Probed[], shims = [NTS_SHIM, ZTS_SHIM]) {
  using folder = new Folder({ "phprun.yaml": yaml });
  const { findings, chosen } = judgeLibphps(probed, folder.load(), shims);
  return { path: chosen?.path, texts: findings.map(({ text }) => text), last: findings.at(-1) };
}

test("the first libphp that a shim was built for is used, and what its workers are is told", () => {
  expect(judged("", [LIBPHP, ZTS])).toMatchObject({
    path: "/x",
    texts: [
      "/x: PHP 8.2.1 NTS API 20220829, the one that is used",
      "/z: PHP 8.4.2 ZTS API 20240924",
      "phprun was built for API 20220829 NTS (PHP 8.2.1) or API 20240924 ZTS (PHP 8.4.2)",
      "Workers are processes",
    ],
  });
  const { path, texts } = judged("", [LIBPHP, ZTS], [ZTS_SHIM]);
  expect(path).toBe("/z");
  expect(texts[0]).toEndWith(", which phprun was not built for");
  expect(texts.at(-1)).toBe("Workers are threads of one process per pool");
});

test("one pool in threads asks for a thread-safe libphp, which all pools get", () => {
  const yaml = "pools: [{ name: a, patterns: [/a], isolation: thread }, { name: b, isolation: process }]";
  expect(judged(yaml, [LIBPHP, ZTS])).toMatchObject({
    path: "/z",
    last: {
      level: "ok",
      text: "Workers are threads of one process per pool in pool a, processes in pool b",
    },
  });
  expect(judged(yaml, [LIBPHP])).toMatchObject({
    path: undefined,
    last: { level: "fail", remedy: expect.stringContaining("./setup.sh --zts") },
  });
});

test("a shim must be built for the library's API, thread safety and kind", () => {
  for (const other of [{ zendApi: 20230831 }, { zts: true }, { debug: true }]) {
    expect(judged("", [LIBPHP], [{ ...NTS_SHIM, ...other }]).last).toMatchObject({
      level: "fail",
      text: expect.stringMatching(
        /^phprun was built for API \S+ [ZN]TS.*, not for PHP 8\.2\.1 NTS API 20220829$/,
      ),
      remedy: expect.stringContaining("./setup.sh"),
    });
  }
});

test("extensions and settings that threads do not go with are told, and only where there are threads", () => {
  const report = { ...REPORT, extensions: ["Core", "imap", "gettext"] };
  expect(judge(report).every(({ level }) => level === "ok")).toBeTrue();
  const told = judge(report, true).filter(({ level }) => level !== "ok");
  expect(told).toMatchObject([
    { level: "warn", text: expect.stringContaining("extension imap"), remedy: expect.any(String) },
    { level: "note", text: expect.stringContaining("extension gettext") },
  ]);
  expect(checkThreadIni({ max_execution_time: "30" }, LIBPHP)).toMatchObject([{ level: "warn" }]);
  expect(checkThreadIni({ max_execution_time: "30" }, ZTS)).toEqual([]);
});

test("low limits are warnings", () => {
  using folder = new Folder();
  const config = folder.load({ workers: "4" });
  expect(checkOpenFiles(1024).level).toBe("warn");
  expect(checkOpenFiles(65_536).level).toBe("ok");
  expect(checkMemory(config, { bytes: 512 * 1024 ** 2, source: "test" }).level).toBe("warn");
  expect(checkMemory(config, { bytes: 8 * 1024 ** 3, source: "test" }).level).toBe("ok");
});

test("a port in use is found, and a free one is free again after the look", async () => {
  using folder = new Folder({ "index.php": "" });
  const server = createServer();
  const port = await new Promise<number>((resolve) => {
    server.listen(0, "127.0.0.1", () => resolve((server.address() as { port: number }).port));
  });
  const look = async () => (await checkPlaces(folder.load({ host: "127.0.0.1", port: String(port) }))).at(-1);
  expect(await look()).toMatchObject({ level: "fail", text: `127.0.0.1:${port} is in use` });
  await new Promise((resolve) => server.close(resolve));
  expect(await look()).toMatchObject({ level: "ok" });
  expect(await look()).toMatchObject({ level: "ok" });
});

test("a file that is no library is asked in a child and refused with a reason", async () => {
  using folder = new Folder();
  const probed = await probeLibphp(folder.write("libphp.so", "not a library"));
  expect(probed).toMatchObject({ error: expect.stringContaining("libphp.so") });
  expect(await probeLibphp("/nonexistent/libphp.so")).toMatchObject({
    error: expect.stringContaining("No such file"),
  });
});

const candidates = libphpCandidates("auto");

test.skipIf(candidates.length === 0)(
  "each libphp of this machine is listed once and tells what it is",
  async () => {
    expect(new Set(candidates).size).toBe(candidates.length);
    for (const path of candidates) {
      const probed = await probeLibphp(path);
      expect(probed).toMatchObject({
        path,
        version: expect.stringMatching(/^\d+\.\d+\.\d+/),
        zendApi: expect.any(Number),
        debug: false,
      });
    }
  },
);
