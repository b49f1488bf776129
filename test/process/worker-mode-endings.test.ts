/** Worker mode: the ways in which a request may end, which of them cost the worker, and what the script is told. */
import { describe, expect } from "bun:test";
import { type Server, test } from "../harness.ts";
import { type App, appOptions, sharedApp } from "./app.ts";
import { poolPage } from "./observe.ts";
import { ask, get, type Under, underEachIsolation } from "./support.ts";

const ID = "basename(readlink('/proc/thread-self'))";

const who = async (server: Server): Promise<string> => (await get(server, "/who")).text;

/** The client has seen the head and part of the body when the script fails. */
async function isCut(server: Server, path: string, gate: string): Promise<void> {
  using connection = await ask(server, path);
  await connection.until(/begun/);
  server.openGate(gate);
  const answer = await connection.response();
  expect([answer.status, answer.text, answer.whole]).toEqual([200, "begun", false]);
  expect((await get(server, "/who")).status).toBe(200);
}

/** Each prints what stands beside it, and ends the request by exit() somewhere. */
const exits: Record<string, [code: string, text: string]> = {
  "in the handler": ["echo 'a'; exit;", "a"],
  "with a text": ["echo 'a'; exit('b');", "ab"],
  "with a number": ["echo 'a'; exit(3);", "a"],
  "with 255, which is no error of PHP's": ["echo 'a'; exit(255);", "a"],
  "in a function deep down, past finally blocks": [
    "(function () { try { (fn () => array_map(fn () => exit('deep'), [1]))(); } finally { echo 'WRONG'; } })(); echo 'WRONG';",
    "deep",
  ],
  "in a file that is included": ["require __DIR__ . '/exits.inc'; echo 'WRONG';", "included"],
  "in a fiber": [
    "$f = new Fiber(function () { Fiber::suspend(); exit('fiber'); }); $f->start(); $f->resume(); echo 'WRONG';",
    "fiber",
  ],
  "in a generator": [
    "$g = (function () { yield 1; exit('generator'); })(); foreach ($g as $one) echo $one; echo 'WRONG';",
    "1generator",
  ],
  "in a destructor": [
    "$o = new class { function __destruct() { exit('destructor'); } }; unset($o); echo 'WRONG';",
    "destructor",
  ],
  "in an output callback": [
    "ob_start(function ($text) { exit; }); echo 'gone'; ob_end_flush(); echo 'WRONG';",
    "gone",
  ],
  "in an output callback at the end": ["ob_start(function ($text) { exit; }); echo 'gone';", "gone"],
  "in a shutdown function": [
    "register_shutdown_function(function () { echo 'b'; exit('c'); }); register_shutdown_function(function () { echo 'WRONG'; }); echo 'a';",
    "abc",
  ],
  "in a shutdown function after exit": [
    "register_shutdown_function(function () { exit('b'); }); exit('a');",
    "ab",
  ],
  "in an error handler": [
    "set_error_handler(function () { restore_error_handler(); exit('handler'); }); echo $undefined; echo 'WRONG';",
    "handler",
  ],
  "in an exception handler": [
    "set_exception_handler(function () { restore_exception_handler(); exit('handler'); }); throw new Exception;",
    "handler",
  ],
  "in a tick": [
    "declare(ticks=1) { register_tick_function(function () { static $called = false; if (!$called) { $called = true; exit('tick'); } }); $a = 1; }",
    "tick",
  ],
  "in __toString()": [
    "echo new class { function __toString(): string { exit('string'); } }; echo 'WRONG';",
    "string",
  ],
  "in an autoloader": [
    "spl_autoload_register($load = function () use (&$load) { spl_autoload_unregister($load); exit('autoload'); }); new Missing;",
    "autoload",
  ],
  "in usort()": ["$a = [2, 1]; usort($a, fn () => exit('sorted'));", "sorted"],
  "under @, which stays in force nowhere": ["$x = @(fn () => exit('silent'))();", "silent"],
};

const names = Object.keys(exits);

/** Each ends with an uncaught exception. */
const throws: Record<string, string> = {
  "the handler": "throw new Exception('from the handler');",
  "an Error": "undefined_function();",
  "a shutdown function":
    "register_shutdown_function(function () { throw new Exception('from the shutdown function'); });",
  "an output callback": "ob_start(function () { throw new Exception('from the callback'); }); echo 'text';",
  "a destructor":
    "$o = new class { function __destruct() { throw new Exception('from the destructor'); } }; unset($o);",
  "a fiber": "$f = new Fiber(function () { throw new Exception('from the fiber'); }); $f->start();",
  "a header callback":
    "header_register_callback(function () { throw new Exception('from the header callback'); });",
};

