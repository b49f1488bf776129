import { expect, test } from "bun:test";
import { join } from "node:path";
import { parse } from "yaml";
import { editorSchema } from "../../src/config/json-schema.ts";
import { printConfig } from "../../src/config/print.ts";
import { configReference } from "../../src/config/reference.ts";
import { Folder, yamlFolder } from "./config-helper.ts";

test("without a file the defaults serve ./public if it exists, else the current folder", () => {
  using bare = new Folder();
  using withPublic = new Folder({ "public/index.php": "" });
  expect(bare.load().php.docroot).toBe(bare.path);
  const config = withPublic.load();
  expect(config.php.docroot).toBe(join(withPublic.path, "public"));
  expect(config.source).toBeNull();
  expect(config.server.listeners).toEqual([{ kind: "tcp", host: "0.0.0.0", port: 8080 }]);
  expect(config.server.clientMaxBodyBytes).toBe(32 * 1024 ** 2);
  expect(config.pools).toHaveLength(1);
  expect(config.pools[0]).toMatchObject({
    name: "default",
    memoryLimitBytes: 256 * 1024 ** 2,
    timeoutMs: 60_000,
    killAfterMs: 5_000,
    patterns: ["/*"],
    queue: { max: 1000, timeoutMs: 10_000 },
    responseBufferBytes: 1024 ** 2,
  });
});

test("a settled configuration cannot be changed, at any depth", () => {
  using folder = new Folder();
  const config = folder.load();
  expect(() => Object.assign(config.pools[0]?.queue ?? {}, { max: 1 })).toThrow();
  expect(() => Object.assign(config.php.ini, { x: "1" })).toThrow();
});

test("flags win over the environment, and the environment over the file", () => {
  using folder = yamlFolder("server: { port: 1, host: 127.0.0.1 }\n");
  const port = (flags = {}, env = {}) => folder.load(flags, env).server.listeners;
  expect(port()).toEqual([{ kind: "tcp", host: "127.0.0.1", port: 1 }]);
  expect(port({}, { PHPRUN_SERVER__PORT: "2" })).toEqual([{ kind: "tcp", host: "127.0.0.1", port: 2 }]);
  expect(port({ port: "3" }, { PHPRUN_SERVER__PORT: "2" })).toEqual([
    { kind: "tcp", host: "127.0.0.1", port: 3 },
  ]);
});

test("the file is found by flag, then by PHPRUN_CONFIG, then in the known places", () => {
  using folder = new Folder({
    "phprun.yaml": "server: { port: 1 }",
    "config/phprun.yaml": "server: { port: 2 }",
    "a.yaml": "server: { port: 3 }",
    "b.yaml": "server: { port: 4 }",
  });
  expect(folder.load({ config: "a.yaml" }, { PHPRUN_CONFIG: "b.yaml" }).source).toBe(
    join(folder.path, "a.yaml"),
  );
  expect(folder.load({}, { PHPRUN_CONFIG: "b.yaml" }).source).toBe(join(folder.path, "b.yaml"));
  expect(folder.load().source).toBe(join(folder.path, "phprun.yaml"));
  expect(folder.errors({ config: "none.yaml" })[0]).toContain(
    '--config: Cannot read the configuration: must be a file, received "none.yaml"',
  );
});

test("relative paths start at the file's folder, or beside a folder named config", () => {
  using folder = new Folder({
    "public/index.php": "",
    "config/phprun.yaml": "php: { docroot: ./public }",
    "etc/phprun.yaml": "php: { docroot: ../public }\nserver: { listen: ['unix:run.sock'], spool_dir: . }",
  });
  expect(folder.load().php.docroot).toBe(join(folder.path, "public"));
  const other = folder.load({ config: "etc/phprun.yaml" });
  expect(other.php.docroot).toBe(join(folder.path, "public"));
  expect(other.server.spoolDir).toBe(join(folder.path, "etc"));
  expect(other.server.listeners).toEqual([{ kind: "unix", path: join(folder.path, "etc/run.sock") }]);
  expect(folder.load({ config: "etc/phprun.yaml", root: "." }).php.docroot).toBe(folder.path);
});

