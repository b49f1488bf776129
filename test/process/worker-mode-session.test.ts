/** Worker mode: sessions belong to requests, and their handlers to whoever has set them. */
import { describe, expect } from "bun:test";
import { Connection, eventually, type Server, test } from "../harness.ts";
import { type App, appOptions, send, sharedApp } from "./app.ts";
import { recorded } from "./control.ts";
import { get, getBytes, type Under, underEachIsolation } from "./support.ts";

const HANDLER = `
final class Handler implements SessionHandlerInterface {
  public static array $stored = [];
  public static string $fails = '';
  private $lock = null;
  public function __construct(private string $name) {}
  public function open(string $path, string $name): bool { note("$this->name open"); return true; }
  public function close(): bool { note("$this->name close"); if ($this->lock !== null) { fclose($this->lock); $this->lock = null; } $this->fail('close'); return true; }
  public function read(string $id): string|false {
    $this->lock = fopen(getenv('RECORDS') . "/lock-$id", 'c'); flock($this->lock, LOCK_EX);
    $this->fail('read'); return self::$stored[$id] ?? '';
  }
  public function write(string $id, string $data): bool { $this->fail('write'); self::$stored[$id] = $data; return true; }
  public function destroy(string $id): bool { unset(self::$stored[$id]); return true; }
  public function gc(int $max): int|false { return 0; }
  private function fail(string $at): void {
    if (self::$fails === "exit in $at") exit("exit in $at");
    if (self::$fails === "exception in $at") throw new Exception("exception in $at");
  }
}`;

const COUNT = "$_SESSION['count'] = ($_SESSION['count'] ?? 0) + 1; echo $_SESSION['count'];";

const app: App = {
  boot: HANDLER,
  ini: { output_buffering: "0" },
  pages: {
    count: `session_start(); ${COUNT}`,
    exit: `session_start(); ${COUNT} exit(' exit');`,
    exception: `session_start(); ${COUNT} throw new Exception('with a session open');`,
    none: "echo json_encode([session_id(), session_status() === PHP_SESSION_NONE, isset($_SESSION), session_name(), session_module_name()]);",
    destroy: "session_start(); session_destroy(); echo 'destroyed';",
    abort:
      "session_start(); $_SESSION['aborted'] = 1; echo 'begun'; flush(); gate('left'); for (;;) { echo 'x'; flush(); usleep(1000); }",
    aborted: "session_start(); echo json_encode($_SESSION['aborted'] ?? null);",
    hold: `session_start(); note('locked', 'locked'); gate('unlock'); ${COUNT}`,
    tail: "session_start(); session_write_close(); Kept::$tail = static function () { ini_set('session.use_cookies', '0'); session_id('tailtailtailtailtailtailtail'); session_start(); $_SESSION['tail'] = 1; note('tail', 'tail'); }; echo 'answer';",
    "own-handler": `Handler::$fails = $_GET['fails'] ?? ''; session_set_save_handler(new Handler('own'), true); session_start(); ${COUNT}`,
    "no-fail": "Handler::$fails = ''; echo 'mended';",
    name: "session_name('OTHER'); session_start(); echo session_name();",
  },
};

const cookieOf = (answer: { header(name: string): string | undefined }) =>
  answer.header("set-cookie")?.split(";")[0] ?? "";

const withCookie = async (server: Server, path: string, cookie: string) =>
  await send(server, `GET ${path}`, cookie === "" ? [] : [`Cookie: ${cookie}`]);

const FRESH = '["",true,false,"PHPSESSID","files"]';

function common(under: Under): void {
  describe("sessions in worker mode:", () => {
    const server = sharedApp(under, { ...app, pool: { worker_count: 2 } });

    test("a session is its client's, whoever used the worker before", async () => {
      const one = await get(server(), "/count");
      const two = await get(server(), "/count");
      expect([one.text, two.text]).toEqual(["1", "1"]);
      expect(cookieOf(one)).toMatch(/^PHPSESSID=\w+$/);
      expect(cookieOf(one)).not.toBe(cookieOf(two));
      for (const count of ["2", "3", "4"]) {
        expect((await withCookie(server(), "/count", cookieOf(one))).text).toBe(count);
        expect((await get(server(), "/none")).text).toBe(FRESH);
      }
    });

    test("no id, data, or name of one request is the next one's", async () => {
      for (const path of ["/count", "/exit", "/exception", "/destroy"]) {
        await get(server(), path);
        await get(server(), path);
        expect([path, (await get(server(), "/none")).text]).toEqual([path, FRESH]);
        expect([path, (await get(server(), "/none")).text]).toEqual([path, FRESH]);
      }
    });

    test("is written and let go when its request ends by exit(), or by an exception", async () => {
      const cookie = cookieOf(await get(server(), "/count"));
      expect((await withCookie(server(), "/exit", cookie)).text).toBe("2 exit");
      expect((await withCookie(server(), "/exception", cookie)).status).toBe(500);
      // The other worker would wait for a lock that was kept.
      for (const count of ["4", "5", "6"])
        expect((await withCookie(server(), "/count", cookie)).text).toBe(count);
    });

    test("is let go when its client leaves", async () => {
      const cookie = cookieOf(await get(server(), "/count"));
      using connection = await Connection.open(server().url);
      await connection.send(getBytes("/abort").replace("\r\n\r\n", `\r\nCookie: ${cookie}\r\n\r\n`));
      await connection.until(/begun/);
      connection.close();
      server().openGate("left");
      expect((await withCookie(server(), "/aborted", cookie)).text).toBe("1");
      expect((await withCookie(server(), "/count", cookie)).text).toBe("2");
    });

    test("requests of one session go one after the other, others do not wait for them", async () => {
      const cookie = cookieOf(await get(server(), "/count"));
      const holding = withCookie(server(), "/hold", cookie);
      await server().record("locked", /locked/);
      expect((await get(server(), "/count")).text).toBe("1");
      const waiting = withCookie(server(), "/count", cookie);
      server().openGate("unlock");
      expect((await holding).text).toBe("2");
      expect((await waiting).text).toBe("3");
    });

    test("one that the script starts between two requests is nobody's", async () => {
      for (let i = 0; i < 2; i++) {
        expect((await get(server(), "/tail")).text).toBe("answer");
      }
      await server().record("tail", /tail/);
      for (let i = 0; i < 4; i++) expect((await get(server(), "/none")).text).toBe(FRESH);
      const cookie = "PHPSESSID=tailtailtailtailtailtailtail";
      expect((await withCookie(server(), "/count", cookie)).status).toBe(200);
      expect((await withCookie(server(), "/count", cookie)).status).toBe(200);
    });
  });
}

