/** Worker mode: what each request finds anew, though the script that answers it goes on; and what stays. */
import { describe, expect } from "bun:test";
import { existsSync, readdirSync } from "node:fs";
import { Connection, eventually, type Server, test } from "../harness.ts";
import { type App, appOptions, post, send, sharedApp } from "./app.ts";
import { get, getBytes, type Under, underEachIsolation } from "./support.ts";

const STATE = `
function state(): array {
  return [
    'get' => $_GET, 'post' => $_POST, 'cookie' => $_COOKIE, 'files' => array_keys($_FILES), 'request' => $_REQUEST,
    'method' => $_SERVER['REQUEST_METHOD'], 'uri' => $_SERVER['REQUEST_URI'], 'own' => $_SERVER['OWN'] ?? null,
    'body' => file_get_contents('php://input'), 'session' => isset($_SESSION) ? $_SESSION : null,
    'headers' => array_values(array_filter(headers_list(), fn ($line) => !str_starts_with($line, 'X-Powered-By'))),
    'status' => http_response_code(), 'sent' => headers_sent(), 'ob' => ob_get_level(),
    'connection' => connection_status(), 'aborted' => connection_aborted(), 'ignores' => ignore_user_abort(),
    'limit' => ini_get('max_execution_time'), 'error' => error_get_last()['message'] ?? null,
    'context' => stream_context_get_options(stream_context_get_default()),
    'strtok' => strtok(' '), 'umask' => decoct(umask()), 'auth' => $_SERVER['PHP_AUTH_USER'] ?? null,
  ];
}`;

