/**
 * What does a 3 KB file cost over a bare `new Response(bytes, { headers })`?
 * Nanoseconds per answer, warm.
 */
import { mkdtempSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Router } from "../../src/route/router.ts";
import { StaticFiles } from "../../src/static/static-files.ts";

const docroot = mkdtempSync(join(tmpdir(), "phprun-bench-"));
const content = Buffer.alloc(3000, "body{color:red}");
const big = Buffer.alloc(10_000_000, "x");
for (const [name, bytes] of [
  ["site.css", content],
  ["photo.png", content],
  ["zipped.css", content],
  ["zipped.css.br", content.subarray(0, 900)],
  ["big.bin", big],
] as const) {
  writeFileSync(join(docroot, name), bytes);
  utimesSync(join(docroot, name), 1_700_000_000, 1_700_000_000);
}
await Bun.sleep(150); // files changed a moment ago are not kept in memory

const router = new Router({
  docroot,
  libphp: "auto",
  isolation: "auto",
  threadStackBytes: 16 * 1024 ** 2,
  frontController: "index.php",
  scriptExtensions: [".php"],
  indexFiles: ["index.php"],
  symlinks: "inside",
  ini: {},
  env: {},
  clearEnv: false,
  sapiName: "phprun",
  jsonPost: false,
  compat: [],
});
const files = new StaticFiles({
  enabled: true,
  cacheBytes: 64 << 20,
  cacheMaxFileBytes: 256 << 10,
  cacheControl: [{ pattern: "*.css", value: "public, max-age=3600" }],
  precompressed: [".br", ".zst", ".gz"],
  compress: true,
  etag: "strong",
});

function measure(name: string, run: () => unknown): void {
  const rounds = 100_000;
  let best = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 20_000; i++) run();
  for (let attempt = 0; attempt < 3; attempt++) {
    const start = Bun.nanoseconds();
    for (let i = 0; i < rounds; i++) run();
    best = Math.min(best, (Bun.nanoseconds() - start) / rounds);
  }
  console.log(`${name.padEnd(38)} ${best.toFixed(0).padStart(7)} ns`);
}

function file(path: string) {
  const route = router.resolve(path);
  if (route.kind !== "file") throw new Error(`${path} is no file`);
  return route;
}

const none = new Headers();
const browser = new Headers({
  accept: "text/css,*/*;q=0.1",
  "accept-encoding": "gzip, deflate, br, zstd",
  "accept-language": "en",
  host: "localhost",
  "user-agent": "bench",
});
const fresh = files.respond(file("/site.css"), "GET", none);
const conditional = new Headers({ "if-none-match": fresh.headers.get("etag") ?? "" });
const init = { headers: new Headers(fresh.headers) };
const css = file("/site.css");
const zipped = file("/zipped.css");
const photo = file("/photo.png");
const large = file("/big.bin");
const isCompressed = () => files.respond(css, "GET", browser).headers.has("content-encoding");
while (!isCompressed()) await Bun.sleep(5);

measure("bare new Response(bytes, init)", () => new Response(content, init));
measure("respond, 3 KB", () => files.respond(css, "GET", none));
measure("respond, 3 KB, browser headers", () => files.respond(photo, "GET", browser));
measure("respond, 3 KB, compressed by us", () => files.respond(css, "GET", browser));
measure("respond, 3 KB with .br sibling", () => files.respond(zipped, "GET", browser));
measure("respond, 304", () => files.respond(css, "GET", conditional));
measure("respond, HEAD", () => files.respond(css, "HEAD", none));
measure("respond, 10 MB", () => files.respond(large, "GET", none));
measure("resolve + respond, 3 KB", () => files.respond(file("/site.css"), "GET", browser));
rmSync(docroot, { recursive: true });
