import { expect, test } from "bun:test";
import { Folder as Looked } from "../../src/init/folder.ts";
import { codeOnly } from "../../src/init/php-code.ts";
import { findFaults } from "../../src/init/second-run.ts";
import { Folder } from "./config-helper.ts";

function faults(index: string, files: Readonly<Record<string, string>> = {}): string[] {
  using folder = new Folder({ "public/index.php": index, ...files });
  return findFaults(new Looked(folder.path), "public/index.php").map(({ where, what }) => `${where} ${what}`);
}

test.each([
  ["<?php\n\nfunction greet() {}", ":3 it declares function greet"],
  ["<?php function &byReference() {}", ":1 it declares function byReference"],
  ["<?php final class A {}", "it declares class A"],
  ["<?php #[Attribute]\nreadonly class A {}", "it declares class A"],
  ["<?php interface A {} ", "it declares interface A"],
  ["<?php echo 1; enum Suit: string {}", "it declares enum Suit"],
  ["<?php namespace A { function f() {} }", "it declares function f"],
  ["<?php namespace A; trait T {}", "it declares trait T"],
  ["<p>text</p>\n<?php function f() {}", ":2 it declares function f"],
  ["<?php if ($x) { echo 1; }\nfunction f() {}", ":2 it declares function f"],
  ["<?php define('START', microtime(true));", "it defines a constant"],
  ["<?php const A = 1;", "it defines a constant"],
  ["<?php require_once 'config.php';", "require_once 'config.php' does nothing the second time"],
  ["<?php include_once(__DIR__ . '/header.php');", "does nothing the second time"],
  ["<?php $app = require_once __DIR__ . '/autoload.php';", "it uses the value of require_once"],
  ["<?php (require_once 'app.php')->run();", "it uses the value of require_once"],
  ["<?php function f() { return require_once 'x.php'; }", "it uses the value of require_once"],
])("%j works the first time only", (index, fault) => {
  expect(faults(index).join("\n")).toContain(fault);
});

test.each([
  "<?php require __DIR__ . '/../vendor/autoload.php'; (new App)->run();",
  "<?php require_once __DIR__ . '/../vendor/autoload.php';",
  "<?php require_once dirname(__DIR__).'/vendor/autoload_runtime.php';\nreturn function () {};",
  "<?php $f = function () {}; $g = fn () => 1; static function () {};",
  "<?php $object = new class { const A = 1; function method() {} };",
  "<?php if (!function_exists('f')) { function f() {} }",
  "<?php // function f() {}\n# class A {}\n/* const B = 1; */",
  "<?php // until here ?> function f() {} <?php echo 1;",
  "<?php echo 'it\\'s function f() {}', \"\\\" class A {$rows[\"}\"]} \", `define('A', 1);`;",
  "<?php echo <<<HTML\nfunction f() {}\n  require_once 'x.php';\n  HTML;\n",
  "<?php echo <<<'TEXT'\nclass A {}\nTEXT;\n",
  "<?php use function A\\b; use const A\\C; echo A::class; $x->class; classify(); $functions = 1;",
  "<?php $loader->require_once('x'); $require_once = 1; Loader::include_once('x');",
  "plain text, function f() {} and class A",
])("%j can run again and again", (index) => {
  expect(faults(index)).toEqual([]);
});

test("files that are run each time are followed, those of vendor/ and those elsewhere are not", () => {
  const index = `<?php
require __DIR__ . '/../src/functions.php';
include dirname(__DIR__) . '/src/page.php';
require '../vendor/functions.php';
require '/etc/x.php';
require "$name.php";
`;
  const files = {
    "src/functions.php": "<?php\nrequire __DIR__ . '/deeper.php';\nfunction f() {}",
    "src/deeper.php": "<?php class Deep {}",
    "src/page.php": "<?php require __DIR__ . '/../public/index.php';",
    "vendor/functions.php": "<?php function v() {}",
  };
  expect(faults(index, files)).toEqual([
    expect.stringContaining("src/functions.php:3 it declares function f"),
    expect.stringContaining("src/deeper.php:1 it declares class Deep"),
  ]);
});

test("files that only declare may be loaded once, those that do something may not", () => {
  const once = (text: string, files: Readonly<Record<string, string>> = {}) =>
    faults("<?php require_once __DIR__ . '/lib.php';", { "public/lib.php": text, ...files });
  for (const text of [
    "<?php\ndeclare(strict_types=1);\nnamespace A;\nuse B\\C;\nfunction f() { return 1; }\nfinal class D {}\nconst E = 1;\n",
    "<?php if (!function_exists('f')) { function f() {} }\nif (! defined('A')) define('A', 1); ?>\n",
    "<?php spl_autoload_register(function ($name) { require $name; });",
    "<?php require_once 'deeper.php'; require_once __DIR__ . '/lib.php'; require 'vendor/autoload.php';",
  ])
    expect(once(text, { "public/deeper.php": "<?php trait T {}" })).toEqual([]);
  for (const text of [
    "<?php $config = [];",
    "<?php (new App)->run();",
    "<?php function f() {} ?>\n<h1>title</h1>\n",
    "<?php function f() {} ?>\n<?= f() ?>",
    "<h1>title</h1>",
    "<?php session_start();",
    "<?php require_once 'deeper.php';",
    '<?php require_once "$name.php";',
  ])
    expect(once(text, { "public/deeper.php": "<?php echo 1;" })).toHaveLength(1);
});

test("faults are told in the order in which they stand", () => {
  const found = faults("<?php\nrequire_once 'a.php';\nfunction f() {}\nrequire_once 'b.php';\n");
  expect(found.map((fault) => fault.split(" ")[0])).toEqual([
    "public/index.php:2",
    "public/index.php:3",
    "public/index.php:4",
  ]);
});

test("code keeps its places when all else is blanked, whatever is left open", () => {
  for (const source of [
    "<?php echo 'a'; ?>\nhtml <?= $b ?>",
    "<?php /* open",
    "<?php 'open {$",
    '<?php "open {$a',
    "<?php <<<X\nopen",
    "<?php <<< 3",
    "<?php # open",
    "<?",
    "",
  ]) {
    expect(codeOnly(source)).toHaveLength(source.length);
  }
  expect(codeOnly("<?php f('a', \"b\"); // c\n$d;")).toBe("    ; f(   ,    );     \n$d;");
  expect(codeOnly("ab <?= 1 ?>\n<b>")).toBe("$   ;$ 1 ; \n$  ");
});
