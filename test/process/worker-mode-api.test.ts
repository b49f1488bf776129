/** What worker mode gives to scripts: functions, constants, and what they say to those who misuse them. */
import { describe, expect } from "bun:test";
import { start, test } from "../harness.ts";
import { type App, appOptions, SCRIPT, sharedApp, workerScript } from "./app.ts";
import { get, onePool, underEachIsolation } from "./support.ts";

const TRY = `
function attempt(callable $do): string {
  try { return json_encode($do()); } catch (Throwable $e) { return get_class($e) . ': ' . $e->getMessage(); }
}`;

const app: App = {
  boot: `${TRY}
    Kept::$all['boot'] = phprun_worker_info() + ['server' => $_SERVER['FRANKENPHP_WORKER'] ?? null, 'script' => $_SERVER['SCRIPT_NAME']];
    Kept::$all['misuse'] = [
      attempt(fn () => phprun_handle_request('no such function')),
      attempt(fn () => phprun_handle_request()),
      attempt(fn () => phprun_finish_request()),
    ];`,
  pages: {
    info: "echo json_encode(phprun_worker_info());",
    boot: "echo json_encode(Kept::$all);",
    count: "echo Kept::$count;",
    nested: "echo attempt(fn () => phprun_handle_request(fn () => null));",
    hooks:
      "echo attempt(fn () => phprun_before_fork(fn () => null)), '; ', attempt(fn () => phprun_after_fork('strlen'));",
    finish:
      "header('X-Before: 1'); echo 'answer'; note(json_encode([phprun_finish_request(), phprun_finish_request(), fastcgi_finish_request()]), 'finish'); echo 'never seen'; header('X-After: 1');",
    "finish-frankenphp": "echo 'answer'; frankenphp_finish_request(); echo 'never seen';",
    tail: "Kept::$tail = static function () { echo 'of nobody'; http_response_code(500); note(attempt(fn () => phprun_finish_request()), 'tail'); }; echo 'answer';",
    names: `$names = ['handle_request', 'finish_request', 'request_headers', 'response_headers', 'log'];
      header('X-Own: yes');
      echo json_encode([
        'functions' => array_values(array_filter($names, fn ($name) => function_exists("frankenphp_$name"))),
        'constant' => defined('FRANKENPHP_LOG_LEVEL_WARN') ? FRANKENPHP_LOG_LEVEL_WARN : null,
        'worker' => $_SERVER['FRANKENPHP_WORKER'] ?? null,
        'headers' => function_exists('frankenphp_request_headers') ? frankenphp_request_headers()['Host'] ?? null : getallheaders()['Host'] ?? null,
        'answer' => function_exists('frankenphp_response_headers') ? frankenphp_response_headers()['X-Own'] ?? null : apache_response_headers()['X-Own'] ?? null,
      ]);`,
    levels:
      "echo json_encode([PHPRUN_LOG_LEVEL_DEBUG, PHPRUN_LOG_LEVEL_INFO, PHPRUN_LOG_LEVEL_WARN, PHPRUN_LOG_LEVEL_ERROR]);",
    log: `foreach ([-9, -4, -1, 0, 3, 4, 7, 8, 99] as $level) phprun_log("at $level", $level);
      phprun_log('plain');
      phprun_log('with context', PHPRUN_LOG_LEVEL_WARN, ['user' => 7, 'tags' => ['a', 'b'], 'text' => "tw\\no", 'none' => null]);
      phprun_log("broken", 0, ["bytes" => "\\xff\\xfe", 'list']);
      phprun_log('thrown', 0, ['object' => new class implements JsonSerializable { function jsonSerialize(): mixed { throw new Exception('no'); } }]);`,
    phpinfo: "phpinfo(INFO_MODULES);",
  },
};

