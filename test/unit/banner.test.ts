import { expect, test } from "bun:test";
import { stripVTControlCharacters } from "node:util";
import { banner } from "../../src/banner.ts";
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
  using folder = yamlFolder(YAML);
  const config = folder.load();
  const pools = config.pools.map((pool, index) => ({ config: pool, report: reports[index] ?? reports[0] }));
  const text = banner({
    config,
    pools,
    urls: ["http://localhost:80", "unix:/run/phprun.sock"],
    openFiles: 1024,
    asRoot: false,
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
    "  pool     fast: 8 workers (all of 2 to 8: they do not come and go yet) for /*",
    "           timeout 500 ms, killed 250 ms later, queue of 1000 for 10 s, 256 MiB each, 100000 requests each",
    "  limits   1024 open files, bodies up to 1.5 MiB, stop within 1.5 s, spool in /tmp",
    "  ready    http://localhost:80",
    "  ready    unix:/run/phprun.sock",
  ]);
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