const app: App = {
  boot: "register_shutdown_function(fn () => note('boot function', 'ends'));",
  ini: { output_buffering: "0" },
  pages: {
    who: `set_error_handler(null); set_exception_handler(null); echo ${ID};`,
    exits: "exit('included');",
    ...Object.fromEntries(names.map((name, index) => [`exit-${index}`, exits[name]?.[0] ?? ""])),
    ...Object.fromEntries(Object.values(throws).map((code, index) => [`throw-${index}`, code])),
    order: `register_shutdown_function(function () { echo ' first'; register_shutdown_function(fn () => print(' nested')); });
      register_shutdown_function(function () { echo ' second'; http_response_code(202); });
      ob_start(fn ($text) => strtoupper($text)); echo 'body';`,
    destructors:
      "Kept::$all = []; $o = new class { function __destruct() { echo ' destroyed'; } }; echo 'body'; exit(' exit');",
    level: "echo error_reporting();",
    handled: `set_exception_handler(function (Throwable $e) { http_response_code(503); echo 'handled ', $e->getMessage(); });
      throw new DomainException('mine');`,
    "handler-stays": "throw new DomainException('again');",
    "handler-throws":
      "set_exception_handler(function (Throwable $e) { throw new LogicException('the second one'); }); throw new DomainException('the first one');",
    "no-handler": "set_exception_handler(null); throw new DomainException('bare');",
    "after-flush": "echo 'begun'; flush(); gate('late'); throw new DomainException('late');",
  },
};

function ends(under: Under): void {
  describe("a request that ends by exit():", () => {
    const server = sharedApp(under, app);

    for (const [index, name] of names.entries()) {
      test(`${name} has its output, and the worker serves on`, async () => {
        const before = await who(server());
        const answer = await get(server(), `/exit-${index}`);
        expect([answer.status, answer.text, answer.whole]).toEqual([200, exits[name]?.[1] ?? "", true]);
        expect(await who(server())).toBe(before);
      });
    }

    test("error_reporting() is what it was", async () => {
      expect(Number((await get(server(), "/level")).text)).toBeGreaterThan(4437);
    });

    test("shutdown functions run once, in order, before buffers go out", async () => {
      for (let i = 0; i < 2; i++) {
        const answer = await get(server(), "/order");
        expect([answer.status, answer.text]).toEqual([202, "BODY FIRST SECOND NESTED"]);
      }
      expect((await get(server(), "/destructors")).text).toMatch(/^body exit( destroyed)?$/);
    });

    test("the shutdown functions of the boot have not run for any of them", async () => {
      expect(await Bun.file(`${server().folder}/records/ends`).exists()).toBe(false);
    });
  });

  describe("a request with an uncaught exception:", () => {
    const server = sharedApp(under, app);

    for (const [index, name] of Object.keys(throws).entries()) {
      test(`of ${name} is a 500 with a line in the log, and the worker serves on`, async () => {
        const before = await who(server());
        const from = server().log.mark();
        expect((await get(server(), `/throw-${index}`)).status).toBe(500);
        await server().waitForLog(/PHP Fatal error: +Uncaught (Exception|Error)/, from);
        expect(await who(server())).toBe(before);
      });
    }

    test("after part of the answer has gone out is cut off", async () => {
      await isCut(server(), "/after-flush", "late");
    });

    test("is the application's own handler's, which stays for the next one", async () => {
      const before = await who(server());
      for (const [path, text] of [
        ["/handled", "handled mine"],
        ["/handler-stays", "handled again"],
        ["/handler-stays", "handled again"],
      ] as const) {
        const answer = await get(server(), path);
        expect([answer.status, answer.text]).toEqual([503, text]);
      }
      expect(await who(server())).toBe(before);
    });

    test("of the application's own handler is told, too", async () => {
      const before = await who(server());
      const from = server().log.mark();
      expect((await get(server(), "/handler-throws")).status).toBe(500);
      await server().waitForLog(/Uncaught LogicException: the second one/, from);
      expect((await get(server(), "/no-handler")).status).toBe(500);
      await server().waitForLog(/Uncaught DomainException: bare/, from);
      expect(await who(server())).toBe(before);
    });
  });

  test("an uncaught exception costs the worker where on_exception says so, and the log says why", async () => {
    const options = appOptions({
      ...app,
      worker: { on_exception: "recycle" },
      config: { admin: { enabled: true, port: 0 } },
    });
    await using server = await under.begin(options);
    const before = await who(server);
    expect((await get(server, "/throw-0")).status).toBe(500);
    await server.waitForLog(/replacing a worker: it had an uncaught exception/);
    await server.record("ends", /^boot function\n$/);
    const after = await who(server);
    expect(after).not.toBe(before);
    expect((await get(server, "/handled")).text).toBe("handled mine");
    expect(await who(server)).not.toBe(after);
    expect((await poolPage(server)).restarts).toMatchObject({ exception: 2, fatal: 0 });
    expect((await get(server, "/exit-3")).status).toBe(200);
  });
}

