import { expect, test } from "bun:test";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import picomatch from "picomatch";
import { type AccountFault, findRunAs } from "../../src/config/accounts.ts";
import { allowedCpus, formatCpuList, parseCpuList } from "../../src/config/cpu-list.ts";
import { printConfig } from "../../src/config/print.ts";
import { defaultWatchPaths, WATCH_IGNORE, WATCH_INCLUDE } from "../../src/config/watch-defaults.ts";
import { Folder, yamlFolder } from "./config-helper.ts";

const asRoot = process.geteuid?.() === 0;
const MIB = 1024 ** 2;
const [cpu = 0] = allowedCpus();

test("a pool of which nothing is said does not use what is new or costs something", () => {
  using folder = new Folder();
  const config = folder.load();
  expect(config.pools[0]).toMatchObject({
    idleTimeoutMs: 10_000,
    memoryLimitBytes: 256 * MIB,
    memoryKillBytes: 512 * MIB,
    slowMs: 0,
    retry: false,
    hosts: [],
    methods: [],
    nice: 0,
    isolation: "auto",
    runAs: null,
    cpuAffinity: [],
    emergencyRestart: { threshold: 10, intervalMs: 60_000 },
  });
  expect(config.server).toMatchObject({ controlSocket: "auto", memoryWarnBytes: 1024 * MIB });
  expect(config.health).toEqual({ path: null, timeoutMs: 10_000 });
  expect(config.reload).toEqual({ drainTimeoutMs: 60_000 });
  expect(config.watch).toMatchObject({ paths: [folder.path], debounceMs: 150, pollMs: 0 });
  expect(config.admin).toEqual({ listener: null });
});

const FULL = `
server: { control_socket: ./run.sock, memory_warn_mb: 0 }
health: { path: "/health.php?deep=1", timeout_ms: 500 }
reload: { drain_timeout_ms: 7 }
watch: { paths: [.], include: ["**/*.php"], ignore: [], debounce_ms: 1, poll_ms: 2 }
admin: { enabled: true, host: "[::1]", port: 9999 }
pools:
  - name: shop
    isolation: thread
    worker_count: { min: 1, max: 3 }
    idle_timeout_ms: 100
    memory_limit_mb: 100
    memory_kill_mb: 101
    slow_ms: 1000
    retry: true
    hosts: ["*.Example.COM", "[::1]"]
    methods: [get, Post]
    nice: 5
    cpu_affinity: [${cpu}, ${cpu}]
    emergency_restart: { threshold: 0, interval_ms: 1 }
  - name: rest
    timeout_ms: 0
    slow_ms: 70000
    cpu_affinity: "${cpu}"
`;

test("every key is settled: units, case and paths", () => {
  using folder = yamlFolder(FULL);
  const config = folder.load();
  expect(config.pools[0]).toMatchObject({
    workers: { min: 1, max: 3 },
    idleTimeoutMs: 100,
    memoryKillBytes: 101 * MIB,
    slowMs: 1000,
    retry: true,
    hosts: ["*.example.com", "[::1]"],
    methods: ["GET", "POST"],
    nice: 5,
    cpuAffinity: [cpu],
    emergencyRestart: { threshold: 0, intervalMs: 1 },
  });
  expect(config.pools[1]).toMatchObject({ slowMs: 70_000, cpuAffinity: [cpu] });
  expect(config.server).toMatchObject({
    controlSocket: join(folder.path, "run.sock"),
    memoryWarnBytes: Infinity,
  });
  expect(config.health).toEqual({ path: "/health.php?deep=1", timeoutMs: 500 });
  expect(config.reload).toEqual({ drainTimeoutMs: 7 });
  expect(config.watch).toEqual({
    paths: [folder.path],
    include: ["**/*.php"],
    ignore: [],
    debounceMs: 1,
    pollMs: 2,
  });
  expect(config.admin).toEqual({ listener: { kind: "tcp", host: "::1", port: 9999 } });
});

test("each pool has the isolation of php, or its own", () => {
  using folder = yamlFolder(`
php: { isolation: thread, thread_stack_size: 64MiB }
pools:
  - { name: own, isolation: process, patterns: [/a] }
  - { name: auto, isolation: auto, patterns: [/b] }
  - { name: none, isolation: null, patterns: [/c] }
  - { name: rest }
`);
  const { php, pools } = folder.load();
  expect(php).toMatchObject({ isolation: "thread", threadStackBytes: 64 * MIB });
  expect(pools.map(({ isolation }) => isolation)).toEqual(["process", "auto", "thread", "thread"]);
  const flagged = folder.load({ isolation: "process" }, { PHPRUN_POOLS__REST__ISOLATION: "auto" });
  expect(flagged.pools.map(({ isolation }) => isolation)).toEqual(["process", "auto", "process", "auto"]);
});

