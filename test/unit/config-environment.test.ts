import { expect, test } from "bun:test";
import fc from "fast-check";
import { Folder, yamlFolder } from "./config-helper.ts";

test("values take the type that their key has", () => {
  using folder = new Folder({ "404.html": "" });
  const config = folder.load(
    {},
    {
      PHPRUN_SERVER__REQUEST_ID: "off",
      PHPRUN_SERVER__SERVER_HEADER: "null",
      PHPRUN_SERVER__TRUSTED_PROXIES: "10.0.0.0/8, ::1",
      PHPRUN_SERVER__CLIENT_MAX_BODY_SIZE: "1G",
      PHPRUN_ERROR_PAGES__404: "404.html",
      PHPRUN_STATIC__CACHE_CONTROL: '[{ pattern: "/*", value: no-store }]',
      PHPRUN_POOLS__DEFAULT__WORKER_COUNT: "{ min: 1, max: 7 }",
      PHPRUN_POOLS__0__TIMEOUT_MS: "5",
    },
  );
  expect(config.server).toMatchObject({
    requestId: false,
    serverHeader: null,
    trustedProxies: ["10.0.0.0/8", "::1"],
    clientMaxBodyBytes: 1024 ** 3,
  });
  expect(config.errorPages[404]).toEndWith("/404.html");
  expect(config.static.cacheControl).toEqual([{ pattern: "/*", value: "no-store" }]);
  expect(config.pools[0]).toMatchObject({ workers: { min: 1, max: 7 }, timeoutMs: 5 });
});

test("a pool is named by its name or its place, and one end of its range can be set", () => {
  using folder = yamlFolder(
    "pools:\n  - { name: a-b, patterns: [/a], worker_count: { min: 1, max: 2 } }\n  - { name: c }\n",
  );
  const { pools } = folder.load(
    {},
    { PHPRUN_POOLS__A_B__WORKER_COUNT__MAX: "9", PHPRUN_POOLS__1__QUEUE__MAX: "3" },
  );
  expect(pools.map((pool) => [pool.workers.max, pool.queue.max])).toEqual([
    [9, 1000],
    [expect.any(Number), 3],
  ]);
});

test.each([
  ["PHPRUN_SERVER__PROT", "did you mean PHPRUN_SERVER__PORT?"],
  ["PHPRUN_SEVER__PORT", "did you mean PHPRUN_SERVER?"],
  ["PHPRUN_POOLS__NONE__NAME", "or one of default"],
  ["PHPRUN_SERVER__LISTEN__0", "give the whole list"],
  ["PHPRUN_SERVER__PORT__X", "holds no further keys"],
  ["PHPRUN_SERVER____PORT", "unknown key"],
])("%s is an error that tells the way", (name, message) => {
  using folder = new Folder();
  const [error, ...more] = folder.errors({}, { [name]: "1" });
  expect(error).toStartWith(`${name}: `);
  expect(error).toContain(message);
  expect(more).toEqual([]);
});

test("variables without two underscores are not the configuration's", () => {
  using folder = new Folder();
  expect(folder.errors({}, { PHPRUN_SHIM: "x", PHPRUN_DEBUG: "1", OTHER__THING: "1" })).toEqual([]);
});

test("a later level's port takes the place of an earlier level's list of listeners", () => {
  using folder = yamlFolder("server: { listen: ['unix:x.sock', '127.0.0.1:1'] }");
  expect(folder.load({ port: "7" }).server.listeners).toEqual([{ kind: "tcp", host: "0.0.0.0", port: 7 }]);
  expect(folder.load({}, { PHPRUN_SERVER__LISTEN: "[::]:5" }).server.listeners).toEqual([
    { kind: "tcp", host: "::", port: 5 },
  ]);
  expect(folder.errors({}, { PHPRUN_SERVER__LISTEN: ":5", PHPRUN_SERVER__PORT: "6" })).toHaveLength(1);
});

test("--workers is refused when it is not clear which pool it is for", () => {
  using one = new Folder();
  using two = yamlFolder("pools: [{ name: a, patterns: [/a] }, { name: b }]");
  expect(one.load({ workers: "3" }).pools[0]?.workers).toEqual({ min: 3, max: 3 });
  expect(two.errors({ workers: "3" })).toEqual([
    "--workers: Cannot set the number of workers: there are 2 pools; set worker_count of each",
  ]);
});

test("whatever the text of a port is, it is either that port or one error that names the variable", () => {
  using folder = new Folder();
  const text = fc.oneof(fc.string(), fc.integer({ min: -10, max: 70_000 }).map(String));
  fc.assert(
    fc.property(text, (value) => {
      const env = { PHPRUN_SERVER__PORT: value };
      const right = /^-?\d+(\.0+)?$/.test(value.trim()) && Number(value) >= 0 && Number(value) <= 65_535;
      if (right)
        expect(folder.load({}, env).server.listeners[0]).toMatchObject({ port: Math.abs(Number(value)) });
      else
        expect(folder.errors({}, env)).toEqual([
          expect.stringContaining("PHPRUN_SERVER__PORT: Cannot use 'server.port'"),
        ]);
    }),
  );
});

test("each variable below env reaches PHP as it is, next to those of the file", () => {
  using folder = yamlFolder("php: { env: { FROM_FILE: kept } }");
  const name = fc
    .stringMatching(/^[A-Z][A-Z0-9]{0,6}(_{1,3}[A-Z0-9]{1,4}){0,2}$/)
    .filter((text) => text !== "FROM_FILE");
  const value = fc.string().filter((text) => !text.includes("\0"));
  fc.assert(
    fc.property(name, value, (key, text) => {
      const { env } = folder.load({}, { [`PHPRUN_PHP__ENV__${key}`]: text }).php;
      expect(env).toEqual({ FROM_FILE: "kept", [key]: text });
    }),
  );
});

test("levels below ini are joined with dots", () => {
  using folder = new Folder();
  expect(
    folder.load({}, { PHPRUN_PHP__INI__OPCACHE__ENABLE: "1", PHPRUN_PHP__INI__MEMORY_LIMIT: "64M" }).php.ini,
  ).toEqual({
    "opcache.enable": "1",
    memory_limit: "64M",
  });
});