const fatals: Record<string, [code: string, told: RegExp]> = {
  memory_limit: ["$all = []; for (;;) $all[] = str_repeat('x', 100000);", /Allowed memory size of/],
  E_USER_ERROR: ["trigger_error('so it is', E_USER_ERROR);", /so it is/],
  "a class that breaks its interface": [
    "eval('class Broken implements Iterator {}');",
    /Class Broken contains 5 abstract methods/,
  ],
  "a function that is there already": ["eval('function note() {}');", /Cannot redeclare note\(\)/],
  max_execution_time: ["set_time_limit(1); for (;;);", /Maximum execution time of 1 second exceeded/],
};

function fatal(under: Under): void {
  describe("a fatal error:", () => {
    const pages = Object.fromEntries(Object.values(fatals).map(([code], index) => [`fatal-${index}`, code]));
    const server = sharedApp(under, {
      boot: `register_shutdown_function(function () {
          note('boot function', 'ends');
          if (isset($_GET['page']) && error_get_last() !== null) { http_response_code(503); echo 'a page of our own'; }
        });`,
      ini: { output_buffering: "0", memory_limit: "32M" },
      pages: {
        ...pages,
        who: `echo ${ID};`,
        "with-function":
          "register_shutdown_function(function () { note('its own function', 'ends'); echo 'own '; }); trigger_error('fatal', E_USER_ERROR);",
        "with-session": "trigger_error('fatal', E_USER_ERROR);",
        hold: "gate($_GET['id']); echo 'held';",
        flushed: "echo 'begun'; flush(); gate('cut'); trigger_error('fatal', E_USER_ERROR);",
      },
      pool: { worker_count: 2 },
    });

    for (const [index, [name, [, told]]] of Object.entries(fatals).entries()) {
      test(`${name} is a 500, replaces that worker alone, and the log has the reason`, async () => {
        const from = server().log.mark();
        const other = get(server(), `/hold?id=hold-${index}`);
        await server().record(`hold-${index}`, /here/);
        const before = await who(server());
        expect((await get(server(), `/fatal-${index}`)).status).toBe(500);
        await server().waitForLog(told, from);
        await server().waitForLog(
          new RegExp(`replacing a worker: it was ended by a fatal error .*pid=${before}`),
          from,
        );
        expect(await who(server())).not.toBe(before);
        server().openGate(`hold-${index}`);
        expect((await other).text).toBe("held");
      });
    }

    test("runs the shutdown functions of the boot and of the request, which can print a page of their own", async () => {
      server().write("records/ends", "");
      const answer = await get(server(), "/with-function?page");
      expect([answer.status, answer.text]).toEqual([503, "a page of our ownown "]);
      await server().record("ends", /^boot function\nits own function\n$/);
      expect((await get(server(), "/who")).status).toBe(200);
    });

    test("after part of the answer has gone out cuts it off", async () => {
      await isCut(server(), "/flushed", "cut");
    });
  });

  test("a crash is a 502 for its request alone, and the next one is served", async () => {
    await using server = await under.begin(
      appOptions({
        pages: {
          crash: "FFI::cdef('int raise(int);')->raise(11);",
          who: `echo ${ID};`,
        },
        ini: { memory_limit: "-1", "ffi.enable": "1" },
      }),
    );
    expect((await get(server, "/crash")).status).toBe(502);
    await server.waitForLog(/worker (died|crashed).*SIGSEGV/);
    expect((await get(server, "/who")).status).toBe(200);
  });
}

