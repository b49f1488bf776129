import { expect } from "bun:test";
import { readFileSync } from "node:fs";
import { createServer } from "node:net";
import { dirname, join } from "node:path";
import { command, targets, test } from "../harness.ts";
import { libphpCandidates } from "../../src/php/locate.ts";
import { readBuild } from "../../src/php/read-build.ts";
import { ztsLibphp } from "../zts.ts";
import { type Finished, run, Scratch } from "./support.ts";

const [libphp = ""] = libphpCandidates("auto");

async function doctor(scratch: Scratch, yaml: string, env: Record<string, string> = {}): Promise<Finished> {
  scratch.write("public/index.php", "<?php");
  scratch.write("phprun.yaml", yaml);
  return await run(command(targets[0] ?? "source", "doctor"), { cwd: scratch.path, env });
}

const HEALTHY = "server: { port: 0 }\n";

test("a healthy machine is told so, with everything that was looked at", async () => {
  using scratch = new Scratch();
  const { code, out, err } = await doctor(scratch, HEALTHY);
  expect({ code, err }).toEqual({ code: 0, err: "" });
  for (const text of [
    "the one that is used",
    "phprun was built for API ",
    "Workers are ",
    "starts, as",
    "Ini files",
    "extensions",
    "opcache is on",
  ])
    expect(out).toContain(text);
  for (const text of ["Open files", "Memory", "Shared memory", "docroot", "spool folder"])
    expect(out).toContain(text);
  expect(out).toEndWith("\nAll is well.\n");
  expect(out).not.toMatch(/✘|\x1b/);
});

test("extension lines that do not load are findings with a remedy, and following it cures them", async () => {
  using scratch = new Scratch();
  scratch.write("conf.d/99.ini", "extension=nope\nzend_extension=nada\n");
  const env = { PHP_INI_SCAN_DIR: `:${join(scratch.path, "conf.d")}` };
  const sick = await doctor(scratch, HEALTHY, env);
  expect(sick.code).toBe(1);
  expect(sick.out).toMatch(
    /✘ PHP complains at start: .*'nope'.*\n {2}→ Correct or remove that line of php\.ini/,
  );
  expect(sick.out).toMatch(/✘ PHP complains at start: .*nada/);
  expect(sick.out).toEndWith("\n2 things are wrong.\n");
  scratch.write("conf.d/99.ini", ";extension=nope\n");
  expect((await doctor(scratch, HEALTHY, env)).code).toBe(0);
});

test("a port in use is a finding, and another port cures it", async () => {
  using scratch = new Scratch();
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  const sick = await doctor(scratch, `server: { host: 127.0.0.1, port: ${port} }\n`);
  expect(sick.code).toBe(1);
  expect(sick.out).toContain(`✘ 127.0.0.1:${port} is in use\n  → `);
  expect((await doctor(scratch, HEALTHY)).code).toBe(0);
  server.close();
});

test.skipIf(libphp === "")("a libphp of another API is one finding, and auto cures it", async () => {
  using scratch = new Scratch();
  const bytes = readFileSync(libphp);
  bytes.write("20990101", bytes.indexOf("\0API20", 0, "latin1") + 4, "latin1");
  const other = scratch.write("libphp.so", bytes);
  const sick = await doctor(scratch, `${HEALTHY}php: { libphp: ${other} }\n`);
  expect(sick.code).toBe(1);
  expect(sick.out).toMatch(
    /✘ phprun was built for API \d{8} .*, not for PHP \S+ [ZN]TS API 20990101\n {2}→ .*set php\.libphp/,
  );
  expect(sick.out).toEndWith("\n1 thing is wrong.\n");
  expect((await doctor(scratch, `${HEALTHY}php: { libphp: auto }\n`)).code).toBe(0);
});

test("every libphp is listed with its kind and where its extensions are", async () => {
  using scratch = new Scratch();
  const { HOME = "" } = process.env;
  const { out } = await doctor(scratch, HEALTHY, { HOME });
  for (const path of libphpCandidates("auto")) {
    const line = out.split("\n").find((text) => text.includes(`${path}: `));
    expect(line).toMatch(/: PHP \d+\.\d+\.\d+\S* [ZN]TS( debug)? API \d{8}/);
  }
  expect(out).toMatch(/API (\d{8}), extensions in \/\S*\1, the one that is used\n/);
});

const zts = ztsLibphp === null ? test.skip : test;

zts("isolation: thread takes the libphp that can, and says when the one that is named cannot", async () => {
  using scratch = new Scratch();
  const env = { PHPRUN_ZTS_PREFIX: dirname(dirname(ztsLibphp ?? "")) };
  const sound = await doctor(scratch, `${HEALTHY}php: { isolation: thread }\n`, env);
  expect({ code: sound.code, err: sound.err }).toEqual({ code: 0, err: "" });
  expect(sound.out).toMatch(/ZTS API \d{8}.*, the one that is used\n/);
  expect(sound.out).toContain("✔ Workers are threads of one process per pool\n");
  const nts = libphpCandidates("auto").find((path) => readBuild(path)?.zts === false);
  if (nts === undefined) return;
  const sick = await doctor(scratch, `${HEALTHY}php: { isolation: thread, libphp: ${nts} }\n`, env);
  expect(sick.code).toBe(1);
  expect(sick.out).toMatch(/✘ No libphp that was found is thread-safe .*\n {2}→ Run \.\/setup\.sh --zts/);
});

test("a file that is no libphp is one finding", async () => {
  using scratch = new Scratch();
  const text = scratch.write("libphp.so", "I am a text file\n");
  const { code, out } = await doctor(scratch, `${HEALTHY}php: { libphp: ${text} }\n`);
  expect(code).toBe(1);
  expect(out).toMatch(
    /✘ No libphp that was found .*\n {2}→ Set php\.libphp to the path of a libphp\.so, or leave it out/,
  );
});

test("opcache that is off is a warning, not a failure", async () => {
  using scratch = new Scratch();
  const { code, out } = await doctor(scratch, `${HEALTHY}php: { ini: { opcache.enable: "0" } }\n`);
  expect(code).toBe(0);
  expect(out).toMatch(/! opcache is off: opcache\.enable is off\n {2}→ /);
});

test("findings are there for machines too", async () => {
  using scratch = new Scratch();
  scratch.write("public/index.php", "<?php");
  scratch.write("phprun.yaml", HEALTHY);
  const { code, out } = await run(command(targets[0] ?? "source", "doctor", "--json"), { cwd: scratch.path });
  expect(code).toBe(0);
  const report = JSON.parse(out) as { ok: boolean; findings: { level: string }[] };
  expect(report.ok).toBeTrue();
  expect(report.findings.length).toBeGreaterThan(8);
});
