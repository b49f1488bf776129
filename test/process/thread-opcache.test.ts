/** opcache where workers are threads: it never restarts in place, a new generation takes over instead. */
import { expect } from "bun:test";
import { renameSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { eventually, type HttpResponse, type Server, start, test as anyTest, type Tree } from "../harness.ts";
import { ztsLibphp } from "../zts.ts";
import { poolOf, recorded } from "./control.ts";
import { allGone, ask, GATE, get, onePool, Scratch } from "./support.ts";

const test = anyTest.skipIf(ztsLibphp === null);

/** With these a generation never looks at a file twice: what is new can only come from the next one. */
const FROZEN = { "opcache.validate_timestamps": "0", "opcache.file_update_protection": "0" };

/** Every script is looked at with every request, and cached at once. */
const FRESH = { "opcache.revalidate_freq": "0", "opcache.file_update_protection": "0" };

const RESET = "<?php var_dump(opcache_reset());";

const threads = async (files: Record<string, string>, ini: Tree, workers = 2): Promise<Server> =>
  await start({ isolation: "thread", files, config: onePool({ worker_count: workers }, { php: { ini } }) });

/** Asks for pages from several clients at once, until told to stop. Returns how many answers it got. */
function crowd(
  server: Server,
  clients: number,
  page: (turn: number) => string,
  check: (answer: HttpResponse, turn: number) => void,
): () => Promise<number> {
  const state = { over: false, turn: 0 };
  const client = async () => {
    while (!state.over) {
      const turn = state.turn++;
      check(await get(server, page(turn)), turn);
    }
  };
  const all = Promise.all(Array.from({ length: clients }, client));
  all.catch(() => (state.over = true));
  return async () => {
    state.over = true;
    await all;
    return state.turn;
  };
}

test("opcache_reset() brings a new generation, and every request meanwhile gets its answer", async () => {
  const code = (version: number) => `<?php echo "version ${version} of ", getmypid();`;
  await using server = await threads({ "v.php": code(1), "reset.php": RESET }, FROZEN);
  const [, oldHost] = /^version 1 of (\d+)$/.exec((await get(server, "/v.php")).text) ?? [];
  writeFileSync(join(server.docroot, "v.php"), code(2));
  expect((await get(server, "/v.php")).text).toBe(`version 1 of ${oldHost}`);

  const seen = new Set<string>();
  const stop = crowd(
    server,
    4,
    () => "/v.php",
    ({ status, text }) => {
      expect({ status, text }).toEqual({ status: 200, text: expect.stringMatching(/^version [12] of \d+$/) });
      seen.add(text);
    },
  );
  expect((await get(server, "/reset.php")).text).toBe("bool(true)\n");
  await server.waitForLog(/replacing the whole generation: opcache_reset\(\) was called/);
  await allGone([Number(oldHost)]);
  await stop();

  expect((await get(server, "/v.php")).text).toMatch(/^version 2 of \d+$/);
  // Nothing old from the new host, and nothing new from the old one.
  expect([...seen].toSorted()).toEqual([
    `version 1 of ${oldHost}`,
    expect.stringMatching(new RegExp(`^version 2 of (?!${oldHost}$)`)),
  ]);
  const { restarts, generations } = await poolOf(server);
  expect(restarts.renew).toBe(1);
  expect(generations).toMatchObject([{ number: 2, state: "current" }]);
});

test("opcache_reset() obeys opcache.restrict_api, and does nothing where opcache is off", async () => {
  using docroot = new Scratch();
  docroot.write("reset.php", RESET);
  docroot.write("may/off.php", "<?php ini_set('opcache.enable', '0'); var_dump(opcache_reset());");
  docroot.write("may/reset.php", RESET);
  const ini = { ...FROZEN, "opcache.restrict_api": join(docroot.path, "may"), display_errors: "1" };
  const config = onePool({ worker_count: 1 }, { php: { ini } });
  await using server = await start({ isolation: "thread", docroot: docroot.path, config });

  const { text } = await get(server, "/reset.php");
  expect(text).toContain('Zend OPcache API is restricted by "restrict_api" configuration directive');
  expect(text).toEndWith("bool(false)\n");
  expect((await get(server, "/may/off.php")).text).toBe("bool(false)\n");
  expect((await poolOf(server)).restarts.renew).toBe(0);

  expect((await get(server, "/may/reset.php")).text).toBe("bool(true)\n");
  await server.waitForLog(/replacing the whole generation: opcache_reset\(\) was called/);
});

/** Large enough that a hundred of them do not fit into opcache's 8 MB. */
function largeScript(number: number, version: number): string {
  const functions = Array.from(
    { length: 150 },
    (_, i) =>
      `function f${number}_${i}($x) { return "v${version}" . $x . implode(',', ['a${version}', 'b${i}']); }`,
  );
  return `<?php
${functions.join("\n")}
class C${number} { public array $list = [1, 'k${version}' => 2]; }
$right = f${number}_7('-') === 'v${version}-a${version},b7' && (new C${number})->list['k${version}'] === 2;
echo 'script ${number} ', $right ? 'is right' : 'is wrong';`;
}

test("opcache that has run out of memory never restarts in place: a new generation takes over", async () => {
  const scripts = 100;
  const name = (number: number) => `s${number}.php`;
  const files: Record<string, string> = {
    "old.php": `<?php ${GATE} gate('old');
      $status = opcache_get_status(false);
      echo json_encode(['pid' => getmypid(), 'pending' => $status['restart_pending'],
        'restarts' => [$status['opcache_statistics']['oom_restarts'], $status['opcache_statistics']['hash_restarts'],
          $status['opcache_statistics']['manual_restarts']]]);`,
    "pid.php": "<?php echo getmypid();",
  };
  for (let number = 0; number < scripts; number++) files[name(number)] = largeScript(number, 0);
  const small = { "opcache.memory_consumption": "8", "opcache.interned_strings_buffer": "1" };
  await using server = await threads(files, { ...FRESH, ...small }, 4);
  const oldHost = Number((await get(server, "/pid.php")).text);
  // Stays in the old host until that has been replaced, and then says what opcache has done there.
  await using waiting = await ask(server, "/old.php");
  await eventually("the script waits", () => (recorded(server, "old") === "" ? undefined : true));

  let version = 0;
  const stop = crowd(
    server,
    3,
    (turn) => {
      // Rewritten scripts leave their old code behind, which is what opcache wants to be rid of.
      if (turn % 3 === 0)
        rewrite(server, name(turn % scripts), largeScript(turn % scripts, ++version), version);
      return `/${name((turn * 7) % scripts)}`;
    },
    ({ status, text }, turn) => {
      expect({ status, text }).toEqual({ status: 200, text: `script ${(turn * 7) % scripts} is right` });
    },
  );
  await server.waitForLog(/replacing the whole generation: opcache has run out of memory/);
  await eventually("another host serves", async () => {
    const { text } = await get(server, "/pid.php");
    return text === String(oldHost) ? undefined : true;
  });
  await stop();

  server.write("records/old.gate", "");
  const { text } = await waiting.response();
  expect(JSON.parse(text)).toEqual({ pid: oldHost, pending: true, restarts: [0, 0, 0] });
  await allGone([oldHost]);
  expect(server.log.text).not.toMatch(/crash|signal/i);
});

test("opcache that has run out of keys is told from one that has run out of memory", async () => {
  // One more than the least it takes, 223, and one for the script that is rewritten.
  const names = Array.from({ length: 224 }, (_, number) => `k${number}.php`);
  const files: Record<string, string> = { "large.php": largeScript(0, 0) };
  for (const name of names) files[name] = `<?php echo "${name}";`;
  const few = { "opcache.max_accelerated_files": "200", "opcache.max_wasted_percentage": "1" };
  const small = { "opcache.memory_consumption": "8", "opcache.interned_strings_buffer": "1" };
  await using server = await threads(files, { ...FRESH, ...small, ...few });
  for (let version = 1; version < 4; version++) {
    rewrite(server, "large.php", largeScript(0, version), version);
    expect((await get(server, "/large.php")).text).toBe("script 0 is right");
  }
  for (const name of names) expect((await get(server, `/${name}`)).text).toBe(name);
  await eventually("opcache is looked at", async () => {
    await get(server, "/k0.php");
    return /replacing the whole generation: opcache/.test(server.log.text) ? true : undefined;
  });
  expect(server.log.text).toContain("opcache has run out of keys (opcache.max_accelerated_files)");
});

/** As a deployment does it: a new file in place of the old. Each version has a time of its own, to the second. */
function rewrite(server: Server, name: string, code: string, version: number): void {
  const path = join(server.docroot, name);
  const unfinished = `${path}.new`;
  writeFileSync(unfinished, code);
  utimesSync(unfinished, version, version);
  renameSync(unfinished, path);
}
