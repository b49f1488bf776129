import { expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { parseDocument } from "yaml";
import type { Kind } from "../../src/init/kind.ts";
import { type Plan, plan } from "../../src/init/plan.ts";
import { writeFiles } from "../../src/init/write-files.ts";
import { Folder } from "./config-helper.ts";

const INDEX = { "public/index.php": "<?php echo 1;" };
const LARAVEL = { artisan: "", "bootstrap/app.php": "<?php", ...INDEX };
const symfony = (kernel: string) => ({ "bin/console": "", "src/Kernel.php": `<?php\n${kernel}\n`, ...INDEX });
const WORDPRESS = { "wp-load.php": "", "wp-includes/version.php": "", "index.php": "" };
const composer = (...names: string[]) => ({
  "composer.json": JSON.stringify({ require: Object.fromEntries(names.map((name) => [name, "*"])) }),
  "vendor/autoload.php": "<?php",
});

function planFor(files: Readonly<Record<string, string>>, wanted?: Kind): Plan {
  using folder = new Folder(files);
  return plan(folder.path, wanted, false);
}

const text = (made: Plan, name: string) => made.files.find((file) => file.name === name)?.text;
const config = (made: Plan) =>
  parseDocument(text(made, "phprun.yaml") ?? "").toJS() as Record<string, unknown>;

test("Laravel gets worker mode, a script of its own, and the folder of its public files", () => {
  const made = planFor(LARAVEL);
  expect(made.kind).toBe("laravel");
  expect(config(made)).toMatchObject({
    php: { docroot: "./public", symlinks: ["./storage/app/public"] },
    pools: [{ name: "app", mode: "worker", worker_script: "./phprun-worker.php", patterns: ["/*"] }],
  });
  expect(text(made, "phprun-worker.php")).toContain("$app->loadDeferredProviders()");
});

test("Symfony gets worker mode with the class of its own kernel", () => {
  const made = planFor(symfony("namespace App;\nclass Kernel {}"));
  expect(config(made)["pools"]).toMatchObject([{ mode: "worker", worker_script: "./phprun-worker.php" }]);
  expect(text(made, "phprun-worker.php")).toContain("use App\\Kernel;");
  const other = planFor(symfony("namespace Acme\\Shop;\nfinal class Kernel {}"));
  expect(text(other, "phprun-worker.php")).toContain("use Acme\\Shop\\Kernel;");
  expect(text(other, "phprun-worker.php")).not.toContain("App\\Kernel");
  const bare = planFor(symfony("class Kernel {}"));
  expect(text(bare, "phprun-worker.php")).not.toMatch(/use (App\\)?Kernel;/);
});

test("WordPress stays classic, and the file says why", () => {
  const made = planFor(WORDPRESS);
  expect(made.files.map(({ name }) => name)).toEqual(["phprun.yaml"]);
  expect(config(made)).toMatchObject({
    php: { docroot: ".", env: { SERVER_SOFTWARE: "nginx" }, ini: { upload_max_filesize: "64M" } },
    pools: [{ mode: "classic" }],
  });
  expect(text(made, "phprun.yaml")).toContain("# WordPress and its plugins declare functions");
});

test("plain PHP gets worker mode when nothing can be seen that speaks against it", () => {
  const made = planFor(INDEX);
  expect(config(made)["pools"]).toMatchObject([{ mode: "worker", worker_script: "./phprun-worker.php" }]);
  expect(text(made, "phprun-worker.php")).toContain("require __DIR__ . '/public/index.php';");
  const flat = planFor({ "index.php": "<?php" });
  expect(text(flat, "phprun-worker.php")).toContain("require __DIR__ . '/index.php';");
  expect(text(flat, "phprun-worker.php")).toContain("chdir(__DIR__);");
  const web = planFor({ "web/index.php": "<?php" });
  expect(text(web, "phprun-worker.php")).toContain("require __DIR__ . '/web/index.php';");
  expect(text(web, "phprun-worker.php")).toContain("chdir(__DIR__ . '/web');");
  expect(text(web, "phprun-worker.php")).not.toContain("public/");
});

test("plain PHP that cannot run twice stays classic with the reasons, unless somebody insists", () => {
  const files = { "public/index.php": "<?php\nfunction f() {}" };
  const careful = planFor(files);
  expect(careful.files.map(({ name }) => name)).toEqual(["phprun.yaml"]);
  expect(config(careful)["pools"]).toMatchObject([{ mode: "classic" }]);
  expect(text(careful, "phprun.yaml")).toContain("#  - public/index.php:2: it declares function f");
  const insisted = planFor(files, "plain");
  expect(config(insisted)["pools"]).toMatchObject([{ mode: "worker" }]);
  expect(insisted.warnings).toEqual([
    expect.stringContaining("Before worker mode works: public/index.php:2: it declares function f"),
  ]);
});

test("pages without an index.php have no front controller", () => {
  const made = planFor({ "public/index.html": "" });
  expect(config(made)["php"]).toMatchObject({ front_controller: null });
  expect(config(planFor(INDEX))["php"]).not.toHaveProperty("front_controller");
});

test("phprun/worker is used when it is required", () => {
  const laravel = planFor({ ...LARAVEL, ...composer("laravel/framework", "phprun/worker") });
  expect(text(laravel, "phprun-worker.php")).toContain("use Phprun\\Worker\\Laravel\\Worker;");
  const files = symfony("namespace App;\nclass Kernel {}");
  const runtime = planFor({ ...files, ...composer("phprun/worker", "symfony/runtime") });
  expect(runtime.files.map(({ name }) => name)).toEqual(["phprun.yaml"]);
  expect(config(runtime)["pools"]).toMatchObject([
    { worker_script: "./public/index.php", env: { APP_RUNTIME: "Phprun\\Worker\\Symfony\\Runtime" } },
  ]);
  const bare = planFor({ ...files, ...composer("phprun/worker") });
  expect(bare.files).toHaveLength(2);
});

test("a worker script that the application has is used, and none is written", () => {
  const made = planFor({ ...INDEX, "worker.php": "<?php while (frankenphp_handle_request($f)) {}" });
  expect(made.files.map(({ name }) => name)).toEqual(["phprun.yaml"]);
  expect(config(made)["pools"]).toMatchObject([{ mode: "worker", worker_script: "./worker.php" }]);
});

test("a kind that contradicts what is found is used, with a warning", () => {
  const made = planFor(LARAVEL, "symfony");
  expect(made.kind).toBe("symfony");
  expect(made.found).toContain("Found Laravel");
  expect(made.warnings).toEqual([
    "This looks like Laravel, and is prepared for Symfony as you said",
    "src/Kernel.php has no class Kernel: phprun-worker.php names App\\Kernel",
  ]);
  expect(text(made, "phprun-worker.php")).toContain("use App\\Kernel;");
  expect(planFor(INDEX, "laravel").warnings).toEqual([
    "Nothing here points to Laravel, and it is prepared for that as you said",
  ]);
  expect(planFor(LARAVEL, "laravel").warnings).toEqual([]);
});

test.each([undefined, "laravel", "plain"] as const)("nothing to serve is an error, for %p", (wanted) => {
  using folder = new Folder();
  expect(() => plan(folder.path, wanted, false)).toThrow(
    expect.objectContaining({ code: "INIT_NOTHING_TO_SERVE", exitCode: 2 }),
  );
});

test("links to strange places are quoted so that YAML reads them as they are", () => {
  using outside = new Folder({ "a: [b]/x.css": "", "c # d/x.css": "" });
  using folder = new Folder(INDEX);
  symlinkSync(join(outside.path, "a: [b]"), join(folder.path, "public/one"));
  symlinkSync(join(outside.path, "c # d"), join(folder.path, "public/two"));
  const made = plan(folder.path, undefined, false);
  expect(config(made)["php"]).toMatchObject({
    symlinks: [join(outside.path, "a: [b]"), join(outside.path, "c # d")],
  });
});

test("files that exist are kept, also when they are links or lie in config/", () => {
  using folder = new Folder({ ...LARAVEL, "config/phprun.yaml": "# mine\n" });
  symlinkSync("/nowhere", join(folder.path, "phprun-worker.php"));
  const keeps = (force: boolean) => plan(folder.path, undefined, force).files.map((file) => file.keeps);
  expect(keeps(false)).toEqual([join("config", "phprun.yaml"), "phprun-worker.php"]);
  expect(keeps(true)).toEqual([undefined, undefined]);
  folder.write("phprun.yaml", "");
  expect(keeps(false)).toEqual(["phprun.yaml", "phprun-worker.php"]);
});

test("files are written whole or not at all", () => {
  using folder = new Folder({ "old.txt": "old", "real/target.txt": "old" });
  const at = (name: string) => join(folder.path, name);
  const files = (...names: string[]) => names.map((name) => ({ path: at(name), text: "new" }));
  mkdirSync(at("folder"));
  symlinkSync("real/target.txt", at("link.txt"));
  const before = readdirSync(folder.path);

  for (const names of [
    ["new.txt", "no/such/folder/x.txt"],
    ["new.txt", "old.txt"],
  ]) {
    expect(() => writeFiles(files(...names), false)).toThrow(
      expect.objectContaining({ code: "INIT_UNWRITABLE" }),
    );
  }
  expect(readFileSync(at("old.txt"), "utf8")).toBe("old");
  expect(readdirSync(folder.path).filter((name) => name !== "new.txt")).toEqual(before);

  expect(() => writeFiles(files("folder"), true)).toThrow(
    expect.objectContaining({ code: "INIT_UNWRITABLE" }),
  );
  writeFiles(files("old.txt", "link.txt"), true);
  expect(readFileSync(at("old.txt"), "utf8")).toBe("new");
  expect(readFileSync(at("real/target.txt"), "utf8")).toBe("new");
  expect(existsSync(at(".old.txt.tmp"))).toBeFalse();
});
