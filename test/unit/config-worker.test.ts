import { expect, test } from "bun:test";
import { printConfig } from "../../src/config/print.ts";
import { Folder } from "./config-helper.ts";

const withScript = (yaml: string) => new Folder({ "phprun.yaml": yaml, "w.php": "<?php" });

test("nothing of worker mode is on unless it is asked for", () => {
  using folder = new Folder();
  const config = folder.load();
  expect(config.pools[0]).toMatchObject({ mode: "classic", workerScript: null });
  expect(config.php.compat).toEqual(["frankenphp"]);
  expect(config.worker).toMatchObject({
    reset: ["cwd"],
    onException: "keep",
    bootTimeoutMs: 30_000,
    bootAttempts: 3,
    template: "auto",
    reforkAfter: 0,
    paranoid: false,
  });
});

test("a worker_script puts its pool into worker mode, relative to the configuration's folder", () => {
  using folder = withScript("pools: [{ name: a, worker_script: ./w.php }]");
  expect(folder.load().pools[0]).toMatchObject({ mode: "worker", workerScript: `${folder.path}/w.php` });
  using classic = withScript("pools: [{ name: a, mode: classic, worker_script: w.php }]");
  expect(classic.load().pools[0]?.mode).toBe("classic");
});

test("what a pool says of worker mode goes over what is said for all, key by key", () => {
  using folder = withScript(`
worker: { reset: [ini, env], boot_timeout_ms: 5000, template: false }
pools:
  - { name: a, worker_script: w.php, patterns: ["/a/*"], worker: { reset: [], on_exception: recycle, template: true } }
  - { name: b, worker_script: w.php }
`);
  const [a, b] = folder.load().pools;
  expect(a?.worker).toMatchObject({ reset: [], onException: "recycle", bootTimeoutMs: 5000, template: true });
  expect(b?.worker).toMatchObject({
    reset: ["ini", "env"],
    onException: "keep",
    bootTimeoutMs: 5000,
    template: false,
  });
});

test("flags: --worker-script is for the only pool, --paranoid for all", () => {
  using folder = withScript("");
  const [pool] = folder.load({ workerScript: "w.php", paranoid: true }).pools;
  expect(pool).toMatchObject({ mode: "worker", workerScript: `${folder.path}/w.php` });
  expect(pool?.worker.paranoid).toBe(true);
  using two = withScript('pools: [{ name: a, patterns: ["/a"] }, { name: b }]');
  expect(two.errors({ workerScript: "w.php" })).toEqual([expect.stringContaining("there are 2 pools")]);
});

test("environment variables reach the keys of worker mode", () => {
  using folder = withScript("pools: [{ name: a, worker_script: w.php }]");
  const config = folder.load(
    {},
    { PHPRUN_WORKER__BOOT_TIMEOUT_MS: "1234", PHPRUN_WORKER__TEMPLATE: "false" },
  );
  expect(config.pools[0]?.worker).toMatchObject({ bootTimeoutMs: 1234, template: false });
});

test("what cannot be is named with its place", () => {
  const cases: [string, string][] = [
    ["pools: [{ name: a, mode: worker }]", "needs a worker_script"],
    ["pools: [{ name: a, worker_script: missing.php }]", "'pools[0].worker_script'"],
    ["pools: [{ name: a, worker_script: w.php, worker: { reset: [globals] } }]", "'pools[0].worker.reset"],
    ["worker: { reset: [ini, ini, sessions] }", "'worker.reset"],
    ["worker: { on_exception: restart }", "'worker.on_exception'"],
    ["worker: { boot_attempts: 0 }", "'worker.boot_attempts'"],
    ["worker: { boot_timeout_ms: 0 }", "'worker.boot_timeout_ms'"],
    ["worker: { template: sometimes }", "'worker.template'"],
    ["worker: { refork_after: -1 }", "'worker.refork_after'"],
    ["php: { compat: [roadrunner] }", "'php.compat"],
  ];
  for (const [yaml, told] of cases) {
    using folder = withScript(yaml);
    expect([yaml, folder.errors().join("\n")]).toEqual([yaml, expect.stringContaining(told)]);
  }
});

test("config print gives back the same configuration", () => {
  using folder = withScript(
    "worker: { reset: [env], template: false }\npools: [{ name: a, worker_script: w.php, worker: { boot_attempts: 1 } }]",
  );
  const config = folder.load();
  folder.write("phprun.yaml", printConfig(config));
  expect(folder.load()).toEqual(config);
});