test("an empty section means that nothing is set in it", () => {
  using folder = yamlFolder("server:\nphp:\npools:\nlogging:\n");
  expect(folder.errors()).toEqual([]);
});

test("all errors come at once, each with its place and the nearest valid key", () => {
  using folder = yamlFolder(
    [
      "server:",
      "  prot: 80",
      "  port: 70000",
      "port: 1",
      "php: { docroot: ./none }",
      "pools:",
      "  - worker_count: { min: 3, maxx: 4 }",
    ].join("\n"),
  );
  const errors = folder.errors({}, { PHPRUN_SERVER__KEEP_ALIVE_TIMEOUT_MS: "soon" });
  expect(errors).toEqual(
    expect.arrayContaining([
      "phprun.yaml:2:3: Cannot use 'server.prot': unknown key; did you mean 'server.port'?",
      "phprun.yaml:3:3: Cannot use 'server.port': must be a whole number, 0 to 65535, received 70000",
      "phprun.yaml:4:1: Cannot use 'port': unknown key; did you mean 'server.port'?",
      expect.stringMatching(
        /^phprun\.yaml:5:8: Cannot use 'php\.docroot': the folder .*\/none does not exist$/,
      ),
      "phprun.yaml:7:5: Cannot use 'pools[0]': 'name' is missing",
      "phprun.yaml:7:29: Cannot use 'pools[0].worker_count.maxx': unknown key; did you mean 'pools[0].worker_count.max'?",
      "PHPRUN_SERVER__KEEP_ALIVE_TIMEOUT_MS: Cannot use 'server.keep_alive_timeout_ms': must be a whole number, 0 to 255000, received \"soon\"",
    ]),
  );
});

test.each([
  ["server: {port: -1}", "'server.port': must be a whole number"],
  ["server: {port: '80'}", 'received "80"'],
  ["server: {client_max_body_size: 5XB}", "must be a size"],
  ["server: {client_max_body_size: 9999999G}", "below 8 PiB"],
  ["server: {listen: ['0.0.0.0:80'], port: 81}", "'server.port' beside 'server.listen'"],
  ["server: {listen: ['nonsense']}", "'server.listen[0]': must be"],
  ["server: {listen: ['[::1]:99999']}", "'server.listen[0]': must be"],
  ["server: {listen: ['1.2.3.4:80', '1.2.3.4:80']}", "is in the list twice"],
  ["server: {host: '1.2.3.4:80'}", "without its port"],
  ["server: {trusted_proxies: [10.0.0.0/33]}", "CIDR"],
  ['server: {server_header: "a\\nb"}', "printable ASCII"],
  ["php: {docroot: ./phprun.yaml}", "must be a folder"],
  ["php: {libphp: ./none.so}", "does not exist"],
  ['php: {ini: {a: "x\\0y"}}', "NUL"],
  ['php: {ini: {a: "x\\nextension=evil"}}', "line break"],
  ["php: {ini: {'a = b': x}}", "must be a php.ini name"],
  ['php: {env: {A: "x\\0y"}}', "NUL"],
  ["php: {env: {'A=B': x}}", "without ="],
  ["php: {front_controller: ../x.php}", "inside the docroot"],
  ["php: {isolation: treads}", "one of auto, process, thread"],
  ["php: {thread_stack_size: 1023KiB}", "'php.thread_stack_size': must be a size from 1MiB to 1GiB"],
  ["php: {thread_stack_size: 1025MiB}", "from 1MiB to 1GiB"],
  ["php: {thread_stack_size: big}", "must be a size"],
  ["pools: [{name: a, isolation: fork}]", "one of auto, process, thread, or null"],
  ["static: {cache_size: 1k, cache_max_file_size: 2k}", "must fit cache_size"],
  ["error_pages: {404: none.html}", "none.html does not exist"],
  ["error_pages: {200: phprun.yaml}", "a status from 400 to 599"],
  ["pools: []", "one to 64 pools"],
  ["pools: [{name: a, worker_count: {min: 3, max: 2}}]", "min must not be above max"],
  ["pools: [{name: a, worker_count: 0}]", "from 1 to 512"],
  ["pools: [{name: a, timeout_ms: 0, kill_after_ms: 5}]", "has no effect"],
  ["pools: [{name: a, patterns: [x]}]", "starts with / or *"],
  ["pools: [{name: a, patterns: [/x]}]", 'the pattern "/*"'],
  ["pools: [{name: a}, {name: b, patterns: [/x]}]", "never reached"],
  ["pools: [{name: a, patterns: [/x]}, {name: a}]", "taken by an earlier pool"],
  ["pools: [{name: 'a b'}]", "letters, digits"],
  ["logging: {level: loud}", "one of debug, info, warn, error"],
  ["- a", "map of keys"],
  ["server: {port: 1, port: 2}", "phprun.yaml:1:19: Cannot parse YAML"],
  ["server:\n  port: [1\nphp: 2", "Cannot parse YAML"],
  ["a: *nowhere", "Cannot parse YAML"],
])("%j is refused", (yaml, message) => {
  using folder = yamlFolder(yaml);
  const errors = folder.errors();
  expect(errors.join("\n")).toContain(message);
  expect(errors).toHaveLength(1);
});

