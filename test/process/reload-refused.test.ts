import { expect } from "bun:test";
import { renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Server, start, test, type Tree } from "../harness.ts";
import { configure, family, refusedReload, reload, statusOf } from "./control.ts";
import { get, onePool, underEachIsolation, WORKER_ID, workerPids } from "./support.ts";

const files = {
  "pid.php": `<?php echo ${WORKER_ID};`,
  "health.php": "<?php echo 'fine';",
  "style.css": "a{}",
};

const put = (server: Server, name: string, content: string) =>
  writeFileSync(join(server.docroot, name), content);

const sane = (rest: Tree = {}) => onePool({ worker_count: 1 }, { health: { path: "/health.php" }, ...rest });

interface Case {
  /** Breaks the configuration or the application. */
  readonly breakIt: (server: Server) => void;
  /** What the reason must tell. */
  readonly told: readonly (string | RegExp)[];
  readonly mend?: (server: Server) => void;
  /** Worth a look for threads, too: PHP itself says no, or a worker does not come through. */
  readonly threads?: boolean;
}

const health = (code: string, config: Tree = sane()) => ({
  breakIt: (server: Server) => {
    put(server, "health.php", code);
    configure(server, config);
  },
  mend: (server: Server) => put(server, "health.php", "<?php echo 'fine';"),
});

const settings = (config: Tree) => ({ breakIt: (server: Server) => configure(server, config) });

const CASES: Readonly<Record<string, Case>> = {
  "a YAML file that is none": {
    breakIt: (server) => {
      server.write("phprun.yaml", "server:\n  port: [1\nphp: }\n");
    },
    told: [/phprun\.yaml:\d/],
  },
  "two mistakes in the configuration": {
    ...settings({ ...sane(), server: { port: -1 }, health: { path: "health" } }),
    told: ["'server.port'", "'health.path'"],
  },
  "a setting that PHP complains of": {
    ...settings(sane({ php: { ini: { "date.timezone": "Nowhere/Land" } } })),
    threads: true,
    told: ["PHP complains when it starts", /Invalid date\.timezone value 'Nowhere\/Land'/],
  },
  "an extension that is not there": {
    ...settings(sane({ php: { ini: { extension: "nope.so" } } })),
    told: ["Unable to load dynamic library 'nope.so'"],
  },
  "a libphp that is not there": {
    ...settings(sane({ php: { libphp: "/nowhere/libphp.so" } })),
    told: ["'php.libphp'", "/nowhere/libphp.so does not exist"],
  },
  "a libphp that is none": {
    breakIt: (server) => {
      const path = server.write("libphp.so", "not a library");
      configure(server, sane({ php: { libphp: path } }));
    },
    told: ["libphp.so"],
  },
  "a docroot that has gone": {
    breakIt: (server) => renameSync(server.docroot, `${server.docroot}.away`),
    told: ["'php.docroot'", "does not exist"],
    mend: (server) => renameSync(`${server.docroot}.away`, server.docroot),
  },
  "a syntax error in the health check": {
    ...health("<?php\n\nif true\n"),
    threads: true,
    told: [
      "/health.php",
      "status 500",
      /PHP Parse error: +syntax error, unexpected identifier .* in \S+\/health\.php on line \d/,
    ],
  },
  "an exception in the health check": {
    ...health("<?php\nthrow new LogicException('no database');"),
    told: ["status 500", /Uncaught LogicException: no database in \S+\/health\.php:2/],
  },
  "a health check that says 500": {
    ...health("<?php http_response_code(500); echo '<b>cache</b> is down';"),
    told: ["The health check /health.php did not answer well: status 500: cache is down"],
  },
  "a health check that says 404": { ...health("<?php http_response_code(404);"), told: ["status 404"] },
  "a health check that is killed": {
    ...health("<?php posix_kill(getmypid(), SIGKILL);"),
    threads: true,
    told: [/the worker died: signal 9 \(SIGKILL\)|its host ended with SIGKILL/],
  },
  "a health check that does not end": {
    ...health("<?php sleep(30);", sane({ health: { path: "/health.php", timeout_ms: 200 } })),
    told: ["no answer within 200 ms"],
  },
  "a health check past the pool's own deadline": {
    ...health("<?php for (;;);", {
      ...sane(),
      pools: [{ name: "default", worker_count: 1, timeout_ms: 100 }],
    }),
    threads: true,
    told: ["it exceeded the pool's timeout_ms"],
  },
  "a health check that is a static file": {
    ...settings(sane({ health: { path: "/style.css" } })),
    told: ["'health.path'", "/style.css must lead to a PHP script"],
  },
  "a health check that is not there": {
    ...settings(sane({ health: { path: "/none.php" }, php: { front_controller: null } })),
    told: ["'health.path'", "/none.php must lead to a PHP script", "404"],
  },
};

