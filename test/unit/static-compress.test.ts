import { describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { renameSync, statSync, unlinkSync, utimesSync } from "node:fs";
import { join } from "node:path";
import { brotliDecompressSync, gunzipSync } from "node:zlib";
import type { StaticConfig } from "../../src/config/config.ts";
import { Router } from "../../src/route/router.ts";
import { type CompressJob, Compressor, type CompressorOptions } from "../../src/static/compressor.ts";
import { StaticFiles } from "../../src/static/static-files.ts";
import { eventually } from "../harness.ts";
import { phpConfig, TempDir } from "./route-fixtures.ts";

const defaults: StaticConfig = {
  enabled: true,
  cacheBytes: 1 << 20,
  cacheMaxFileBytes: 64 << 10,
  cacheControl: [],
  precompressed: [".br", ".zst", ".gz"],
  compress: true,
  etag: "strong",
};
const longAgo = new Date("2024-01-02T03:04:05.250Z");
const byName = new URL("../fixtures/compress/by-name.ts", import.meta.url);
const browser = "gzip, deflate, br, zstd";

/** Some 4 KB that differ from name to name. */
function textOf(name: string): string {
  return Array.from({ length: 200 }, (_, i) => `${name} line ${i} = ${(i * 7919) % 997};`).join("\n");
}

class CountingCompressor extends Compressor {
  readonly paths: string[] = [];

  override add(job: CompressJob): boolean {
    this.paths.push(String(job.task.path));
    return super.add(job);
  }
}

class Site implements AsyncDisposable {
  readonly dir = new TempDir();
  readonly compressor: CountingCompressor;
  readonly complaints: string[] = [];
  readonly #files: StaticFiles;
  readonly #router: Router;

  constructor(config: Partial<StaticConfig> = {}, options: CompressorOptions = {}) {
    this.compressor = new CountingCompressor({ module: byName, idleMs: 50, ...options });
    this.#files = new StaticFiles(
      { ...defaults, ...config },
      { compressor: this.compressor, complain: (why) => this.complaints.push(why) },
    );
    this.#router = new Router(phpConfig(this.dir.path, { frontController: null }));
  }

  /** Writes a file that was last changed long ago. */
  write(name: string, content: string | Uint8Array = textOf(name), changed = longAgo): string {
    const path = this.dir.write(name, content);
    utimesSync(path, changed, changed);
    return path;
  }

  get(path: string, accept: string | null = browser, more: Record<string, string> = {}, method = "GET") {
    const route = this.#router.resolve(path);
    if (route.kind !== "file") throw new Error(`Cannot test ${path}: must be a file, received ${route.kind}`);
    const headers = new Headers({ ...(accept === null ? {} : { "Accept-Encoding": accept }), ...more });
    return this.#files.respond(route, method, headers);
  }

  /** Files changed a moment ago are not kept in memory, and so not compressed. */
  async kept(...paths: string[]): Promise<void> {
    await eventually("the files have rested", () =>
      paths.every((path) => Date.now() - statSync(join(this.dir.path, path)).ctimeMs > 120)
        ? true
        : undefined,
    );
  }

  /** Asks until the answer has the coding. */
  async made(path: string, coding: string, accept = browser): Promise<Response> {
    return await eventually(`${path} comes with ${coding}`, () => {
      const response = this.get(path, accept);
      return response.headers.get("content-encoding") === coding ? response : undefined;
    });
  }

  /** True when all that was asked for so far has been tried: jobs are done one after the other. */
  async idle(): Promise<void> {
    const name = `last-${this.compressor.paths.length}.txt`;
    this.write(name);
    await this.kept(name);
    await this.made(`/${name}`, "br");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dir[Symbol.asyncDispose]();
  }
}

const encoded = (response: Response) => response.headers.get("content-encoding");
const bodyOf = async (response: Response) => Buffer.from(await response.arrayBuffer());

test("the first to ask gets the file as it is, who comes later a compressed form", async () => {
  await using site = new Site({ cacheControl: [{ pattern: "*.js", value: "max-age=60" }] });
  site.write("a.js");
  await site.kept("a.js");
  const first = site.get("/a.js");
  expect(encoded(first)).toBeNull();
  expect(first.headers.get("vary")).toBe("Accept-Encoding");
  expect(await first.text()).toBe(textOf("a.js"));
  for (const [coding, accept, decode] of [
    ["br", browser, brotliDecompressSync],
    ["gzip", "gzip, deflate", gunzipSync],
  ] as const) {
    const later = await site.made("/a.js", coding, accept);
    const { etag, ...headers } = later.headers.toJSON();
    const body = await bodyOf(later);
    expect(decode(body).toString()).toBe(textOf("a.js"));
    expect(body.length).toBeLessThan(textOf("a.js").length * 0.9);
    expect(etag).toEndWith(`-${coding}"`);
    expect(headers).toEqual({
      "content-type": "text/javascript; charset=utf-8",
      "content-length": String(body.length),
      "content-encoding": coding,
      "last-modified": "Tue, 02 Jan 2024 03:04:05 GMT",
      "accept-ranges": "bytes",
      "cache-control": "max-age=60",
      vary: "Accept-Encoding",
    });
    const head = site.get("/a.js", accept, {}, "HEAD");
    expect(head.headers.toJSON()).toEqual(later.headers.toJSON());
    const unchanged = site.get("/a.js", accept, { "If-None-Match": etag ?? "" });
    expect(unchanged.status).toBe(304);
    expect(unchanged.headers.get("vary")).toBe("Accept-Encoding");
  }
  expect(encoded(site.get("/a.js", "br;q=0.5, gzip"))).toBe("gzip");
  for (const accept of [null, "identity", "br;q=0, gzip;q=0"]) {
    expect(await site.get("/a.js", accept).text()).toBe(textOf("a.js"));
  }
  expect(site.compressor.paths.length).toBe(2);
  expect(site.complaints).toEqual([]);
});