test.each([FULL, "server: { control_socket: off }", asRoot ? "pools: [{ name: a, user: nobody }]" : ""])(
  "what config print writes of it is read back the same",
  (yaml) => {
    using folder = yamlFolder(yaml);
    const first = folder.load();
    const copy = folder.write("copy.yaml", printConfig(first));
    expect({ ...folder.load({ config: copy }), source: null }).toEqual({ ...first, source: null });
  },
);

test("the environment sets the new keys as it does the old ones", () => {
  using folder = new Folder();
  const config = folder.load(
    {},
    {
      PHPRUN_POOLS__0__MEMORY_KILL_MB: "300",
      PHPRUN_POOLS__0__RETRY: "yes",
      PHPRUN_POOLS__DEFAULT__NICE: "3",
      PHPRUN_POOLS__0__CPU_AFFINITY: String(cpu),
      PHPRUN_POOLS__0__EMERGENCY_RESTART__THRESHOLD: "2",
      PHPRUN_POOLS__0__PATTERNS: "/{a,b}/*, /*",
      PHPRUN_SERVER__CONTROL_SOCKET: "off",
      PHPRUN_HEALTH__PATH: "/up",
      PHPRUN_WATCH__PATHS: "., /tmp",
      PHPRUN_WATCH__INCLUDE: "**/*.{php,twig},*.x",
      PHPRUN_ADMIN__ENABLED: "on",
    },
  );
  expect(config.pools[0]).toMatchObject({
    memoryKillBytes: 300 * MIB,
    retry: true,
    nice: 3,
    cpuAffinity: [cpu],
    emergencyRestart: { threshold: 2, intervalMs: 60_000 },
    patterns: ["/{a,b}/*", "/*"],
  });
  expect(config.server.controlSocket).toBeNull();
  expect(config.health.path).toBe("/up");
  expect(config.watch).toMatchObject({
    paths: [folder.path, "/tmp"],
    include: ["**/*.{php,twig}", "*.x"],
  });
  expect(config.admin.listener).toEqual({ kind: "tcp", host: "127.0.0.1", port: 9180 });
});

// ---- what is refused ----------------------------------------------------------------------------

const pool = (keys: string) => `pools: [{ name: a, ${keys} }]`;
const two = (first: string, second = "name: b") => `pools: [{ name: a, ${first} }, { ${second} }]`;

