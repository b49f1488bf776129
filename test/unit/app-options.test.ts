import { expect, test } from "bun:test";
import { appOptions } from "../../src/pool/app-options.ts";
import { AppOption } from "../../src/pool/messages.ts";
import { withoutTemplate } from "../../src/pool/without-template.ts";
import type { PoolSetup } from "../../src/pool/generation.ts";
import { Folder } from "./config-helper.ts";

const folderOf = (pool: string) =>
  new Folder({
    "phprun.yaml": `pools: [{ name: a, worker_script: w.php, worker: { ${pool} } }]`,
    "w.php": "",
  });

function optionsOf(pool: string, isolation: "process" | "thread" = "process"): number {
  using folder = folderOf(pool);
  const config = folder.load();
  const [only] = config.pools;
  return (only && appOptions(config, only, isolation)?.options) ?? -1;
}

test("a pool in classic mode has no application", () => {
  using folder = new Folder({
    "phprun.yaml": "pools: [{ name: a, mode: classic, worker_script: w.php }]",
    "w.php": "",
  });
  const config = folder.load();
  for (const pool of config.pools) expect(appOptions(config, pool, "process")).toBeNull();
});

test("the host is told of the script, its name and the docroot", () => {
  using folder = folderOf("");
  const config = folder.load();
  const [pool] = config.pools;
  expect(pool && appOptions(config, pool, "process")).toMatchObject({
    script: `${folder.path}/w.php`,
    scriptName: "/w.php",
    documentRoot: folder.path,
  });
});

test("each setting is an option of the host's", () => {
  const none = "reset: [], template: false";
  expect(optionsOf(none)).toBe(0);
  const cases: [string, number][] = [
    ["reset: [ini], template: false", AppOption.resetIni],
    ["reset: [env], template: false", AppOption.resetEnv],
    ["reset: [cwd], template: false", AppOption.resetCwd],
    ["reset: [error_handlers], template: false", AppOption.resetHandlers],
    ["reset: [timezone], template: false", AppOption.resetTimezone],
    ["reset: [locale], template: false", AppOption.resetLocale],
    [`${none}, on_exception: recycle`, AppOption.recycleOnException],
    [`${none}, paranoid: true`, AppOption.paranoid],
    ["reset: [], template: true", AppOption.template],
    ["reset: [], template: auto", AppOption.template | AppOption.templateStrict],
    ["reset: [ini, locale], template: false", AppOption.resetIni | AppOption.resetLocale],
  ];
  for (const [yaml, options] of cases) expect([yaml, optionsOf(yaml)]).toEqual([yaml, options]);
  expect(optionsOf("")).toBe(AppOption.resetCwd | AppOption.template | AppOption.templateStrict);
});

test("threads have no template", () => {
  for (const template of ["auto", "true", "false"])
    expect(optionsOf(`reset: [], template: ${template}`, "thread")).toBe(0);
});

test("without its template a pool keeps everything else", () => {
  using folder = folderOf("reset: [ini], template: auto");
  const config = folder.load();
  const [pool] = config.pools;
  const app = pool === undefined ? null : appOptions(config, pool, "process");
  const setup = { host: { app } } as unknown as PoolSetup;
  expect(withoutTemplate(setup).host.app).toEqual({ ...app, options: AppOption.resetIni } as never);
  const classic = { host: { app: null } } as unknown as PoolSetup;
  expect(withoutTemplate(classic)).toBe(classic);
});
