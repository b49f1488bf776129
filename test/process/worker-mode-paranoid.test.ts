/** Worker mode: what `worker.paranoid` tells of what requests leave behind, and that it tells nothing else. */
import { describe, expect } from "bun:test";
import { type Server, test } from "../harness.ts";
import { type App, appOptions, sharedApp } from "./app.ts";
import { get, underEachIsolation } from "./support.ts";

const BOOT = `<?php
namespace App {
  class Memory {
    public static array $cache = ['a' => 1, 'b' => 2];
    public static ?string $user = null;
    public array $rows = [];
  }
  function counter(): int { static $calls = 0; return ++$calls; }
  $GLOBALS['list'] = [];
  $GLOBALS['one'] = new Memory();
  counter();
}`;

/** What a page leaves behind, and how that is told. */
const PAGES: Readonly<Record<string, readonly [php: string, told: readonly string[]]>> = {
  "static-array": ["App\\Memory::$cache[] = 3;", ["↑ App\\Memory::$cache array:2 → array:3 (+1)"]],
  "static-value": ["App\\Memory::$user = 'somebody';", ["↑ App\\Memory::$user null → string:8 (+8)"]],
  "another-value": [
    "App\\Memory::$user = 'anything';",
    ["~ App\\Memory::$user string:8 → string:8 (another)"],
  ],
  "nested-array": ["$GLOBALS['list'] = [[1, 2], [3]];", ["↑ $list array:0 → array:2 with 3 inside (+5)"]],
  "static-variable": ["App\\counter();", ["~ App\\counter() $calls int → int (another)"]],
  global: ["$GLOBALS['mine'] = 'text';", ["↑ $mine new → string:4"]],
  constant: ["define('SEEN', true);", ["↑ const SEEN new → true"]],
  ini: ["ini_set('memory_limit', '99M');", ["↑ ini memory_limit new → string:3"]],
  env: ["putenv('OWN=secret');", ["↑ env OWN new → string:6"]],
  folder: ["chdir('/usr');", ["↑ working directory string:1 → string:4 (+3)"]],
  "error-handler": [
    "set_error_handler('strlen');",
    ["↑ error handler none → string:6 (+6)", "↑ error handlers below it 0 → 1 (+1)"],
  ],
  "exception-handler": [
    "set_exception_handler('strlen');",
    ["↑ exception handler none → string:6 (+6)", "↑ exception handlers below it 0 → 1 (+1)"],
  ],
  autoloader: ["spl_autoload_register('class_exists');", ["↑ autoloaders 0 → 1 (+1)"]],
  property: ["$GLOBALS['one']->rows = range(1, 4);", ["↑ elements in App\\Memory->rows 0 → 4 (+4)"]],
  object: ["App\\Memory::$cache['a'] = new ArrayObject();", ["↑ objects of ArrayObject new → 1"]],
};

const app: App = {
  boot: "require __DIR__ . '/boot.php'; chdir('/');",
  loop: "while (phprun_handle_request(static function (): void { require __DIR__ . '/..' . $_SERVER['REQUEST_URI'] . '.inc'; }));",
  files: { "app/boot.php": BOOT },
  pages: {
    clean: `$local = range(1, 100); $cycle = new stdClass(); $cycle->self = $cycle;
      header('X-Own: 1'); setcookie('a', 'b'); session_start(); $_SESSION['a'] = 1; ob_start(); echo 'clean';
      strtok('a b', ' '); register_shutdown_function('strlen', 'x'); $file = fopen('php://memory', 'r');`,
    mark: "$GLOBALS['mark'] = microtime(true); phprun_log('marked');",
    file: "$GLOBALS['file'] = fopen('/dev/null', 'r');",
    ...Object.fromEntries(Object.entries(PAGES).map(([name, [php]]) => [name, php])),
  },
  worker: { paranoid: true, reset: [] },
};

/** What is told of a page. The worker looks when it asks for its next request: that of /mark is told behind it. */
async function told(server: Server, page: string): Promise<string[]> {
  const from = server.log.mark();
  expect((await get(server, `/${page}`)).status).toBe(200);
  expect((await get(server, "/mark")).status).toBe(200);
  await get(server, "/clean");
  await server.waitForLog(/state: .*GET \/mark /, from);
  return [...server.log.text.slice(from).matchAll(/state: (.*), request #\d+ GET (\S+) /g)]
    .filter((match) => match[2] === `/${page}`)
    .map((match) => match[1] ?? "");
}

underEachIsolation((under) => {
  describe("worker.paranoid", () => {
    const server = sharedApp(under, app);

    test("is silent where nothing is left behind", async () => {
      // What is loaded when it is first needed.
      await told(server(), "clean");
      for (let i = 0; i < 3; i++) expect(await told(server(), "clean")).toEqual([]);
    });

    for (const [page, [, expected]] of Object.entries(PAGES)) {
      test(`tells what /${page} leaves, once`, async () => {
        expect(await told(server(), page)).toEqual([...expected]);
        expect(await told(server(), "clean")).toEqual([]);
      });
    }

    test("tells of files that stay open", async () => {
      const lines = await told(server(), "file");
      expect(lines).toContain("↑ $file new → resource");
      expect(lines).toContainEqual(expect.stringMatching(/^↑ resources of type stream \d+ → \d+ \(\+1\)$/));
      // Of threads they are the whole host's.
      const ofProcess = expect.stringMatching(/^↑ open files \d+ → \d+ \(\+1\)$/);
      if (!under.threads) expect(lines).toContainEqual(ofProcess);
    });

    test("counts the requests, and tells no values", async () => {
      const from = server().log.mark();
      await told(server(), "static-array");
      const numbers = [
        ...server()
          .log.text.slice(from)
          .matchAll(/request #(\d+)/g),
      ].map((match) => Number(match[1]));
      expect(numbers.length).toBeGreaterThan(1);
      expect(numbers).toEqual([...numbers].sort((a, b) => a - b));
      expect(server().log.text).not.toMatch(/somebody|anything|secret/);
    });
  });

  test("without worker.paranoid nobody looks", async () => {
    await using server = await under.begin(appOptions({ ...app, worker: { reset: [] } }));
    for (const page of Object.keys(PAGES)) expect((await get(server, `/${page}`)).status).toBe(200);
    await get(server, "/mark");
    await server.waitForLog(/marked/);
    expect(server.log.text).not.toContain("state: ");
  });
});