test("a range is of the file itself, and a tag of a compressed form does not match it", async () => {
  await using site = new Site();
  site.write("a.css");
  await site.kept("a.css");
  const tag = (await site.made("/a.css", "br")).headers.get("etag") ?? "";
  const part = site.get("/a.css", browser, { Range: "bytes=0-4" });
  expect(part.status).toBe(206);
  expect(encoded(part)).toBeNull();
  expect(part.headers.get("vary")).toBe("Accept-Encoding");
  expect(await part.text()).toBe("a.css");
  const whole = site.get("/a.css", browser, { Range: "bytes=0-4", "If-Range": tag });
  expect(whole.status).toBe(200);
  expect(encoded(whole)).toBeNull();
  expect(await whole.text()).toBe(textOf("a.css"));
});

test("a large file is sent from disk, and its compressed form from memory", async () => {
  await using site = new Site();
  const text = textOf("large").repeat(100);
  site.write("large.json", text);
  await site.kept("large.json");
  const body = await bodyOf(await site.made("/large.json", "br"));
  expect(brotliDecompressSync(body).toString()).toBe(text);
});

describe("nothing is made of", () => {
  const files = {
    "small.css": "a".repeat(1023),
    "photo.png": "a".repeat(5000),
    "font.woff2": "a".repeat(5000),
    "noise.js": randomBytes(5000),
    "huge.txt": Buffer.alloc(8 * 1024 ** 2 + 1, "a"),
  };
  for (const [name, content] of Object.entries(files)) {
    test(name, async () => {
      await using site = new Site();
      site.write(name, content);
      await site.kept(name);
      site.get(`/${name}`);
      await site.idle();
      const response = site.get(`/${name}`);
      expect(encoded(response)).toBeNull();
      expect(response.headers.has("vary")).toBe(name === "noise.js");
      // Tried at most once.
      const tries = site.compressor.paths.filter((path) => path.endsWith(name)).length;
      expect(tries).toBe(name === "noise.js" ? 1 : 0);
    });
  }

  test("any file, when it is turned off or there is no cache", async () => {
    for (const config of [{ compress: false }, { cacheBytes: 0 }, { cacheMaxFileBytes: 0 }]) {
      await using site = new Site(config);
      site.write("a.js");
      await site.kept("a.js");
      for (let i = 0; i < 3; i++) expect(site.get("/a.js").headers.has("vary")).toBe(false);
      expect(site.compressor.paths).toEqual([]);
    }
  });
});

test("a sibling wins, also one that comes later, and when it goes the file is compressed again", async () => {
  await using site = new Site();
  site.write("a.css");
  site.write("a.css.gz", "sibling");
  site.write("b.css");
  site.write("c.css");
  await site.kept("a.css", "a.css.gz", "b.css", "c.css");
  await site.made("/c.css", "br");
  expect(encoded(site.get("/a.css"))).toBe("gzip");
  await site.made("/b.css", "br");
  expect(site.compressor.paths.map((path) => path.slice(-5))).toEqual(["c.css", "b.css"]);
  const sibling = site.write("b.css.gz", "sibling");
  await site.kept("b.css.gz");
  expect(await (await site.made("/b.css", "gzip")).text()).toBe("sibling");
  unlinkSync(sibling);
  await site.made("/b.css", "br");
  // A look for siblings that finds none changes nothing.
  expect(encoded(site.get("/c.css"))).toBe("br");
});

test("a changed file loses its compressed forms at once", async () => {
  await using site = new Site();
  const path = site.write("a.js");
  await site.kept("a.js");
  await site.made("/a.js", "br");
  renameSync(site.write("new", textOf("new")), path);
  const changed = site.get("/a.js");
  expect(encoded(changed)).toBeNull();
  expect(await changed.text()).toBe(textOf("new"));
  const body = await bodyOf(await site.made("/a.js", "br"));
  expect(brotliDecompressSync(body).toString()).toBe(textOf("new"));
});

