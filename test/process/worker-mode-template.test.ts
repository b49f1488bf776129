/** Worker mode with processes: workers forked from an application that has booted once. */
import { describe, expect } from "bun:test";
import { eventually, launch, type Server, test, type Tree, within } from "../harness.ts";
import { type App, appOptions } from "./app.ts";
import { recorded } from "./control.ts";
import { SilentPeer } from "./observe.ts";
import { family, reload } from "./control.ts";
import { allGone, get, underEachIsolation, workerPids } from "./support.ts";

const BOOTED = "note('boot', 'boots'); Kept::$all['random'] = bin2hex(random_bytes(8));";

const app: App = {
  boot: BOOTED,
  pages: {
    who: "echo getmypid();",
    random:
      "echo Kept::$all['random'], ' ', bin2hex(random_bytes(8)), ' ', mt_rand(), ' ', uniqid('', true), ' ', spl_object_id(new stdClass);",
    hold: "gate('hold'); echo getmypid();",
  },
  pool: { worker_count: 3 },
};

const start = async (options: App, worker: Tree = {}): Promise<Server> => {
  const server = launch({ ...appOptions({ ...app, ...options, worker }), isolation: "process" });
  await server.ready();
  return server;
};

describe("a template", () => {
  test("boots once, however many workers there are and however often they are replaced", async () => {
    await using server = await start({ pool: { worker_count: 3 } });
    const pids = await workerPids(server, 3);
    for (const pid of pids) process.kill(pid, "SIGKILL");
    await allGone(pids);
    await workerPids(server, 3);
    expect((await get(server, "/who")).status).toBe(200);
    expect(recorded(server, "boots")).toBe("boot\n");
    const before = family(server);
    await reload(server);
    await allGone(before);
    expect((await get(server, "/who")).status).toBe(200);
    expect(recorded(server, "boots")).toBe("boot\nboot\n");
  });

  test("false: each worker boots by itself", async () => {
    await using server = await start({}, { template: false });
    await workerPids(server, 3);
    await server.record("boots", /^(boot\n){3}$/);
    expect((await get(server, "/who")).status).toBe(200);
  });

  test("hands on what the boot has made, but no random numbers", async () => {
    const hook =
      "phprun_after_fork(function () { note(mt_rand() . ' ' . rand() . ' ' . lcg_value(), 'hooks'); });";
    await using server = await start({ boot: `${BOOTED} mt_rand(); lcg_value(); ${hook}` });
    await workerPids(server, 3);
    const hooks = (await server.record("hooks", /^(.*\n){3}$/))
      .trim()
      .split("\n")
      .map((line) => line.split(" "));
    for (const column of [0, 1, 2]) expect(new Set(hooks.map((values) => values[column])).size).toBe(3);
    const holding = get(server, "/hold");
    await server.record("hold", /here/);
    const answers = [(await get(server, "/random")).text, (await get(server, "/random")).text].map((text) =>
      text.split(" "),
    );
    expect(answers[0]?.[0]).toBe(answers[1]?.[0] ?? "");
    for (const index of [1, 2, 3]) expect(answers[0]?.[index]).not.toBe(answers[1]?.[index] ?? "");
    server.openGate("hold");
    expect((await holding).status).toBe(200);
  });

  test("calls the hooks in order, in the host and in each worker, which own what they have opened", async () => {
    const boot = `${BOOTED}
      phprun_before_fork(function () { note('before 1 ' . getmypid(), 'hooks'); Kept::$all['log'] = null; });
      phprun_before_fork(function () { note('before 2 ' . getmypid(), 'hooks'); echo 'printed in a hook'; });
      phprun_after_fork(function () { note('after 1 ' . getmypid(), 'hooks'); Kept::$all['log'] = fopen(getenv('RECORDS') . '/own-' . getmypid(), 'w'); header('X-Hook: 1'); });
      phprun_after_fork(fn () => note('after 2 ' . getmypid(), 'hooks'));`;
    await using server = await start({
      boot,
      pages: { ...app.pages, own: "fwrite(Kept::$all['log'], 'mine'); echo getmypid();" },
      pool: { worker_count: 2 },
    });
    const pids = await workerPids(server, 2);
    const [host = 0] = family(server);
    const lines = (await server.record("hooks", /^(.*\n){6}$/)).trim().split("\n");
    expect(lines.slice(0, 2)).toEqual([`before 1 ${host}`, `before 2 ${host}`]);
    for (const pid of pids)
      expect(lines.filter((line) => line.endsWith(` ${pid}`))).toEqual([`after 1 ${pid}`, `after 2 ${pid}`]);
    const answer = await get(server, "/own");
    expect([recorded(server, `own-${answer.text}`), answer.header("x-hook")]).toEqual(["mine", undefined]);
    await server.waitForLog(/printed in a hook/);
  });

  test("whose hook throws before the fork does not boot", async () => {
    const boot = `${BOOTED} phprun_before_fork(function () { throw new Exception('cannot close it'); });`;
    await using server = launch({
      ...appOptions({ ...app, boot, worker: { boot_attempts: 1 } }),
      isolation: "process",
    });
    expect(await within(server.exited, "it has ended")).toBe(1);
    expect(server.log.text).toMatch(/did not boot[^]*cannot close it/);
  });

  test("whose hook throws in a worker does not boot either", async () => {
    const boot = `${BOOTED} phprun_after_fork(function () { throw new Exception('cannot open it'); });`;
    await using server = launch({
      ...appOptions({ ...app, boot, worker: { boot_attempts: 1 } }),
      isolation: "process",
    });
    expect(await within(server.exited, "it has ended")).toBe(1);
    expect(server.log.text).toMatch(/cannot open it/);
    expect(server.processes()).toEqual([]);
  });

  test("a hook that asks for a request is told that it cannot", async () => {
    for (const hook of ["phprun_before_fork", "phprun_after_fork"]) {
      const boot = `${BOOTED} ${hook}(function () { try { phprun_handle_request(fn () => null); } catch (RuntimeException $e) { note($e->getMessage(), 'told'); } });`;
      await using server = await start({ boot, pool: { worker_count: 1 } });
      await server.record("told", /cannot be called/);
      expect((await get(server, "/who")).status).toBe(200);
    }
  });

  test("has files that the boot has opened in all workers, and nothing else's", async () => {
    const boot = `${BOOTED} Kept::$all['file'] = fopen(getenv('RECORDS') . '/shared', 'a'); $data = fopen(__FILE__, 'r'); Kept::$all['data'] = $data;`;
    await using server = await start({
      boot,
      pages: {
        ...app.pages,
        write:
          "fwrite(Kept::$all['file'], getmypid() . \"\\n\"); fseek(Kept::$all['data'], 0); echo fread(Kept::$all['data'], 5);",
      },
    });
    await workerPids(server, 3);
    for (let i = 0; i < 6; i++) expect((await get(server, "/write")).text).toBe("<?php");
    expect(recorded(server, "shared").trim().split("\n")).toHaveLength(6);
    expect(server.log.text).not.toContain("open when it has booted");
  });

  describe("whose application has connections open:", () => {
    const kinds: Record<string, [boot: (peer: SilentPeer) => string, named: RegExp]> = {
      "a socket": [
        (peer) => `Kept::$all['c'] = stream_socket_client('${peer.address}');`,
        /a connection to 127\.0\.0\.1:\d+/,
      ],
      "a SQLite database": [
        () =>
          "Kept::$all['c'] = new PDO('sqlite:' . getenv('RECORDS') . '/a.db'); Kept::$all['c']->exec('CREATE TABLE IF NOT EXISTS t (a)'); Kept::$all['c']->query('SELECT * FROM t');",
        /the SQLite database .*a\.db/,
      ],
    };
    for (const [what, [open, named]] of Object.entries(kinds)) {
      test(`${what}, and auto: each worker boots by itself, and the log says why`, async () => {
        using peer = await SilentPeer.listen();
        await using server = await start({ boot: `${BOOTED} ${open(peer)}` }, { template: "auto" });
        await server.waitForLog(new RegExp(`The application has ${named.source} open when it has booted`));
        await workerPids(server, 3);
        // Once in vain.
        await server.record("boots", /^(boot\n){4}$/);
        expect((await get(server, "/who")).status).toBe(200);
        expect(server.log.text).not.toMatch(/ error |in a row/);
        // The next generation finds out anew; a host that dies does not have to.
        const [host = 0] = family(server);
        process.kill(host, "SIGKILL");
        await allGone([host]);
        expect((await get(server, "/who")).status).toBe(200);
      });

      test(`${what}, and true: they are shared, with a warning`, async () => {
        using peer = await SilentPeer.listen();
        await using server = await start({ boot: `${BOOTED} ${open(peer)}` }, { template: true });
        await server.waitForLog(
          new RegExp(`The application has ${named.source} open at the fork: its workers share it`),
        );
        await workerPids(server, 3);
        expect((await get(server, "/who")).status).toBe(200);
        expect(recorded(server, "boots")).toBe("boot\n");
      });

      test(`${what}, closed before the fork: workers are forked, without a word`, async () => {
        using peer = await SilentPeer.listen();
        const boot = `${BOOTED} ${open(peer)} phprun_before_fork(function () { Kept::$all['c'] = null; }); phprun_after_fork(function () { ${open(peer)} });`;
        await using server = await start({ boot });
        await workerPids(server, 3);
        expect((await get(server, "/who")).status).toBe(200);
        expect(server.log.text).not.toContain("The application has");
        expect(recorded(server, "boots")).toBe("boot\n");
      });
    }
  });
});

underEachIsolation((under) => {
  test("hooks of the fork are not called where each worker boots by itself", async () => {
    const boot =
      "phprun_before_fork(fn () => note('before', 'hooks')); phprun_after_fork(fn () => note('after', 'hooks')); note('boot', 'boots');";
    await using server = await under.begin(appOptions({ ...app, boot, worker: { template: false } }));
    await server.record("boots", /^(boot\n){3}$/);
    await eventually("all have booted", async () =>
      (await get(server, "/who")).status === 200 ? true : undefined,
    );
    expect(recorded(server, "hooks")).toBe("");
  });
});