underEachIsolation((under) => {
  describe("the functions of worker mode", () => {
    const server = sharedApp(under, app);

    test("phprun_worker_info() tells who answers, in a request and while it boots", async () => {
      const first = JSON.parse((await get(server(), "/info")).text) as Record<string, unknown>;
      expect(first).toEqual({
        mode: "worker",
        pool: "default",
        worker: 0,
        generation: 1,
        requests: expect.any(Number),
        booted_at: expect.any(Number),
      });
      const second = JSON.parse((await get(server(), "/info")).text) as Record<string, number>;
      expect(second["requests"]).toBe((first["requests"] as number) + 1);
      expect(second["booted_at"]).toBe(first["booted_at"] as number);
      const { boot } = JSON.parse((await get(server(), "/boot")).text) as { boot: Record<string, unknown> };
      expect(boot).toMatchObject({ mode: "worker", pool: "default", requests: 0, booted_at: null });
    });

    test("$_SERVER at the boot names the worker script, and has the mark of FrankenPHP", async () => {
      const { boot } = JSON.parse((await get(server(), "/boot")).text) as { boot: Record<string, unknown> };
      expect(boot).toMatchObject({ server: "1", script: "/app/worker.php" });
    });

    test("what is no callable is refused while it boots, and finish_request has nothing to finish", async () => {
      const { misuse } = JSON.parse((await get(server(), "/boot")).text) as { misuse: string[] };
      expect(misuse).toEqual([
        expect.stringMatching(
          /^TypeError: phprun_handle_request\(\): Argument #1 \(\$handler\) must be a valid callback/,
        ),
        expect.stringMatching(/^ArgumentCountError: /),
        "false",
      ]);
    });

    test("a request cannot ask for the next one, and the worker goes on", async () => {
      const answer = await get(server(), "/nested");
      expect(answer.text).toBe(
        "RuntimeException: phprun_handle_request() cannot be called while a request is handled",
      );
      expect(Number((await get(server(), "/count")).text)).toBeGreaterThan(1);
    });

    test("hooks of the fork can be set only before the first request", async () => {
      const told =
        "RuntimeException: Hooks of the fork can be set only before the first call of phprun_handle_request()";
      expect((await get(server(), "/hooks")).text).toBe(`${told}; ${told}`);
    });

    test("phprun_finish_request() answers once, and what comes behind it is not seen", async () => {
      const answer = await get(server(), "/finish");
      expect([answer.text, answer.header("x-before"), answer.header("x-after")]).toEqual([
        "answer",
        "1",
        undefined,
      ]);
      await server().record("finish", /^\[true,false,false\]\n/);
      expect((await get(server(), "/finish-frankenphp")).text).toBe("answer");
      expect((await get(server(), "/count")).status).toBe(200);
    });

    test("what the script prints between two requests goes to nobody", async () => {
      const tail = await get(server(), "/tail");
      expect([tail.status, tail.text]).toEqual([200, "answer"]);
      await server().record("tail", /^false\n/);
      const next = await get(server(), "/levels");
      expect([next.status, next.text]).toEqual([200, "[-4,0,4,8]"]);
    });

    test("the names of FrankenPHP are there by default", async () => {
      expect(JSON.parse((await get(server(), "/names")).text)).toEqual({
        functions: ["handle_request", "finish_request", "request_headers", "response_headers", "log"],
        constant: 4,
        worker: "1",
        headers: "localhost",
        answer: "yes",
      });
    });

    test("phprun_log() has levels, and a context that is part of the line", async () => {
      const from = server().log.mark();
      expect((await get(server(), "/log")).status).toBe(500); // jsonSerialize() has thrown
      const tags = "pool=default worker=0 gen=1 pid=\\d+ script=\\S+";
      await server().waitForLog(/info  thrown/, from);
      for (const [level, values] of [
        ["debug", [-9, -4, -1]],
        ["info ", [0, 3]],
        ["warn ", [4, 7]],
        ["error", [8, 99]],
      ] as const) {
        for (const value of values)
          await server().waitForLog(new RegExp(`${level} at ${value} ${tags}`), from);
      }
      await server().waitForLog(new RegExp(`info  plain ${tags}`), from);
      const [line] = await server().waitForLog(/^.*with context.*$/m, from);
      expect(line).toMatch(/warn  with context .*user=7/);
      expect(line).not.toContain("tw\no");
      await server().waitForLog(/info  broken .*bytes=/, from);
      expect((await get(server(), "/count")).status).toBe(200);
    });

    test("phpinfo() tells the mode", async () => {
      const { text } = await get(server(), "/phpinfo");
      const section = text.slice(text.indexOf('name="module_phprun"'));
      expect(section).toContain('<tr><td class="e">Mode </td><td class="v">worker </td></tr>');
      expect(section).toContain(
        `<tr><td class="e">Isolation </td><td class="v">${under.isolation} </td></tr>`,
      );
    });
  });

  test("JSON logs have the context of phprun_log() as fields", async () => {
    const options = appOptions({
      pages: {
        log: "phprun_log('with context', PHPRUN_LOG_LEVEL_ERROR, ['user' => 7, 'deep' => ['a' => [1, 2]], 'level' => 'mine', 'pool' => 'mine']); echo 'ok';",
      },
      config: { logging: { format: "json", access: false } },
    });
    await using server = await under.begin(options);
    expect((await get(server, "/log")).text).toBe("ok");
    const [line] = await server.waitForLog(/^\{.*with context.*\}$/m);
    const record = JSON.parse(line) as Record<string, unknown>;
    // Names of ours are not taken over, and what is nested is text.
    expect(record).toMatchObject({
      level: "error",
      pool: "default",
      worker: 0,
      user: 7,
      deep: '{"a":[1,2]}',
    });
    expect(record).toMatchObject({ level_: "mine", pool_: "mine" });
    expect((await get(server, "/log")).text).toBe("ok");
  });

  test("with php.compat: [] there is nothing of FrankenPHP", async () => {
    await using server = await under.begin(appOptions({ ...app, php: { compat: [] } }));
    expect(JSON.parse((await get(server, "/names")).text)).toEqual({
      functions: [],
      constant: null,
      worker: null,
      headers: "localhost",
      answer: "yes",
    });
  });

  test("asking again after the end has been told is a fatal error, and the worker is replaced", async () => {
    const loop = "while (true) { $more = phprun_handle_request($handler); if (!$more) note('told', 'end'); }";
    await using server = await under.begin(appOptions({ ...app, loop, pool: { max_requests: 1 } }));
    expect((await get(server, "/count")).text).toBe("1");
    await server.waitForLog(
      /phprun_handle_request\(\) has returned false: the worker script has to leave its loop and end/,
    );
    await server.record("end", /told/);
    expect((await get(server, "/count")).status).toBe(200);
  });

  test("classic mode has the functions too, and says what they are for", async () => {
    const code = `<?php ${TRY} echo json_encode([
      attempt(fn () => phprun_handle_request(fn () => null)), attempt(fn () => frankenphp_handle_request(fn () => null)),
      phprun_worker_info(), $_SERVER['FRANKENPHP_WORKER'] ?? null, attempt(fn () => phprun_before_fork(fn () => null)),
    ]);`;
    await using server = await under.begin({
      files: { "a.php": code },
      config: onePool({ worker_count: 1 }),
    });
    const told =
      "RuntimeException: phprun_handle_request() can be called in worker mode only (pools[].worker_script)";
    expect(JSON.parse((await get(server, "/a.php")).text)).toEqual([
      told,
      told,
      {
        mode: "classic",
        pool: "default",
        worker: 0,
        generation: 1,
        requests: expect.any(Number),
        booted_at: null,
      },
      null,
      "null",
    ]);
    expect((await get(server, "/a.php")).status).toBe(200);
  });
});

test("--worker-script is the worker script of the only pool", async () => {
  await using server = await start({
    files: { "app/worker.php": workerScript(), "hello.inc": "<?php echo phprun_worker_info()['mode'];" },
    config: { logging: { access: false } },
    args: ["--worker-script", SCRIPT],
  });
  expect((await get(server, "/hello")).text).toBe("worker");
});