const app: App = {
  boot: `${STATE}
    Kept::$all['constant'] = 'kept';
    function render(string $text): string { return strtoupper($text); }`,
  php: { env: { FROM_CONFIG: "configured" } },
  ini: { output_buffering: "0" },
  pages: {
    state: "echo json_encode(state());",
    leak: `$_GET['leak'] = $_POST['leak'] = $_COOKIE['leak'] = $_FILES['leak'] = $_REQUEST['leak'] = $_SERVER['OWN'] = 'leak';
      header('X-Leak: 1'); header('Content-Type: text/leak'); http_response_code(418);
      ob_start(); ob_start('render'); echo 'left open';
      stream_context_set_default(['http' => ['header' => 'Authorization: leak']]);
      strtok('a b c', ' '); umask(0777); set_time_limit(7); ignore_user_abort(true); @trigger_error('leaked', E_USER_NOTICE);
      header_register_callback(function () { header('X-Callback: ' . (Kept::$all['callbacks'] = (Kept::$all['callbacks'] ?? 0) + 1)); });
      output_add_rewrite_var('leak', '1');
      mt_srand(5); srand(5);`,
    "xml-errors": `libxml_use_internal_errors(true); $left = count(libxml_get_errors());
      $reader = XMLReader::XML('<secret>&unknown;'); while ($reader->read()); echo $left, ' ', count(libxml_get_errors()) > 0 ? 'more' : 'none';`,
    link: `echo '<a href="/x">x</a>';`,
    random:
      "echo mt_rand(), ' ', rand(), ' ', lcg_value(), ' ', bin2hex(random_bytes(4)), ' ', uniqid('', true);",
    seed: "mt_srand((int) ($_GET['seed'] ?? 0)); echo 'seeded';",
    kept: `define('SEEN_' . Kept::$count, 1);
      Kept::$all['object'] ??= new ArrayObject();
      Kept::$all['object']->append(Kept::$count);
      $GLOBALS['mine'] = ($GLOBALS['mine'] ?? 0) + 1;
      $_ENV['MINE'] = ($_ENV['MINE'] ?? 0) + 1;
      static $own = 0; $own++;
      echo json_encode([Kept::$all['constant'], count(Kept::$all['object']), $GLOBALS['mine'], $_ENV['MINE'], defined('SEEN_' . (Kept::$count - 1))]);`,
    "keep-input": "Kept::$all['input'] = fopen('php://input', 'r'); echo fgets(Kept::$all['input']);",
    "read-input":
      "$first = is_resource(Kept::$all['input']) ? @fgets(Kept::$all['input']) : 'closed'; echo json_encode([$first, file_get_contents('php://input')]);",
    "keep-file-object":
      "Kept::$all['object'] = new SplFileObject('php://input'); echo Kept::$all['object']->fgets();",
    "read-file-object":
      "try { $first = Kept::$all['object']->fgets(); } catch (RuntimeException $e) { $first = ''; } unset(Kept::$all['object']); echo json_encode([$first, file_get_contents('php://input')]);",
    "keep-reader":
      "Kept::$all['reader'] = $reader = new XMLReader(); $reader->open('php://input'); $reader->read(); echo $reader->name;",
    "read-reader":
      "while (@Kept::$all['reader']->read()); Kept::$all['reader']->close(); echo file_get_contents('php://input');",
    "filtered-input":
      "Kept::$all['input'] = fopen('php://filter/read=string.toupper/resource=php://input', 'r'); echo fgets(Kept::$all['input']);",
    upload: `$file = $_FILES['file'] ?? ['tmp_name' => '', 'error' => -1];
      note($file['tmp_name'], 'uploads');
      if (isset($_GET['move'])) move_uploaded_file($file['tmp_name'], getenv('RECORDS') . '/moved');
      echo json_encode([$file['error'], is_uploaded_file($file['tmp_name']), @file_get_contents($file['tmp_name'])]);`,
    "upload-again":
      "$path = trim(file_get_contents(getenv('RECORDS') . '/uploads')); echo json_encode([is_uploaded_file($path), file_exists($path), $_FILES]);",
    "late-server":
      "echo json_encode(array_intersect_key($GLOBALS['_SERVER'] ?? [], ['REQUEST_METHOD' => 1, 'QUERY_STRING' => 1]));",
    filter:
      "echo json_encode([filter_input(INPUT_GET, 'a'), filter_input(INPUT_SERVER, 'REQUEST_METHOD'), filter_has_var(INPUT_POST, 'b'), filter_input(INPUT_COOKIE, 'c')]);",
    abort: `note('started', 'abort'); ignore_user_abort(isset($_GET['ignore']));
      register_shutdown_function(fn () => note('shutdown ' . connection_status() . connection_aborted(), 'abort'));
      echo 'begun'; flush();
      gate('left');
      for ($i = 0; $i < 3000 && !connection_aborted(); $i++) { echo str_repeat('x', 1000); flush(); usleep(1000); }
      note('after ' . connection_aborted(), 'abort');`,
    pid: "echo Kept::$count, ' ', basename(readlink('/proc/thread-self'));",
    limit: "set_time_limit((int) $_GET['s']); echo ini_get('max_execution_time');",
    stat: "echo json_encode([file_exists(getenv('RECORDS') . '/stat')]); ",
    echo: "echo $_GET['text'];",
    buffers:
      "while (ob_get_level() > 0) ob_end_clean(); ob_start(fn ($text) => '[' . $text . ']'); echo 'one'; ob_start(fn ($text) => strrev($text)); echo 'abc';",
    "own-status": "header('HTTP/1.1 299 Fine'); echo 'x';",
    "no-type": "header_remove('Content-Type'); ini_set('default_charset', ''); echo 'x';",
    nothing: "",
  },
};

const stateOf = async (server: Server, path = "/state"): Promise<Record<string, unknown>> =>
  JSON.parse((await get(server, path)).text) as Record<string, unknown>;