test("what was made of a file that has changed meanwhile is thrown away", async () => {
  await using site = new Site();
  const path = site.write("waits.js");
  await site.kept("waits.js");
  site.get("/waits.js");
  renameSync(site.write("new", textOf("new")), path);
  await site.kept("waits.js");
  // Asked for, and kept, in the new version before the old one's job is over; then not asked for at all.
  expect(await site.get("/waits.js", null).text()).toBe(textOf("new"));
  site.dir.write("waits.js.go");
  await site.idle();
  expect(await site.get("/waits.js").text()).toBe(textOf("new"));
  const body = await bodyOf(await site.made("/waits.js", "br"));
  expect(brotliDecompressSync(body).toString()).toBe(textOf("new"));
});

test("compressed forms count in the limit of the cache", async () => {
  const names = ["0.js", "1.js", "2.js"];
  // As they are, all fit; one compressed form does too, three do not.
  const cacheBytes = names.length * (textOf("0.js").length + 2048) + 4000;
  await using site = new Site({ cacheBytes });
  for (const name of names) site.write(name);
  await site.kept(...names);
  for (let round = 0; round < 2; round++) for (const name of names) site.get(`/${name}`);
  await eventually("the jobs are over", () => (site.compressor.busy ? undefined : true));
  expect(site.compressor.paths.length).toBe(3);
  const left = names.filter((name) => encoded(site.get(`/${name}`)) !== null);
  expect(left.length).toBeLessThan(3);
  // It is too small for all now: who is asked for but once is not worth a job.
  site.write("new.js");
  await site.kept("new.js");
  const before = site.compressor.paths.length;
  site.get("/new.js");
  expect(site.compressor.paths.length).toBe(before);
  site.get("/new.js");
  expect(site.compressor.paths.length).toBe(before + 1);
});

test("a form that does not fit the cache is not kept, and the file stays", async () => {
  await using site = new Site({ cacheBytes: 9000 });
  site.write("a.js", randomBytes(4000).toString("base64"));
  await site.kept("a.js");
  site.get("/a.js");
  await eventually("the job is over", () => (site.compressor.busy ? undefined : true));
  for (let i = 0; i < 5; i++) expect(encoded(site.get("/a.js"))).toBeNull();
  expect(site.compressor.paths.length).toBe(1);
});

test("what finds the queue full is made when it is asked for again", async () => {
  await using site = new Site({}, { maxWaiting: 1 });
  const names = ["waits.js", "b.js", "c.js", "d.js"];
  for (const name of names) site.write(name);
  await site.kept(...names);
  for (const name of names) expect(encoded(site.get(`/${name}`))).toBeNull();
  site.dir.write("waits.js.go");
  for (const name of names) await site.made(`/${name}`, "br");
  expect(site.complaints).toEqual([]);
});

describe("a job that goes wrong costs its own form and nothing else:", () => {
  for (const [what, why] of [
    ["exits", /its Worker has ended/],
    ["throws", /it throws/],
    ["never", /not done within 300 ms/],
  ] as const) {
    test(`it ${what}`, async () => {
      await using site = new Site({}, { patienceMs: 300 });
      const names = ["before.js", `${what}.js`, "after.js"];
      for (const name of names) site.write(name);
      await site.kept(...names);
      for (const name of names) site.get(`/${name}`);
      await site.made("/before.js", "br");
      await site.made("/after.js", "br");
      expect(encoded(site.get(`/${what}.js`))).toBeNull();
      expect(site.complaints.length).toBe(1);
      expect(site.complaints[0]).toMatch(why);
      expect(site.complaints[0]).toContain(`/${what}.js`);
      // The other coding is another job.
      expect(site.compressor.paths.length).toBe(3);
    });
  }

  for (const module of ["broken.ts", "nowhere.ts"]) {
    test(`the Worker's module is ${module}`, async () => {
      await using site = new Site({}, { module: new URL(`../fixtures/compress/${module}`, import.meta.url) });
      site.write("a.js");
      site.write("b.js");
      await site.kept("a.js", "b.js");
      site.get("/a.js");
      site.get("/b.js");
      await eventually("both have failed", () => (site.complaints.length === 2 ? true : undefined));
      expect(await site.get("/a.js").text()).toBe(textOf("a.js"));
      expect(site.compressor.paths.length).toBe(2);
    });
  }
});

test("nothing comes of a file that is gone, or a pipe by now, and nobody waits for it", async () => {
  await using site = new Site();
  const names = ["waits.js", "gone.js", "pipe.js"];
  const [, gone = "", pipe = ""] = names.map((name) => site.write(name));
  await site.kept(...names);
  for (const name of names) site.get(`/${name}`);
  unlinkSync(gone);
  unlinkSync(pipe);
  expect(Bun.spawnSync(["mkfifo", pipe]).exitCode).toBe(0);
  site.dir.write("waits.js.go");
  await site.idle();
  expect(site.complaints).toEqual([]);
});
