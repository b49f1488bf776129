/** Worker mode: `worker.reset`, each kind by itself and none of them. */
import { describe, expect } from "bun:test";
import { test } from "../harness.ts";
import { type App, appOptions } from "./app.ts";
import { get, underEachIsolation } from "./support.ts";

/** What the boot has set, and what a request changes. */
const app: App = {
  boot: `
    ini_set('precision', '11');
    ini_set('memory_limit', '96M');
    putenv('BOOTED=boot');
    chdir('/usr');
    setlocale(LC_ALL, 'C');
    date_default_timezone_set('Europe/Vienna');
    function first() { return true; }
    function second() { return true; }
    set_error_handler('first');
    set_exception_handler(fn (Throwable $e) => print('the boot handled it'));`,
  php: { env: { CONFIGURED: "config" } },
  pages: {
    change: `
      ini_set('precision', '5'); ini_restore('memory_limit'); ini_set('arg_separator.output', ';'); error_reporting(0);
      putenv('BOOTED=changed'); putenv('CONFIGURED=changed'); putenv('ADDED=added'); $_ENV['ADDED'] = 'added';
      chdir('/tmp');
      setlocale(LC_ALL, 'C.UTF-8');
      date_default_timezone_set('Asia/Tokyo');
      set_error_handler('second');
      set_exception_handler(fn (Throwable $e) => print('the request handled it'));
      echo 'changed';`,
    more: "set_error_handler(null); restore_error_handler(); restore_error_handler(); restore_exception_handler(); restore_exception_handler(); date_default_timezone_set('UTC'); echo 'changed';",
    state: `
      $handler = set_error_handler('second'); restore_error_handler();
      echo json_encode([
        'ini' => [ini_get('precision'), ini_get('memory_limit'), ini_get('arg_separator.output'), error_reporting() !== 0],
        'env' => [getenv('BOOTED'), getenv('CONFIGURED'), getenv('ADDED'), $_ENV['ADDED'] ?? null],
        'cwd' => getcwd(),
        'error_handlers' => $handler,
        'timezone' => date_default_timezone_get(),
        'locale' => setlocale(LC_CTYPE, 0),
      ]);`,
    throw: "throw new Exception('for whom?');",
  },
};

const BOOTED = {
  ini: ["11", "96M", "&", true],
  env: ["boot", "config", false, null],
  cwd: "/usr",
  error_handlers: "first",
  timezone: "Europe/Vienna",
  locale: "C",
} as const;

const CHANGED = {
  ini: ["5", "128M", ";", false],
  env: ["changed", "changed", "added", "added"],
  cwd: "/tmp",
  error_handlers: "second",
  timezone: "Asia/Tokyo",
  locale: "C.UTF-8",
} as const;

type Kind = keyof typeof BOOTED;
const KINDS = Object.keys(BOOTED) as Kind[];

const sets: Readonly<Record<string, readonly Kind[] | undefined>> = {
  "nothing but the working directory, which is the default": undefined,
  nothing: [],
  everything: KINDS,
  ...Object.fromEntries(KINDS.map((kind) => [kind, [kind]])),
};

underEachIsolation((under) => {
  describe("worker.reset takes back", () => {
    for (const [name, reset] of Object.entries(sets)) {
      test(name, async () => {
        const worker = reset === undefined ? {} : { reset };
        await using server = await under.begin(appOptions({ ...app, worker, ini: { memory_limit: "128M" } }));
        const state = async () => JSON.parse((await get(server, "/state")).text) as Record<Kind, unknown>;
        expect(await state()).toEqual(BOOTED as never);
        const kinds = reset ?? ["cwd"];
        const expected = Object.fromEntries(
          KINDS.map((kind) => [kind, kinds.includes(kind) ? BOOTED[kind] : CHANGED[kind]]),
        );
        for (let i = 0; i < 2; i++) {
          expect((await get(server, "/change")).text).toBe("changed");
          expect(await state()).toEqual(expected as never);
        }
        const handled = kinds.includes("error_handlers") ? "the boot handled it" : "the request handled it";
        expect((await get(server, "/throw")).text).toBe(handled);
        expect((await get(server, "/more")).text).toBe("changed");
        if (kinds.includes("error_handlers")) {
          expect((await get(server, "/throw")).text).toBe("the boot handled it");
          expect((await state()).error_handlers).toBe("first");
        }
        if (kinds.includes("timezone")) expect((await state()).timezone).toBe("Europe/Vienna");
        expect((await get(server, "/state")).status).toBe(200);
      });
    }
  });
});