function superglobals(server: () => Server): void {
  test("nothing that a request sets of its own is there for the next one", async () => {
    const before = await stateOf(server());
    expect((await get(server(), "/leak?leak=1")).header("x-callback")).toBe("1");
    const after = await stateOf(server());
    expect(after).toEqual(before);
    expect(before).toMatchObject({
      get: [],
      post: [],
      request: [],
      files: [],
      own: null,
      headers: [],
      status: 200,
      ob: 0,
      connection: 0,
      error: null,
      strtok: false,
      context: [],
    });
    const answer = await get(server(), "/link");
    expect([answer.text, answer.header("x-callback"), answer.header("x-leak")]).toEqual([
      '<a href="/x">x</a>',
      undefined,
      undefined,
    ]);
  });

  test("no errors of XML that another request has read are left", async () => {
    for (let i = 0; i < 2; i++) expect((await get(server(), "/xml-errors")).text).toBe("0 more");
  });

  test("superglobals are those of the request, form, cookies and body included", async () => {
    const form = await send(
      server(),
      "POST /state?a=1&b[]=2",
      ["Content-Type: application/x-www-form-urlencoded", "Cookie: c=3", "Authorization: Basic YTpi"],
      "d=4&a=5",
    );
    expect(JSON.parse(form.text)).toMatchObject({
      get: { a: "1", b: ["2"] },
      post: { d: "4", a: "5" },
      cookie: { c: "3" },
      request: { a: "5", b: ["2"], d: "4" },
      method: "POST",
      uri: "/state?a=1&b[]=2",
      body: "d=4&a=5",
      auth: "a",
    });
    const next = await send(server(), "PUT /state?e=6", ["Content-Type: text/plain"], "raw");
    expect(JSON.parse(next.text)).toMatchObject({
      get: { e: "6" },
      post: [],
      cookie: [],
      request: { e: "6" },
      method: "PUT",
      body: "raw",
      auth: null,
    });
    expect(await stateOf(server())).toMatchObject({ get: [], body: "", method: "GET" });
  });

  test("filter_input() reads this request's values", async () => {
    expect(
      (
        await send(
          server(),
          "POST /filter?a=1",
          ["Content-Type: application/x-www-form-urlencoded", "Cookie: c=9"],
          "b=1",
        )
      ).text,
    ).toBe('["1","POST",true,"9"]');
    expect((await get(server(), "/filter")).text).toBe('[null,"GET",false,null]');
  });

  test("objects, statics, globals, constants and $_ENV stay", async () => {
    const first = JSON.parse((await get(server(), "/kept")).text) as unknown[];
    const second = JSON.parse((await get(server(), "/kept")).text) as unknown[];
    expect(first).toEqual(["kept", 1, 1, 1, false]);
    expect(second).toEqual(["kept", 2, 2, 2, true]);
  });

  test("the stat cache is not kept", async () => {
    expect((await get(server(), "/stat")).text).toBe("[false]");
    server().write("records/stat", "");
    expect((await get(server(), "/stat")).text).toBe("[true]");
  });

  test("a status line, and a response without a type, are for one response", async () => {
    expect((await get(server(), "/own-status")).statusLine).toContain("299");
    expect((await get(server(), "/echo?text=a")).statusLine).toContain("200");
  });
}

function random(server: () => Server): void {
  test("random numbers do not repeat after a seed of another request", async () => {
    await get(server(), "/seed?seed=5");
    const first = (await get(server(), "/random")).text.split(" ");
    await get(server(), "/seed?seed=5");
    const second = (await get(server(), "/random")).text.split(" ");
    for (const [index, value] of first.entries()) expect(second[index]).not.toBe(value);
  });
}

function input(server: () => Server): void {
  const pairs: Record<string, [string, string]> = {
    "a handle": ["/keep-input", "/read-input"],
    "a filtered handle": ["/filtered-input", "/read-input"],
    "an SplFileObject": ["/keep-file-object", "/read-file-object"],
  };
  for (const [what, [keep, read]] of Object.entries(pairs)) {
    test(`php://input that a request keeps open as ${what} has nothing of the next body`, async () => {
      const { text: pid } = await get(server(), "/pid");
      expect((await post(server(), keep, "first=1")).text.toLowerCase()).toBe("first=1");
      const answer = await post(server(), read, "second=2");
      expect(answer.status).toBe(200);
      const [kept, own] = JSON.parse(answer.text) as [string | false, string];
      expect(own).toBe("second=2");
      expect(["", false, "closed"]).toContain(kept);
      expect((await get(server(), "/pid")).text.split(" ")[1]).toBe(pid.split(" ")[1] ?? "");
    });
  }

  test("a reader of XML that still has php://input in the next request does not cost the worker", async () => {
    const { text: pid } = await get(server(), "/pid");
    const long = `<a>${"x".repeat(50_000)}<b/></a>`;
    expect((await send(server(), "POST /keep-reader", ["Content-Type: text/xml"], long)).text).toBe("a");
    const next = await send(server(), "POST /read-reader", ["Content-Type: text/xml"], "<c/>");
    expect([next.status, next.text]).toEqual([200, "<c/>"]);
    expect((await get(server(), "/pid")).text.split(" ")[1]).toBe(pid.split(" ")[1] ?? "");
  });

  test("uploads are gone when the request is over, and a moved one is not", async () => {
    const body =
      '--x\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\nContent-Type: text/plain\r\n\r\ncontent\r\n--x--\r\n';
    const headers = ["Content-Type: multipart/form-data; boundary=x"];
    expect((await send(server(), "POST /upload", headers, body)).text).toBe('[0,true,"content"]');
    expect((await get(server(), "/upload-again")).text).toBe("[false,false,[]]");
    expect((await send(server(), "POST /upload?move", headers, body)).text).toBe("[0,false,false]");
    expect(await Bun.file(`${server().folder}/records/moved`).text()).toBe("content");
    const [path = ""] = (await server().record("uploads", /\n.*\n/)).trim().split("\n").slice(-1);
    expect(existsSync(path)).toBe(false);
  });
}

