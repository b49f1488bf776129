import { expect, test } from "bun:test";
import { mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { type Application, lookAt } from "../../src/init/application.ts";
import { Folder as Looked } from "../../src/init/folder.ts";
import { Folder } from "./config-helper.ts";

const look = (folder: Folder): Application => lookAt(new Looked(folder.path));

const requiring = (...names: string[]) =>
  JSON.stringify({ require: Object.fromEntries(names.map((name) => [name, "*"])) });

const LARAVEL = { artisan: "", "bootstrap/app.php": "<?php", "public/index.php": "<?php" };
const KERNEL = "<?php\nnamespace App;\n\nclass Kernel extends BaseKernel\n{\n}\n";
const SYMFONY = { "bin/console": "", "src/Kernel.php": KERNEL, "public/index.php": "<?php" };
const WORDPRESS = {
  "wp-load.php": "<?php",
  "index.php": "<?php",
  "wp-includes/version.php": "<?php\n$wp_version = '6.1.9';\n",
};

const below = (place: string, files: Readonly<Record<string, string>>) =>
  Object.fromEntries(Object.entries(files).map(([name, text]) => [`${place}/${name}`, text]));

test.each([
  ["Laravel by artisan and bootstrap/app.php", LARAVEL, "laravel", "public"],
  [
    "Laravel by composer.json and bootstrap/app.php",
    {
      "composer.json": requiring("laravel/framework"),
      "bootstrap/app.php": "<?php",
      "public/index.php": "",
    },
    "laravel",
    "public",
  ],
  ["Symfony by bin/console and src/Kernel.php", SYMFONY, "symfony", "public"],
  [
    "Symfony by composer.json and src/Kernel.php",
    {
      "composer.json": requiring("symfony/framework-bundle"),
      "src/Kernel.php": KERNEL,
      "web/index.php": "<?php",
    },
    "symfony",
    "web",
  ],
  ["WordPress in the folder itself", WORDPRESS, "wordpress", "."],
  ["WordPress in public/, as with Debian's links", below("public", WORDPRESS), "wordpress", "public"],
  [
    "WordPress beside its pages, as Bedrock has it",
    {
      "composer.json": requiring("roots/wordpress"),
      "web/index.php": "<?php",
      ...below("web/wp", WORDPRESS),
    },
    "wordpress",
    "web",
  ],
] as const)("finds %s", (_, files, kind, docroot) => {
  using folder = new Folder(files);
  const { detected, docroot: served } = look(folder);
  expect({ kind: detected?.kind, docroot: served }).toEqual({ kind, docroot });
  expect(detected?.why.join()).not.toBe("");
});

test.each([
  ["a package for Laravel", { "composer.json": requiring("laravel/framework"), "src/Provider.php": "<?php" }],
  [
    "Lumen, which has no kernel that could stay",
    { ...LARAVEL, "composer.json": requiring("laravel/lumen-framework") },
  ],
  ["a bundle for Symfony", { "composer.json": requiring("symfony/framework-bundle"), "index.php": "<?php" }],
  ["another class named Kernel.php", { "bin/console": "", "src/Kernel.php": "<?php class Other {}" }],
  ["a blog in a folder of a site", { "index.php": "<?php", ...below("public/blog", WORDPRESS) }],
  ["static pages", { "public/index.html": "" }],
])("%s is none of the frameworks", (_, files) => {
  using folder = new Folder(files);
  expect(look(folder).detected).toBeNull();
});

test("what is in the docroot counts more than what is around it", () => {
  using folder = new Folder({ ...SYMFONY, ...below("public", WORDPRESS) });
  expect(look(folder).detected?.kind).toBe("wordpress");
});

test("packages for development do not count, and a broken composer.json is said to be one", () => {
  using folder = new Folder({
    "composer.json": JSON.stringify({ "require-dev": { "phprun/worker": "*", "symfony/runtime": "*" } }),
    "public/index.php": "<?php",
  });
  expect(look(folder)).toMatchObject({ hasPackage: false, hasSymfonyRuntime: false });
  folder.write("composer.json", "{ require: ");
  expect(look(folder).warnings[0]).toStartWith("composer.json is no JSON object");
  folder.write("composer.json", "[]");
  expect(look(folder).warnings[0]).toStartWith("composer.json is no JSON object");
});

test("versions come from composer.lock and from WordPress itself, and only if they look like one", () => {
  const lock = (version: string) =>
    JSON.stringify({ packages: [null, { name: "laravel/framework", version }] });
  using laravel = new Folder({ ...LARAVEL, "composer.lock": lock("v11.5.0") });
  expect(look(laravel).detected?.version).toBe("11.5.0");
  laravel.write("composer.lock", lock("11\nserver: {}"));
  expect(look(laravel).detected?.version).toBeUndefined();
  using wordpress = new Folder(WORDPRESS);
  expect(look(wordpress).detected?.version).toBe("6.1.9");
});

test("a missing vendor folder is said, when there should be one", () => {
  using folder = new Folder({ ...LARAVEL, "composer.json": requiring("laravel/framework") });
  expect(look(folder).warnings).toEqual([expect.stringContaining("run `composer install`")]);
  folder.write("vendor/autoload.php", "<?php");
  expect(look(folder).warnings).toEqual([]);
});

test.each([
  [{ "public/index.php": "", "web/index.php": "", "index.php": "" }, "public"],
  [{ "web/index.php": "", "index.php": "" }, "web"],
  [{ "index.php": "", "public/style.css": "" }, "."],
  [{ "public/index.html": "", "tools.php": "" }, "public"],
  [{ "wiki.php": "" }, "."],
  [{ "src/Thing.php": "" }, null],
  [{}, null],
])("the docroot of %j is %p", (files, docroot) => {
  using folder = new Folder(files);
  expect(look(folder).docroot).toBe(docroot);
});

test("a docroot that is the whole application is warned of", () => {
  using folder = new Folder({ "index.php": "<?php" });
  expect(look(folder).warnings).toEqual([expect.stringContaining("such as phprun.yaml")]);
});

test("links that leave the docroot are found, in it and in its folders", () => {
  using outside = new Folder({ "css/a.css": "", "one.php": "" });
  using folder = new Folder({
    "public/index.php": "<?php",
    "public/media/x.txt": "",
    "storage/app/public/a.txt": "",
  });
  const link = (target: string, name: string) => symlinkSync(target, join(folder.path, "public", name));
  link("../storage/app/public", "storage");
  link(join(outside.path, "css"), "media/css");
  link(join(outside.path, "one.php"), "one.php");
  link("index.php", "inside.php");
  link("/nowhere/at/all", "broken");
  link("..", "all");
  const { links, warnings } = look(folder);
  expect(links).toEqual({ targets: ["./storage/app/public", outside.path].sort(), refused: ["all"] });
  expect(warnings).toEqual([
    expect.stringContaining("all leads to a folder that holds the whole application"),
  ]);
});

test("a loop for requests that the application has already is found", () => {
  using folder = new Folder({
    "public/index.php": "<?php",
    "public/worker.php": "<?php while (frankenphp_handle_request($handler)) {}",
  });
  expect(look(folder).workerScript).toBe("public/worker.php");
  folder.write("worker.php", "<?php do { $more = \\phprun_handle_request ($handler); } while ($more);");
  expect(look(folder).workerScript).toBe("worker.php");
});

test("several scripts with URLs of their own speak against worker mode", () => {
  using folder = new Folder({
    "public/index.php": "<?php",
    "public/a.php": "",
    "public/admin/index.php": "",
  });
  expect(look(folder).classicBecause).toEqual([
    "visitors ask for several scripts (a.php, admin/index.php), and a worker answers with one",
  ]);
});

test("names with control characters stay on one line", () => {
  using folder = new Folder({ "public/index.php": "<?php" });
  folder.write("public/a\nserver:\u001b[31m.php", "");
  expect(look(folder).classicBecause.join()).toContain("(a?server:?[31m.php)");
});

test("what cannot be read is as good as not there", () => {
  using folder = new Folder({ "public/index.php": "<?php" });
  mkdirSync(join(folder.path, "composer.json"));
  mkdirSync(join(folder.path, "artisan"));
  expect(look(folder)).toMatchObject({ detected: null, docroot: "public", warnings: [] });
});
