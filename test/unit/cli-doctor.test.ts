import { expect, test } from "bun:test";
import { createServer } from "node:net";
import { judge, checkPhp } from "../../src/cli/checks/php.ts";
import { checkShim } from "../../src/cli/checks/libphp.ts";
import { checkMemory, checkOpenFiles } from "../../src/cli/checks/limits.ts";
import { checkPlaces } from "../../src/cli/checks/places.ts";
import type { PhpReport } from "../../src/php/report.ts";
import { libphpCandidates } from "../../src/php/locate.ts";
import { probeLibphp } from "../../src/php/probe.ts";
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

test("a shim must be built for the library's API, thread safety and kind", () => {
  expect(checkShim(LIBPHP, { zendApi: 20220829, zts: false, debug: false }).level).toBe("ok");
  const wrong = checkShim(LIBPHP, { zendApi: 20230831, zts: true, debug: false });
  expect(wrong).toMatchObject({
    level: "fail",
    text: "phprun was built for PHP of API 20230831, not 20220829 and ZTS, not NTS",
  });
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