function output(server: () => Server): void {
  test("buffers and their callbacks that are left open end with the request, innermost first", async () => {
    expect((await get(server(), "/buffers")).text).toBe("[onecba]");
    expect((await get(server(), "/buffers")).text).toBe("[onecba]");
    expect((await get(server(), "/echo?text=plain")).text).toBe("plain");
  });

  test("a response without a body has its headers all the same", async () => {
    const answer = await get(server(), "/nothing");
    expect([answer.status, answer.text]).toEqual([200, ""]);
    expect(answer.header("content-type")).toContain("text/html");
  });
}

function aborts(server: () => Server): void {
  for (const [how, query, records] of [
    ["ends its request", "", "started\nshutdown 11\n"],
    ["that is ignored lets it go on", "?ignore", "started\nafter 1\nshutdown 11\n"],
  ] as const) {
    test(`a client that leaves ${how}, and the worker serves on`, async () => {
      server().write("records/abort", "");
      const { text: before } = await get(server(), "/pid");
      using connection = await Connection.open(server().url);
      await connection.send(getBytes(`/abort${query}`));
      await connection.until(/begun/);
      connection.close();
      server().openGate("left");
      await server().record("abort", new RegExp(`^${records}$`));
      const after = await get(server(), "/pid");
      expect(after.text.split(" ")[1]).toBe(before.split(" ")[1] ?? "");
      expect(await stateOf(server())).toMatchObject({ connection: 0, aborted: 0, ignores: 0 });
    });
  }

  test("a time limit set by one request is not the next one's", async () => {
    const before = await stateOf(server());
    expect((await get(server(), "/limit?s=3")).text).toBe("3");
    expect(await stateOf(server())).toEqual(before);
  });
}