test.each([
  [pool("idle_timeout_ms: 99"), "'pools[0].idle_timeout_ms': must be a whole number, 100 to", "received 99"],
  [pool("memory_kill_mb: -1"), "'pools[0].memory_kill_mb': must be a whole number", "received -1"],
  [pool("memory_kill_mb: 256"), "must be above memory_limit_mb (256)", "received 256"],
  [pool("memory_limit_mb: 600, memory_kill_mb: 512"), "above memory_limit_mb (600)", "received 512"],
  [pool("slow_ms: -5"), "'pools[0].slow_ms': must be a whole number", "received -5"],
  [pool("slow_ms: 60000"), "must be below timeout_ms (60000)", "received 60000"],
  [pool("retry: once"), "'pools[0].retry': must be true or false", 'received "once"'],
  [pool("nice: 20"), "'pools[0].nice': must be a whole number, -20 to 19", "received 20"],
  [pool("nice: 1.5"), "must be a whole number, -20 to 19", "received 1.5"],
  [pool("group: daemon"), "'pools[0].group': must come with a user", 'received "daemon"'],
  [pool("cpu_affinity: '0-'"), "rising ranges", 'received "0-"'],
  [pool("cpu_affinity: '3-1'"), "rising ranges", 'received "3-1"'],
  [pool("cpu_affinity: []"), "at least one processor", "received []"],
  [pool("cpu_affinity: [-1]"), "processors such as", "received [-1]"],
  [pool("cpu_affinity: 8191"), "must be processors that phprun may run on (", "received 8191"],
  [pool("cpu_affinity: 0-999999999"), "must be numbers up to 8191", 'received "0-999999999"'],
  [pool("emergency_restart: {threshold: -1}"), "emergency_restart.threshold'", "received -1"],
  [pool("emergency_restart: {interval_ms: 0}"), "emergency_restart.interval_ms'", "received 0"],
  [pool("emergency_restart: {count: 1}"), "unknown key", "valid here: threshold, interval_ms"],
  ["health: {path: up.php}", "'health.path': must be a URL path that starts with \"/\"", 'received "up.php"'],
  ["health: {path: '/a b'}", "'health.path'", 'received "/a b"'],
  ["health: {timeout_ms: 0}", "'health.timeout_ms'", "received 0"],
  ["reload: {drain_timeout_ms: 0}", "'reload.drain_timeout_ms'", "received 0"],
  ["watch: {paths: []}", "'watch.paths': must name a folder or file", "received []"],
  ["watch: {paths: [./none]}", "'watch.paths[0]'", "/none does not exist"],
  ["watch: {include: []}", "'watch.include': must hold at least one glob", "received []"],
  ["watch: {include: ['/a/*']}", "'watch.include[0]': must be a glob relative", 'received "/a/*"'],
  ["watch: {ignore: ['!a']}", "'watch.ignore[0]'", 'received "!a"'],
  ["watch: {ignore: ['a', '[b']}", "'watch.ignore[1]'", 'received "[b"'],
  ["watch: {poll_ms: -1}", "'watch.poll_ms'", "received -1"],
  ["admin: {port: 65536}", "'admin.port'", "received 65536"],
  ["admin: {host: '127.0.0.1:80'}", "'admin.host': must be an address without its port", "127.0.0.1:80"],
  ["{server: {port: 9180}, admin: {enabled: true}}", "another port than that of the listener", "9180"],
  ["server: {control_socket: ./none/x.sock}", "'server.control_socket': the folder", "/none does not exist"],
  [`server: {control_socket: /${"x".repeat(107)}}`, "at most 107 bytes", "received"],
  ["server: {listen: ['unix:a'], control_socket: a}", "another socket than that of a listener", "received"],
  ["server: {memory_warn_mb: -1}", "'server.memory_warn_mb'", "received -1"],
])("%j is refused with the rule and what was received", (yaml, rule, value) => {
  using folder = yamlFolder(yaml);
  const errors = folder.errors();
  expect(errors).toHaveLength(1);
  expect(errors[0]).toStartWith("phprun.yaml:1:");
  expect(errors[0]).toContain(rule);
  expect(errors[0]).toContain(value);
});

test.each([
  [two("patterns: ['/[']"), 'pools[0].patterns[0]\': must be a glob such as "/api/*", received "/["'],
  [two("patterns: [/ok, '/a(b|c)']"), "pools[0].patterns[1]"],
  [two("patterns: ['/a|b']"), "write {a,b} for alternatives"],
  [two("patterns: ['/user/:id']"), "write /*"],
  [two("patterns: ['/user/{id}']"), "braces hold alternatives"],
  [two("patterns: ['/a}']"), "a brace has no partner"],
  [two("patterns: ['/[!a]']"), "write [^…]"],
  [two("patterns: ['/[z-a]']"), "it can match nothing"],
  [two("patterns: ['/a\\']"), "ends in a backslash"],
  [two("patterns: ['^/a']"), "starts with / or *"],
  [two("hosts: ['a:80']"), "pools[0].hosts[0]': must be a host name or a glob such as"],
  [two("hosts: [a, '::1']"), "write [::1]"],
  [two("hosts: ['http://a']"), "no scheme and no path"],
  [two("hosts: ['caf\u00e9.fr']"), "xn--"],
  [two("hosts: ['a b']"), "printable ASCII"],
  [two("hosts: ['(a|b).x']"), "write {a,b} for alternatives"],
  [two("hosts: ['a,b']"), "an item of its own"],
  [two("hosts: ['web{1..3}']"), "[1-3]"],
  [two("hosts: ['a[']"), "is not closed"],
  [two("methods: ['G T']"), "pools[0].methods[0]': must be a request method such as GET"],
  [two("methods: ['*']"), 'received "*"'],
  ["static: { cache_control: [{ pattern: '/[', value: x }] }", "static.cache_control[0].pattern"],
])("the pattern in %j is refused at start with the reason", (yaml, message) => {
  using folder = yamlFolder(yaml);
  const errors = folder.errors();
  expect(errors.join("\n")).toContain(message);
  expect(errors).toHaveLength(1);
});

