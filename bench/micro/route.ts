/** What does it cost to decide where a request goes? Nanoseconds per `Router.resolve`, warm. */
import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PoolPatterns } from "../../src/route/pool-patterns.ts";
import { Router } from "../../src/route/router.ts";

const docroot = mkdtempSync(join(tmpdir(), "phprun-bench-"));
mkdirSync(join(docroot, "assets"));
for (const name of ["index.php", "about.php", "assets/site.css"]) writeFileSync(join(docroot, name), "x");

const router = new Router({
  docroot,
  libphp: "auto",
  isolation: "auto",
  threadStackBytes: 16 * 1024 ** 2,
  frontController: "index.php",
  scriptExtensions: [".php"],
  indexFiles: ["index.php", "index.html"],
  symlinks: "inside",
  ini: {},
  env: {},
  clearEnv: false,
  sapiName: "phprun",
  jsonPost: false,
  compat: [],
});
const pools = new PoolPatterns([
  { name: "heavy", patterns: ["/heavy-*", "/api/export/*"] },
  { name: "fast", patterns: ["/*"] },
]);

function measure(name: string, run: (i: number) => unknown): void {
  const rounds = 200_000;
  let best = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 20_000; i++) run(i);
  for (let attempt = 0; attempt < 3; attempt++) {
    const start = Bun.nanoseconds();
    for (let i = 0; i < rounds; i++) run(i);
    best = Math.min(best, (Bun.nanoseconds() - start) / rounds);
  }
  console.log(`${name.padEnd(38)} ${best.toFixed(0).padStart(7)} ns`);
}

const css = join(docroot, "assets/site.css");
const missing = join(docroot, "missing");
measure("one stat, file there", () => statSync(css, { throwIfNoEntry: false }));
measure("one stat, nothing there", () => statSync(missing, { throwIfNoEntry: false }));
measure("script /about.php", () => router.resolve("/about.php"));
measure("static file /assets/site.css", () => router.resolve("/assets/site.css"));
measure("folder index /", () => router.resolve("/"));
measure("clean URL /about", () => router.resolve("/about"));
measure("path info /index.php/a/b", () => router.resolve("/index.php/a/b"));
measure("front controller /en/products", () => router.resolve("/en/products"));
measure("front controller, new path each time", (i) => router.resolve(`/product/${i}`));
measure("escaped, new path each time", (i) => router.resolve(`/caf%C3%A9/${i}`));
measure("dot file /.env", () => router.resolve("/.env"));
measure("pool of /en/products (2 globs)", () => pools.match("/en/products"));
rmSync(docroot, { recursive: true });