function handlers(under: Under): void {
  describe("session handlers in worker mode:", () => {
    const server = sharedApp(under, app);

    for (const fails of [
      "exit in write",
      "exception in write",
      "exit in close",
      "exception in close",
      "exception in read",
      "exit in read",
    ]) {
      test(`one of a request with ${fails} is gone with it, and holds no lock`, async () => {
        const answer = await get(server(), `/own-handler?fails=${encodeURIComponent(fails)}`);
        expect([fails, answer.status]).toEqual([fails, fails.startsWith("exit") ? 200 : 500]);
        expect((await get(server(), "/no-fail")).text).toBe("mended");
        expect((await get(server(), "/none")).text).toBe(FRESH);
        const cookie = cookieOf(answer);
        if (cookie !== "") expect((await withCookie(server(), "/own-handler", cookie)).status).toBe(200);
        expect((await get(server(), "/count")).text).toBe("1");
        expect((await get(server(), "/none")).text).toBe(FRESH);
      });
    }
  });

  test("a session handler that the boot has set serves every request, and outlives one of a request's own", async () => {
    const boot = `${HANDLER} session_set_save_handler(new Handler('boot'), true);`;
    await using server = await under.begin(appOptions({ ...app, boot }));
    const cookie = cookieOf(await get(server, "/count"));
    for (const count of ["2", "3"]) expect((await withCookie(server, "/count", cookie)).text).toBe(count);
    expect((await withCookie(server, "/own-handler", cookie)).text).toBe("4");
    expect((await withCookie(server, "/exit", cookie)).text).toBe("5 exit");
    expect((await withCookie(server, "/exception", cookie)).status).toBe(500);
    expect((await withCookie(server, "/count", cookie)).text).toBe("7");
    expect(recorded(server, "notes")).toMatch(
      /^(boot open\nboot close\n){3}own open\nown close\n(boot open\nboot close\n){3}$/,
    );
    expect((await get(server, "/none")).text).toBe('["",true,false,"PHPSESSID","user"]');
  });
}

function settings(under: Under): void {
  test("session.auto_start opens a session for each request", async () => {
    await using server = await under.begin(
      appOptions({
        ...app,
        ini: { "session.auto_start": "1" },
        pages: { count: COUNT, id: "echo session_id();" },
      }),
    );
    const one = await get(server, "/count");
    expect(one.text).toBe("1");
    expect((await withCookie(server, "/count", cookieOf(one))).text).toBe("2");
    const two = await get(server, "/count");
    expect(two.text).toBe("1");
    expect(cookieOf(two)).not.toBe(cookieOf(one));
    expect((await withCookie(server, "/id", cookieOf(two))).text).toBe(cookieOf(two).split("=")[1] ?? "");
  });

  test("a session that is open when the script has booted is closed, and said so", async () => {
    const boot = "session_id('bootbootbootbootbootbootboot'); session_start(); $_SESSION['secret'] = 1;";
    await using server = await under.begin(
      appOptions({
        ...app,
        boot,
        pages: { ...app.pages, secret: "session_start(); echo json_encode($_SESSION);" },
      }),
    );
    await server.waitForLog(/started a session while it booted/);
    expect((await get(server, "/none")).text).toBe(FRESH);
    expect((await get(server, "/secret")).text).toBe("[]");
    // Its lock is nobody's any more, not even the template's.
    const cookie = "PHPSESSID=bootbootbootbootbootbootboot";
    await eventually("it can be opened", async () =>
      (await withCookie(server, "/count", cookie)).status === 200 ? true : undefined,
    );
  });
}

underEachIsolation((under) => {
  common(under);
  handlers(under);
  settings(under);
});