test.each([
  [two("patterns: ['/*']"), "'pools[1]': it is never reached, because pools[0] before it takes all"],
  [two("hosts: ['*']"), "never reached"],
  [two("patterns: [/x, /y]", "name: b, patterns: [/y]}, {name: c"), "never reached"],
  [two("patterns: [/x], hosts: [A, b]", "name: b, patterns: [/x], hosts: [a]}, {name: c"), "never reached"],
  [two("methods: [get, post]", "name: b, methods: [GET], patterns: [/x]}, {name: c"), "never reached"],
  [
    two("patterns: [/x]", "name: b, patterns: [/y]}, {name: c, patterns: [/y, /x]}, {name: d"),
    "'pools[2]': it is never reached, because pools[0] and pools[1] before it take all",
  ],
  [two("patterns: [/x]", "name: b, patterns: [/y]"), 'must have the pattern "/*" and no hosts or methods'],
  [pool("hosts: [a]"), "'pools[0].hosts': must be left out of the last pool"],
  [two("patterns: [/x]", "name: b, methods: [GET]"), "'pools[1].methods': must be left out of the last"],
])("%j has a pool too many or none for some requests", (yaml, message) => {
  using folder = yamlFolder(yaml);
  const errors = folder.errors();
  expect(errors.join("\n")).toContain(message);
  expect(errors).toHaveLength(1);
});

test.each([
  two("hosts: [a]"),
  two("methods: [GET]", "name: b, methods: [POST]}, {name: c"),
  two("patterns: [/x], hosts: [a]", "name: b, patterns: [/x]}, {name: c"),
  two("patterns: [/x]", "name: b, patterns: [/x, /y]}, {name: c"),
  two("patterns: [/x], methods: [GET]", "name: b, patterns: [/x], hosts: [a]}, {name: c"),
])("every pool of %j can be reached", (yaml) => {
  using folder = yamlFolder(yaml);
  expect(folder.errors()).toEqual([]);
});

test("what is wrong with pools, health, watch and admin comes all at once", () => {
  using folder = yamlFolder(
    [
      "health: { path: x }",
      "reload: { drain_timeout_ms: -1 }",
      "admin: { enabled: true, port: 8080 }",
      "pools:",
      "  - { name: a, patterns: ['/('], hosts: ['b:1'], slow_ms: 70000 }",
      "  - { name: a, memory_kill_mb: 1, cpu_affinity: 8191, user: 'no such user' }",
    ].join("\n"),
  );
  const keys = folder.errors().map((line) => /'([^']+)'/.exec(line)?.[1] ?? line);
  expect(keys.sort()).toEqual([
    "admin.port",
    "health.path",
    "pools[0].hosts[0]",
    "pools[0].patterns[0]",
    "pools[0].slow_ms",
    "pools[1].cpu_affinity",
    "pools[1].memory_kill_mb",
    "pools[1].name",
    "pools[1].user",
    "reload.drain_timeout_ms",
  ]);
});

// ---- accounts -----------------------------------------------------------------------------------

const id = (...args: string[]) => Number(Bun.spawnSync(["id", ...args]).stdout.toString());

test("a user and a group are found by name and by id, as the system knows them", () => {
  const [uid, gid] = [id("-u", "nobody"), id("-g", "nobody")];
  const nobody = { name: "nobody", uid, gid };
  expect(findRunAs("nobody", null)).toEqual(nobody);
  expect(findRunAs(uid, null)).toEqual(nobody);
  expect(findRunAs(String(uid), null)).toEqual(nobody);
  expect(findRunAs("nobody", "root")).toEqual({ ...nobody, gid: 0 });
  expect(findRunAs("nobody", 54_321)).toEqual({ ...nobody, gid: 54_321 });
  expect(findRunAs(54_321, 54_322)).toEqual({ name: "54321", uid: 54_321, gid: 54_322 });
  expect(findRunAs(null, null)).toBeNull();
});

test("without getent they are found in /etc", () => {
  const path = process.env["PATH"];
  process.env["PATH"] = "/nonexistent";
  try {
    expect(findRunAs("root", "root")).toEqual({ name: "root", uid: 0, gid: 0 });
    expect(findRunAs("no-such-user", null)).toMatchObject({ key: "user" });
  } finally {
    process.env["PATH"] = path;
  }
});