underEachIsolation(({ threads, begin }) => {
  const cases = Object.entries(CASES).filter(([, each]) => !threads || each.threads);

  for (const [name, { breakIt, told, mend }] of cases) {
    test(`${name} is refused with the reason, and nothing changes`, async () => {
      // Without a health check: the first generation's would still run while the test breaks it.
      await using server = await begin({ files, config: onePool({ worker_count: 1 }) });
      const [worker] = await workerPids(server, 1);
      const before = family(server);
      expect(before).toBeArrayOfSize(threads ? 1 : 2);
      const mark = server.log.mark();
      breakIt(server);
      const reason = await refusedReload(server);
      for (const part of told) {
        if (typeof part === "string") expect(reason).toContain(part);
        else expect(reason).toMatch(part);
      }
      expect(family(server)).toEqual(before);
      mend?.(server);
      expect((await get(server, "/pid.php")).text).toBe(String(worker));
      const status = await statusOf(server);
      expect(status).toMatchObject({ state: "serving", ready: true, reloads: { done: 0, refused: 1 } });
      expect(status.pools[0]).toMatchObject({
        generation: 1,
        requests: { lost: 0, timed_out: 0 },
        restarts: { crash: 0, host: 0 },
      });
      expect(status.pools[0]?.generations).toBeArrayOfSize(1);
      const log = server.log.text.slice(mark);
      // Beside it there is at most what PHP, or the end of a worker, was logged with by itself.
      const errors = log.match(/^\S+ \S+ error .*/gm) ?? [];
      expect(
        errors.filter(
          (line) =>
            !/^\S+ \S+ error (PHP \w+ error:|a worker died:|host ended with|a worker crashed)/.test(line),
        ),
      ).toEqual([expect.stringContaining("reload refused, nothing has changed: ")]);

      configure(server, sane());
      expect(await reload(server)).toContain("pool default generation ");
      expect(Number((await get(server, "/pid.php")).text)).not.toBe(worker);
    });
  }
});

test("a health check that redirects is well", async () => {
  await using server = await start({ files, config: sane() });
  put(server, "health.php", "<?php header('Location: /login');");
  expect(await reload(server)).toContain("pool default generation 2");
});

test("a new pool is refused for what PHP complains of, and for what it had complained of before it is not", async () => {
  const pools = (ini: Tree) => [
    { name: "added", worker_count: 1, patterns: ["/added/*"], ini },
    { name: "default", worker_count: 1 },
  ];
  const php = { ini: { "date.timezone": "Nowhere/Land" } };
  await using server = await start({ files, config: onePool({ worker_count: 1 }, { php }) });
  await server.waitForLog(/Invalid date\.timezone/);
  const before = family(server);
  configure(server, { php, pools: pools({ extension: "nope.so" }) });
  const reason = await refusedReload(server);
  expect(reason).toContain("Unable to load dynamic library 'nope.so'");
  expect(reason).not.toContain("date.timezone");
  expect(family(server)).toEqual(before);
  configure(server, { php, pools: pools({}) });
  expect(await reload(server)).toContain("pool added generation ");
});

test("one pool that is not fit keeps all of them as they are", async () => {
  const pools = (ini: Tree) => [
    { name: "first", worker_count: 1, patterns: ["/first/*"] },
    { name: "last", worker_count: 1, ini },
  ];
  await using server = await start({ files, config: { pools: pools({}) } });
  const before = family(server);
  configure(server, { pools: pools({ extension: "nope.so" }) });
  expect(await refusedReload(server)).toContain("nope.so");
  expect(family(server)).toEqual(before);
  expect((await statusOf(server)).pools.map(({ generation }) => generation)).toEqual([1, 1]);
});