test("numbers under ini and env are taken as they are written, and booleans of ini as 1 and 0", () => {
  using folder = yamlFolder(
    "php:\n  ini: { precision: 1.10, opcache.enable: false }\n  env: { VERSION: 1.10, DEBUG: true, MODE: 0755 }\n",
  );
  const { php } = folder.load();
  expect(php.ini).toEqual({ precision: "1.10", "opcache.enable": "0" });
  expect(php.env).toEqual({ VERSION: "1.10", DEBUG: "true", MODE: "0755" });
});

test("what config print writes is read back as the same configuration", () => {
  using folder = new Folder({
    "404.html": "",
    "phprun.yaml": `
server: { listen: ["127.0.0.1:0", "[::1]:8081", "unix:./x.sock"], client_max_body_size: 0, trusted_proxies: ["::1", 10.0.0.0/8] }
php: { ini: { a: 1.10 }, env: { B: "c d" }, front_controller: null }
static: { cache_control: [{ pattern: "/a/*", value: "no-store" }], precompressed: [gz] }
error_pages: { 404: 404.html }
pools:
  - { name: heavy, worker_count: { min: 1, max: 3 }, patterns: ["/heavy-*"] }
  - { name: fast, worker_count: 2 }
`,
  });
  const first = folder.load();
  const copy = folder.write("copy.yaml", printConfig(first));
  expect({ ...folder.load({ config: copy }), source: null }).toEqual({ ...first, source: null });
});

test("the editor schema is plain JSON that asks for no key which has a default", () => {
  const schema = JSON.stringify(editorSchema());
  expect(schema).not.toContain('"x-');
  const { properties, required } = JSON.parse(schema) as {
    properties: { pools: { items: { required: string[] } } };
    required?: string[];
  };
  expect(required).toBeUndefined();
  expect(properties.pools.items.required).toEqual(["name"]);
});

test("the reference tells every key of the printed configuration", () => {
  using folder = new Folder();
  const printed = parse(printConfig(folder.load())) as Record<string, Record<string, unknown>>;
  const reference = configReference();
  for (const section of ["server", "php", "static", "logging"]) {
    for (const key of Object.keys(printed[section] ?? {})) expect(reference).toContain(`\`${key}\``);
  }
  expect(reference).toContain("`queue.timeout_ms`");
});

test("the example in config/ is right", async () => {
  using folder = new Folder({ "public/index.php": "" });
  folder.write(
    "config/phprun.yaml",
    await Bun.file(join(import.meta.dir, "../../config/phprun.yaml")).text(),
  );
  expect(folder.errors()).toEqual([]);
});