test.each([
  ["no-such-user", null, "user", "must be a user of this system"],
  ["--help", null, "user", "must be a user of this system"],
  ["root\n", null, "user", "must be a user of this system"],
  ["root:x", null, "user", "must be a user of this system"],
  ["99999999999", null, "user", "must be a user of this system"],
  [54_321, null, "user", "must come with a group"],
  ["root", "no-such-group", "group", "must be a group of this system"],
  [null, "root", "group", "must come with a user"],
] as const)("the account %j with the group %j is no account", (user, group, key, rule) => {
  const fault = findRunAs(user, group) as AccountFault;
  expect(fault.key).toBe(key);
  expect(fault.rule).toContain(rule);
  expect(fault.rule).toContain(`received ${JSON.stringify(key === "user" ? user : group)}`);
});

test.skipIf(!asRoot)("root may give a pool another user and push it ahead", () => {
  using folder = yamlFolder("pools: [{ name: a, user: nobody, group: 0, nice: -5 }]");
  expect(folder.load().pools[0]).toMatchObject({
    runAs: { name: "nobody", uid: id("-u", "nobody"), gid: 0 },
    nice: -5,
  });
});

test.skipIf(asRoot)("only root may give a pool another user or push it ahead", () => {
  using folder = yamlFolder("pools: [{ name: a, user: nobody, nice: -5 }]");
  const errors = folder.errors();
  expect(errors).toHaveLength(2);
  expect(errors.join("\n")).toMatch(/pools\[0\]\.user.*as root, received "nobody"/);
  expect(errors.join("\n")).toMatch(/pools\[0\]\.nice.*as root, received -5/);
});

// ---- processors ---------------------------------------------------------------------------------

test("a list of processors that was written is read back the same", () => {
  const cpus = fc.uniqueArray(fc.nat(300), { minLength: 1 });
  fc.assert(
    fc.property(cpus, (list) => {
      const sorted = [...list].sort((a, b) => a - b);
      expect(parseCpuList(list)).toEqual(sorted);
      expect(parseCpuList(formatCpuList(sorted))).toEqual(sorted);
    }),
  );
  expect(formatCpuList([0, 1, 2, 3, 5, 7, 8])).toBe("0-3,5,7-8");
  expect(parseCpuList(" 1 , 0-1")).toEqual([0, 1]);
});

// ---- watching -----------------------------------------------------------------------------------

test("the folder above the docroot is watched only where it is an application", () => {
  using folder = new Folder({
    "laravel/composer.json": "{}",
    "plain/.env": "",
    "own/config/phprun.yaml": "",
    "src/composer.json": "{}",
  });
  const at = (...parts: string[]) => join(folder.path, ...parts);
  for (const name of ["laravel/public", "plain/web", "own/public", "var/www", "src/lib"])
    mkdirSync(at(name), { recursive: true });
  expect(defaultWatchPaths(at("laravel/public"), null)).toEqual([at("laravel")]);
  expect(defaultWatchPaths(at("plain/web"), "/etc/phprun.yaml")).toEqual([at("plain"), "/etc/phprun.yaml"]);
  const source = at("own/config/phprun.yaml");
  expect(defaultWatchPaths(at("own/public"), source)).toEqual([at("own"), source]);
  expect(defaultWatchPaths(at("var/www"), null)).toEqual([at("var/www")]);
  expect(defaultWatchPaths(at("src/lib"), null)).toEqual([at("src/lib")]);
});

test("an application's code and settings are watched, and what it writes while it runs is not", () => {
  const includes = picomatch([...WATCH_INCLUDE], { dot: true });
  const ignores = picomatch([...WATCH_IGNORE], { dot: true });
  const watched = (path: string) => includes(path) && !ignores(path);
  for (const path of [
    "index.php",
    "app/Http/Kernel.php",
    "app/Cache/Store.php",
    ".env",
    ".env.local",
    "config/services.yaml",
    "resources/views/home.blade.php",
    "templates/base.html.twig",
    "wp-content/themes/x/functions.php",
    "wp-includes/cache.php",
    "composer.lock",
  ])
    expect([path, watched(path)]).toEqual([path, true]);
  for (const path of [
    "vendor/composer/autoload_real.php",
    "node_modules/x/package.json",
    ".git/index.php",
    "storage/framework/views/0a1b.php",
    "bootstrap/cache/packages.php",
    "var/cache/dev/App_KernelDevContainer.php",
    "wp-content/uploads/x.php",
    "wp-content/cache/page.php",
    "public/style.css",
    ".idea/workspace.xml",
    "src/.#Kernel.php",
  ])
    expect([path, watched(path)]).toEqual([path, false]);
});
