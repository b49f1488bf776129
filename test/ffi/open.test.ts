import { afterAll, beforeAll, expect, test } from "bun:test";
import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { transportPath } from "../../ffi/embedded.ts";
import { openable } from "../../ffi/open.ts";
import { transport } from "../../ffi/transport.ts";

let folder: string;
let program: string;

/** A small executable that carries the library in itself, as phprun does. */
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "phprun-open-"));
  program = join(folder, "program");
  const entry = join(import.meta.dir, "helpers/openable.ts");
  const build = Bun.spawnSync([process.execPath, "build", "--compile", entry, "--outfile", program]);
  expect(build.stderr.toString()).toBe("");
  expect(build.exitCode).toBe(0);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Report {
  embedded: string;
  path: string;
  abi: number;
  code?: string;
  message?: string;
}

function run(libraryDir?: string): Report {
  const env = { ...process.env, PHPRUN_LIBRARY_DIR: libraryDir };
  const { stdout, stderr } = Bun.spawnSync([program], { env });
  try {
    return JSON.parse(stdout.toString()) as Report;
  } catch {
    throw new Error(`The program said ${stdout}${stderr}`);
  }
}

const abi = () => transport().symbols.phprun_transport_abi();

test("a library beside the source tree is opened where it is", () => {
  expect(openable(transportPath)).toBe(transportPath);
});

test("a library inside the executable is opened from memory: no file is written", () => {
  const before = readdirSync(folder);
  const report = run();
  expect(report).toMatchObject({ abi: abi(), embedded: expect.stringMatching(/^\/\$bunfs\//) });
  expect(report.path).toMatch(/^\/proc\/self\/fd\/\d+$/);
  expect(readdirSync(folder)).toEqual(before);
});

test("PHPRUN_LIBRARY_DIR names the folder it is written to, where its owner alone writes", () => {
  const target = join(folder, "some/libraries");
  const report = run(target);
  expect(report.abi).toBe(abi());
  expect(report.path.startsWith(`${target}/`)).toBe(true);
  expect(readdirSync(target)).toEqual([report.path.slice(target.length + 1)]);
  // Others read it: a pool of another user does.
  expect(statSync(target).mode & 0o777).toBe(0o755);
  expect(readFileSync(report.path).equals(readFileSync(transportPath))).toBe(true);
});

test("the file is written once and used again", () => {
  const target = join(folder, "again");
  const { path } = run(target);
  utimesSync(path, 1000, 1000);
  expect(run(target).path).toBe(path);
  expect(statSync(path).mtimeMs).toBe(1_000_000);
});

test("half a file, left by a start that was killed, is replaced", () => {
  const target = join(folder, "half");
  const { path } = run(target);
  truncateSync(path, 1000);
  expect(run(target)).toMatchObject({ path, abi: abi() });
  expect(readdirSync(target)).toHaveLength(1);
});

test("a dozen starts at once get the same whole file", async () => {
  const target = join(folder, "race");
  const env = { ...process.env, PHPRUN_LIBRARY_DIR: target };
  const starts = Array.from({ length: 12 }, () =>
    Bun.spawn([program], { env, stdout: "pipe" }).stdout.text(),
  );
  const reports = (await Promise.all(starts)).map((text) => JSON.parse(text) as Report);
  expect(reports.map((report) => report.abi)).toEqual(reports.map(() => abi()));
  expect(readdirSync(target)).toHaveLength(1);
});

test("a folder that cannot be written to is named in the error", () => {
  const file = join(folder, "file");
  writeFileSync(file, "");
  expect(run(join(file, "below"))).toMatchObject({
    code: "LIBRARY",
    message: expect.stringContaining(`Cannot write ${file}/below/libphprun-transport-`),
  });
});
