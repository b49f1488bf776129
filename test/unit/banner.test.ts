import { expect, test } from "bun:test";
import { stripVTControlCharacters } from "node:util";
import { banner, type BannerParts } from "../../src/banner.ts";
import type { PhpReport } from "../../src/php/report.ts";
import { VERSION } from "../../src/version.ts";
import { yamlFolder } from "./config-helper.ts";

const REPORT: PhpReport = {
  version: "8.2.1",
  sapi: "phprun",
  zts: false,
  debug: false,
  zendApi: 20220829,
  libphp: "/usr/lib/libphp8.2.so",
  opcache: true,
  opcacheReason: "",
  iniFile: "/etc/php/php.ini",
  iniScanned: ["/etc/php/conf.d/10-opcache.ini", "/etc/php/conf.d/20-gd.ini"],
  extensions: ["Core", "gd"],
  startupErrors: [],
};

const YAML = `
server: { client_max_body_size: 1536KiB, stop_timeout_ms: 1500, spool_dir: /tmp }
php: { docroot: . }
pools:
  - { name: heavy, worker_count: 1, patterns: ["/heavy-*", "/export/*"], timeout_ms: 0, max_requests: 0, memory_limit_mb: 2048 }
  - { name: fast, worker_count: { min: 2, max: 8 }, timeout_ms: 500, kill_after_ms: 250 }
`;

function show(...reports: PhpReport[]): string {
  return showConfig(YAML, reports);
}

function showConfig(yaml: string, reports: readonly PhpReport[], rest: Partial<BannerParts> = {}): string {
  using folder = yamlFolder(yaml);
  const config = folder.load();
  const pools = config.pools.map((pool, index) => ({ config: pool, report: reports[index] ?? reports[0] }));
  const text = banner({
    config,
    pools,
    urls: ["http://localhost:80", "unix:/run/phprun.sock"],
    openFiles: 1024,
    asRoot: false,
    ...rest,
  });
  return stripVTControlCharacters(text).replaceAll(folder.path, "/app");
}

test("the start-up block tells what runs and every derived value", () => {
  expect(show(REPORT).split("\n")).toEqual([
    `phprun ${VERSION}`,
    "  PHP      8.2.1 NTS, API 20220829, 2 extensions",
    "  libphp   /usr/lib/libphp8.2.so",
    "  opcache  on",
    "  php.ini  /etc/php/php.ini, 2 files in /etc/php/conf.d",
    "  config   /app/phprun.yaml",
    "  docroot  /app",
    "  pool     heavy: 1 worker for /heavy-* /export/*",
    "           no timeout, queue of 1000 for 10 s, 2 GiB each, no request limit",
    "  pool     fast: 2 to 8 workers for /*",
    "           timeout 500 ms, killed 250 ms later, queue of 1000 for 10 s, 256 MiB each, 100000 requests each",
    "  limits   1024 open files, bodies up to 1.5 MiB, stop within 1.5 s, spool in /tmp",
    "  ready    http://localhost:80",
    "  ready    unix:/run/phprun.sock",
  ]);
});

test("workers in threads are named as such", () => {
  const yaml = "pools: [{ name: a, patterns: [/a], isolation: process }, { name: b, worker_count: 1 }]";
  const text = showConfig(yaml, [{ ...REPORT, zts: true }]);
  expect(text).toMatch(/pool {5}a: \d+ workers for \/a\n/);
  expect(text).toContain("pool     b: 1 worker in threads for /*\n");
});

test("what needs a look is told once, however many pools have it", () => {
  const sick: PhpReport = {
    ...REPORT,
    opcache: false,
    opcacheReason: "opcache.enable is off",
    startupErrors: [
      "PHP Warning:  PHP Startup: Unable to load dynamic library 'x' (tried: a, b) in Unknown on line 0",
    ],
  };
  const warnings = show(sick, sick)
    .split("\n")
    .filter((line) => line.startsWith("  warning"));
  expect(warnings).toEqual([
    "  warning  opcache is off: opcache.enable is off. Every request compiles its scripts.",
    "  warning  Unable to load dynamic library 'x' (see the log, or phprun doctor)",
  ]);
});

test("what a pool has beyond the usual is told in a line of its own", () => {
  const yaml = `
server: { control_socket: off }
php: { docroot: . }
health: { path: /up }
reload: { drain_timeout_ms: 5000 }
pools:
  - { name: api, worker_count: { min: 1, max: 2 }, idle_timeout_ms: 500, memory_kill_mb: 300, slow_ms: 2000, retry: true,
      nice: 5, cpu_affinity: 0, emergency_restart: { threshold: 3, interval_ms: 1000 },
      hosts: ["*.example.com"], methods: [get, HEAD], patterns: ["/api/*"] }
  - { name: rest, worker_count: 1, emergency_restart: { threshold: 0 } }
`;
  const lines = showConfig(yaml, [REPORT], { adminUrl: "http://127.0.0.1:9180" }).split("\n");
  expect(lines.filter((line) => /^ {2}(pool {4}|limits|admin| {8})/.test(line))).toEqual([
    "  pool     api: 1 to 2 workers for GET HEAD /api/* on *.example.com",
    "           timeout 60 s, killed 5 s later, queue of 1000 for 10 s, 256 MiB each, 100000 requests each",
    "           idle after 500 ms, killed above 300 MiB, slow after 2 s, retried once, nice 5, on CPU 0, all new after 3 crashes in 1 s",
    "  pool     rest: 1 worker for /*",
    "           timeout 60 s, killed 5 s later, queue of 1000 for 10 s, 256 MiB each, 100000 requests each",
    "           no emergency restart",
    expect.stringContaining("reload within 5 s, health at /up, no control socket, spool in "),
    "  admin    http://127.0.0.1:9180",
  ]);
});

test.skipIf(process.geteuid?.() !== 0)(
  "PHP that runs as root is warned of, unless every pool has a user",
  () => {
    const one = (pool: string) =>
      showConfig(`pools: [{ name: a, patterns: [/a], user: nobody }, { name: b${pool} }]`, [REPORT], {
        asRoot: true,
      });
    expect(one("")).toMatch(/^ {2}warning {2}PHP runs as root\./m);
    expect(one(", user: root")).toMatch(/^ {2}warning {2}PHP runs as root\./m);
    expect(one(", user: nobody")).not.toContain("warning");
    expect(one(", user: nobody")).toMatch(/^ {11}as nobody \(\d+:\d+\)$/m);
  },
);

test("memory that is not there is warned of, and nothing is said when it is", () => {
  const warned = (budget: string | null) => showConfig(YAML, [REPORT], { budget }).split("\n");
  expect(warned("Too much.")).toContain("  warning  Too much.");
  expect(warned(null).join("\n")).not.toContain("warning");
});