underEachIsolation((under: Under) => {
  describe("each request in worker mode:", () => {
    const server = sharedApp(under, app);
    superglobals(server);
    random(server);
    input(server);
    output(server);
    aborts(server);
  });

  describe("settings of output in worker mode:", () => {
    test("output_buffering and output_handler begin anew with each request", async () => {
      const options = appOptions({
        boot: 'function handled(string $text): string { return "<$text>"; }',
        pages: {
          late: "echo 'a'; header('X-Late: 1'); echo ob_get_level();",
          off: "while (ob_get_level() > 0) ob_end_flush(); echo 'b';",
        },
        ini: { output_handler: "handled" },
      });
      await using server = await under.begin(options);
      for (let i = 0; i < 2; i++) {
        const answer = await get(server, "/late");
        expect([answer.text, answer.header("x-late")]).toEqual(["<a1>", "1"]);
        expect((await get(server, "/off")).text).toBe("<>b");
      }
    });

    test("zlib.output_compression is up to each client", async () => {
      const options = appOptions({
        pages: {
          long: "echo str_repeat('long ', 1000);",
          off: "ini_set('zlib.output_compression', '0'); echo 'short';",
          handler: "ob_start('ob_gzhandler'); echo str_repeat('long ', 1000);",
        },
        ini: { "zlib.output_compression": "1" },
      });
      await using server = await under.begin(options);
      for (let i = 0; i < 2; i++) {
        const zipped = await send(server, "GET /long", ["Accept-Encoding: gzip"]);
        expect(zipped.header("content-encoding")).toBe("gzip");
        expect(Buffer.from(Bun.gunzipSync(new Uint8Array(zipped.body))).toString()).toBe(
          "long ".repeat(1000),
        );
        const plain = await get(server, "/long");
        expect([plain.header("content-encoding"), plain.text]).toEqual([undefined, "long ".repeat(1000)]);
      }
    });
  });

  describe("superglobals that are named late", () => {
    const late: App = {
      loop: "while (phprun_handle_request(static function () { require __DIR__ . '/../' . $_GET['page'] . '.inc'; }));",
      pages: {
        first: "echo 'first';",
        server: "echo json_encode([$_SERVER['REQUEST_METHOD'], $_SERVER['QUERY_STRING']]);",
        request: "ksort($_REQUEST); echo json_encode($_REQUEST);",
        env: "echo json_encode(isset($_ENV['FROM_CONFIG']) ? $_ENV['FROM_CONFIG'] : null);",
        conditional: "if (isset($_GET['now'])) { echo json_encode($_REQUEST); } else { echo 'not now'; }",
      },
      // Of ours, workerScript() names it in a closure that is compiled with the script.
      ini: { auto_globals_jit: "1" },
    };

    test("by a file that only a later request includes, are those of that request", async () => {
      const options = appOptions(late);
      const script =
        "<?php while (phprun_handle_request(static function () { require __DIR__ . '/../' . $_GET['page'] . '.inc'; }));";
      await using server = await under.begin({
        ...options,
        files: { ...options.files, "app/worker.php": script },
      });
      expect((await get(server, "/?page=first")).text).toBe("first");
      expect((await get(server, "/?page=conditional")).text).toBe("not now");
      expect((await get(server, "/?page=server&a=1")).text).toBe('["GET","page=server&a=1"]');
      expect((await post(server, "/?page=server&a=2", "x=1")).text).toBe('["POST","page=server&a=2"]');
      expect((await post(server, "/?page=request&a=1", "b=2")).text).toBe(
        '{"a":"1","b":"2","page":"request"}',
      );
      expect((await get(server, "/?page=conditional&now=1")).text).toBe('{"page":"conditional","now":"1"}');
      expect((await get(server, "/?page=request&c=3")).text).toBe('{"c":"3","page":"request"}');
      expect((await get(server, "/?page=conditional&now=2")).text).toBe('{"page":"conditional","now":"2"}');
    });
  });

  test("what PHP complains of in a request's form is not the application's error handler's", async () => {
    const options = appOptions({
      boot: "set_error_handler(function (int $no, string $message) { throw new ErrorException($message); });",
      pages: {
        form: "echo json_encode([count($_POST), count($_GET), Kept::$count]); echo $undefined ?? '';",
        broken: "try { echo $undefined; } catch (ErrorException $e) { echo $e->getMessage(); }",
      },
      ini: { post_max_size: "100", max_input_vars: "5" },
    });
    await using server = await under.begin(options);
    const broken = await send(server, "POST /form", ["Content-Type: multipart/form-data"], "x");
    expect([broken.status, broken.text]).toEqual([200, "[0,0,1]"]);
    const large = await post(server, "/form", `a=${"x".repeat(200)}`);
    expect([large.status, large.text]).toEqual([200, "[0,0,2]"]);
    const many = await get(server, `/form?${"a[]=1&".repeat(20)}`);
    expect([many.status, many.text]).toEqual([200, "[0,1,3]"]);
    await server.waitForLog(/POST Content-Length of \d+ bytes exceeds the limit/);
    await server.waitForLog(/Missing boundary in multipart\/form-data/);
    expect((await get(server, "/broken")).text).toContain("Undefined variable");
  });

  test("a folder of uploads is empty after a hundred forms", async () => {
    const options = appOptions({
      pages: { form: "echo count($_FILES);", folder: "echo ini_get('upload_tmp_dir');" },
    });
    const body = '--x\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\ncontent\r\n--x--\r\n';
    await using server = await under.begin({
      ...options,
      files: { ...options.files, "tmp/.keep": "" },
      config: {
        ...options.config,
        php: { ...(options.config["php"] as object), ini: { upload_tmp_dir: "TMP" } },
      },
    });
    expect((await get(server, "/folder")).text).toBe("TMP");
    for (let i = 0; i < 100; i++)
      expect(
        (await send(server, "POST /form", ["Content-Type: multipart/form-data; boundary=x"], body)).text,
      ).toBe("1");
    await eventually("no upload is left", () =>
      readdirSync(`${server.docroot}/tmp`).filter((name) => name.startsWith("php")).length === 0
        ? true
        : undefined,
    );
  });
});