function script(under: Under): void {
  test("a script that ends by itself is started anew, with nothing in the log above debug", async () => {
    const loop =
      "for ($i = 0; $i < 3 && phprun_handle_request($handler); $i++); note('script ended', 'ends');";
    await using server = await under.begin(
      appOptions({
        ...app,
        loop,
        pages: { ...app.pages, count: "echo Kept::$count;" },
        config: { admin: { enabled: true, port: 0 } },
      }),
    );
    const from = server.log.text.indexOf("worker started");
    const counts = [];
    // The probe is the first worker's first.
    for (let i = 0; i < 9; i++) counts.push((await get(server, "/count")).text);
    expect(new Set(counts)).toEqual(new Set(["1", "2", "3"]));
    await server.record("ends", /^(script ended\nboot function\n)+$/);
    expect(server.log.text.slice(from)).not.toMatch(/ (warn |error) |replac/);
    expect((await poolPage(server)).restarts).toMatchObject({ fatal: 0, exception: 0, crash: 0 });
    // Not even when the last request had an exception, which was no concern of the script's.
    await get(server, "/throw-0");
    for (let i = 0; i < 4; i++) expect((await get(server, "/count")).status).toBe(200);
    const { restarts } = await poolPage(server);
    expect(restarts).toMatchObject({ fatal: 0, exception: 0 });
    expect(restarts.script).toBeGreaterThan(2);
  });

  test("what the script does between two requests may end it, and the answer before has been sent", async () => {
    const ways: Record<string, string> = {
      exit: "exit('of nobody');",
      exception: "throw new Exception('between');",
      fatal: "trigger_error('between', E_USER_ERROR);",
    };
    const pages = Object.entries(ways).map(([name, code]) => [
      name,
      `Kept::$tail = static function () { ${code} }; echo 'answer of ${name}';`,
    ]);
    await using server = await under.begin(
      appOptions({
        ...app,
        pages: { ...app.pages, ...(Object.fromEntries(pages) as Record<string, string>) },
      }),
    );
    for (const name of Object.keys(ways)) {
      const before = await who(server);
      const answer = await get(server, `/${name}`);
      expect([answer.status, answer.text, answer.whole]).toEqual([200, `answer of ${name}`, true]);
      const after = await who(server);
      expect(after).not.toBe(before);
      expect((await get(server, "/exit-0")).text).toBe("a");
    }
    await server.record("ends", /^(boot function\n){3,}$/);
  });

  test("a fiber, and a handler that is no closure, are as good as any", async () => {
    const loop = `
      class Application { public function __invoke(): void { echo 'invoked ', $_GET['n']; } public static function serve(): void { echo 'static ', $_GET['n']; } }
      function serve(): void { echo 'function ', $_GET['n']; }
      $handlers = [new Application(), 'serve', 'Application::serve', ['Application', 'serve'], serve(...)];
      for ($i = 0; ; $i++) {
        $fiber = new Fiber(fn () => phprun_handle_request($handlers[$i % count($handlers)]));
        $fiber->start();
        if (!$fiber->getReturn()) break;
      }`;
    await using server = await under.begin(appOptions({ loop }));
    for (const [n, how] of ["invoked", "function", "static", "static", "function", "invoked"].entries())
      expect((await get(server, `/?n=${n}`)).text).toBe(`${how} ${n}`);
  });

  test("a script that forks has its child's requests for itself", async () => {
    await using server = await under.begin(
      appOptions({
        pages: {
          fork: `$child = pcntl_fork();
            if ($child === 0) { note('child', 'fork'); echo 'of the child'; return; }
            pcntl_waitpid($child, $status); echo 'parent ', pcntl_wexitstatus($status);`,
          "fork-exit": `$child = pcntl_fork(); if ($child === 0) exit(7); pcntl_waitpid($child, $status); echo 'parent ', pcntl_wexitstatus($status);`,
          "fork-throw": `$child = pcntl_fork(); if ($child === 0) throw new Exception('of the child'); pcntl_waitpid($child, $status); echo 'parent ', pcntl_wexitstatus($status);`,
          "fork-fatal": `$child = pcntl_fork(); if ($child === 0) trigger_error('of the child', E_USER_ERROR);
            pcntl_waitpid($child, $status); $info = phprun_worker_info(); echo 'parent ', pcntl_wexitstatus($status), ' ', $info['requests'];`,
          count: "echo phprun_worker_info()['requests'];",
          who: `echo ${ID};`,
        },
      }),
    );
    if (under.threads) return expect((await get(server, "/who")).status).toBe(200); // threads may not fork
    const before = await who(server);
    expect((await get(server, "/fork")).text).toBe("parent 0");
    await server.record("fork", /^child\n$/);
    expect((await get(server, "/fork-exit")).text).toBe("parent 7");
    expect((await get(server, "/fork-throw")).text).toBe("parent 255");
    await server.waitForLog(/Uncaught Exception: of the child/);
    // What the child ends with is not noted as the worker's own.
    const count = Number((await get(server, "/count")).text);
    expect((await get(server, "/fork-fatal")).text).toBe(`parent 255 ${count + 1}`);
    expect(await who(server)).toBe(before);
  });
}

underEachIsolation((under) => {
  ends(under);
  fatal(under);
  script(under);
});
