import { expect, test } from "bun:test";
import { readdirSync, renameSync, truncateSync, unlinkSync, utimesSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { brotliCompressSync, gzipSync } from "node:zlib";
import type { StaticConfig } from "../../src/config/config.ts";
import { Router } from "../../src/route/router.ts";
import { StaticFiles } from "../../src/static/static-files.ts";
import { phpConfig, TempDir } from "./route-fixtures.ts";

const defaults: StaticConfig = {
  enabled: true,
  cacheBytes: 1 << 20,
  cacheMaxFileBytes: 64 << 10,
  cacheControl: [{ pattern: "/assets/*", value: "public, max-age=31536000, immutable" }],
  precompressed: [".br", ".zst", ".gz"],
  compress: false,
  etag: "strong",
};
const longAgo = new Date("2024-01-02T03:04:05.250Z");

/** A docroot served for real, so that what Bun adds and leaves out is seen too. */
class Site implements AsyncDisposable {
  readonly dir = new TempDir();
  readonly files: StaticFiles;
  readonly router: Router;
  readonly #server: ReturnType<typeof Bun.serve>;
  readonly errors: string[] = [];

  constructor(config: Partial<StaticConfig> = {}) {
    this.files = new StaticFiles({ ...defaults, ...config });
    this.router = new Router(phpConfig(this.dir.path, { frontController: null }));
    this.#server = Bun.serve({
      port: 0,
      fetch: (request) => {
        const path = request.url.replace(/^https?:\/\/[^/]*/, "");
        const route = this.router.resolve(path);
        if (route.kind !== "file") return new Response(null, { status: 404 });
        return this.files.respond(route, request.method, request.headers);
      },
      error: (error) => {
        this.errors.push(error.message);
        return new Response(null, { status: 500 });
      },
    });
  }

  get port(): number {
    return this.#server.port ?? 0;
  }

  /** Writes a file that was last changed long ago. */
  write(name: string, content: string | Uint8Array): string {
    const path = this.dir.write(name, content);
    utimesSync(path, longAgo, longAgo);
    return path;
  }

  fetch(path: string, headers: Record<string, string> = {}, method = "GET"): Promise<Response> {
    return fetch(`http://127.0.0.1:${this.port}${path}`, {
      method,
      headers: { "Accept-Encoding": "identity", ...headers },
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.stop(true);
    await this.dir[Symbol.asyncDispose]();
  }
}

const letters = "abcdefghijklmnopqrstuvwxyz";
const big = letters.repeat(10_000);
/** The same content from memory and from disk must be served alike. */
const sizes: readonly (readonly [string, string])[] = [
  ["kept in memory", letters],
  ["sent from disk", big],
];

for (const [where, content] of sizes) {
  test(`a file ${where} has its type, length, validators and nothing else`, async () => {
    await using site = new Site();
    site.write("a.css", content);
    const response = await site.fetch("/a.css");
    expect(response.status).toBe(200);
    expect(await response.text()).toBe(content);
    const { date, etag, ...headers } = response.headers.toJSON();
    expect(date).toBeString();
    expect(etag).toMatch(/^"[\w-]+"$/);
    expect(headers).toEqual({
      "content-type": "text/css; charset=utf-8",
      "content-length": String(content.length),
      "last-modified": "Tue, 02 Jan 2024 03:04:05 GMT",
      "accept-ranges": "bytes",
    });
    expect(site.errors).toEqual([]);
  });

  test(`HEAD on a file ${where} answers as GET does, without the body`, async () => {
    await using site = new Site();
    site.write("a.css", content);
    const get = (await site.fetch("/a.css")).headers.toJSON();
    const head = await site.fetch("/a.css", {}, "HEAD");
    expect(head.status).toBe(200);
    expect({ ...head.headers.toJSON(), date: "" }).toEqual({ ...get, date: "" });
    expect(await head.text()).toBe("");
  });

  test(`one range of a file ${where} is a 206`, async () => {
    await using site = new Site();
    site.write("a.css", content);
    const { length } = content;
    for (const [range, first, last] of [
      ["bytes=0-4", 0, 4],
      ["bytes=5-", 5, length - 1],
      ["bytes=-5", length - 5, length - 1],
      [`bytes=0-${length * 2}`, 0, length - 1],
    ] as const) {
      const response = await site.fetch("/a.css", { Range: range });
      expect(response.status).toBe(206);
      expect(response.headers.get("content-range")).toBe(`bytes ${first}-${last}/${length}`);
      expect(response.headers.get("content-length")).toBe(String(last - first + 1));
      expect(response.headers.get("content-type")).toBe("text/css; charset=utf-8");
      expect(await response.text()).toBe(content.slice(first, last + 1));
    }
  });

  test(`several ranges of a file ${where} are a multipart/byteranges`, async () => {
    await using site = new Site();
    site.write("a.bin", content);
    const response = await site.fetch("/a.bin", { Range: "bytes=0-1, 3-5,-2" });
    expect(response.status).toBe(206);
    expect(response.headers.has("content-range")).toBe(false);
    const boundary = /^multipart\/byteranges; boundary=(.+)$/.exec(
      response.headers.get("content-type") ?? "",
    )?.[1];
    const { length } = content;
    const part = (first: number, last: number) =>
      `\r\n--${boundary}\r\nContent-Type: application/octet-stream\r\n` +
      `Content-Range: bytes ${first}-${last}/${length}\r\n\r\n${content.slice(first, last + 1)}`;
    expect(await response.text()).toBe(
      `${part(0, 1)}${part(3, 5)}${part(length - 2, length - 1)}\r\n--${boundary}--\r\n`,
    );
  });

  test(`a range outside a file ${where} is a 416 that tells its length`, async () => {
    await using site = new Site();
    site.write("a.css", content);
    const response = await site.fetch("/a.css", { Range: `bytes=${content.length}-` });
    expect(response.status).toBe(416);
    expect(response.headers.get("content-range")).toBe(`bytes */${content.length}`);
  });

  test(`a range that is ignored or abused gets the whole file ${where}`, async () => {
    await using site = new Site();
    site.write("a.css", content);
    const cases: Record<string, string>[] = [
      { Range: "bytes=0-,0-,0-" },
      { Range: "lines=0-4" },
      { Range: "bytes=0-4", "If-Range": '"other"' },
      { Range: "bytes=0-4", "If-Range": "Tue, 02 Jan 2024 03:04:06 GMT" },
    ];
    for (const headers of cases) {
      const response = await site.fetch("/a.css", headers);
      expect(response.status).toBe(200);
      expect(response.headers.get("content-length")).toBe(String(content.length));
      expect(await response.text()).toBe(content);
    }
  });

  test(`If-Range with the right validator gets its part of a file ${where}`, async () => {
    await using site = new Site();
    site.write("a.css", content);
    const { headers } = await site.fetch("/a.css");
    for (const validator of [headers.get("etag") ?? "", headers.get("last-modified") ?? ""]) {
      const response = await site.fetch("/a.css", { Range: "bytes=1-2", "If-Range": validator });
      expect(response.status).toBe(206);
      expect(await response.text()).toBe("bc");
    }
  });

  test(`conditions on a file ${where} are answered with 304 and 412`, async () => {
    await using site = new Site();
    site.write("assets/a.css", content);
    const fresh = await site.fetch("/assets/a.css");
    const etag = fresh.headers.get("etag") ?? "";
    const notModified = await site.fetch("/assets/a.css", { "If-None-Match": `"x", W/${etag}` });
    expect(notModified.status).toBe(304);
    expect(notModified.headers.get("etag")).toBe(etag);
    expect(notModified.headers.get("cache-control")).toBe("public, max-age=31536000, immutable");
    expect((await site.fetch("/assets/a.css", { "If-Modified-Since": longAgo.toUTCString() })).status).toBe(
      304,
    );
    expect((await site.fetch("/assets/a.css", { "If-Match": '"x"' })).status).toBe(412);
    expect((await site.fetch("/assets/a.css", { "If-None-Match": etag }, "HEAD")).status).toBe(304);
  });

  test(`a change to a file ${where} is served at once, under a new tag`, async () => {
    await using site = new Site();
    site.write("a.txt", content);
    const before = await site.fetch("/a.txt");
    await before.text();
    site.write("a.txt", content.toUpperCase());
    const touched = new Date(longAgo.getTime() + 1000);
    utimesSync(join(site.dir.path, "a.txt"), touched, touched);
    const after = await site.fetch("/a.txt");
    expect(await after.text()).toBe(content.toUpperCase());
    expect(after.headers.get("etag")).not.toBe(before.headers.get("etag"));
  });

  test(`a file ${where} that vanishes between lookup and answer is a 404`, async () => {
    await using site = new Site();
    const path = site.write("a.txt", content);
    const route = site.router.resolve("/a.txt");
    if (route.kind !== "file") throw new Error("not a file");
    unlinkSync(path);
    expect(site.files.respond(route, "GET", new Headers()).status).toBe(404);
  });

  test(`a file ${where} that shrinks between lookup and answer is served as it is now`, async () => {
    await using site = new Site();
    const path = site.write("a.txt", content);
    const route = site.router.resolve("/a.txt");
    if (route.kind !== "file") throw new Error("not a file");
    truncateSync(path, 3);
    const head = site.files.respond(route, "HEAD", new Headers());
    expect(head.headers.get("content-length")).toBe("3");
    const response = site.files.respond(route, "GET", new Headers());
    expect(await response.text()).toBe("abc");
  });
}

test("a rewrite of the same length within one clock tick is not lost", async () => {
  await using site = new Site();
  for (let i = 10; i < 60; i++) {
    writeFileSync(join(site.dir.path, "a.txt"), `round ${i}`);
    expect(await (await site.fetch("/a.txt")).text()).toBe(`round ${i}`);
  }
});

test("a file replaced by one of the same size and time is noticed", async () => {
  await using site = new Site();
  site.write("a.txt", "one");
  expect(await (await site.fetch("/a.txt")).text()).toBe("one");
  site.write("b.txt", "two");
  renameSync(join(site.dir.path, "b.txt"), join(site.dir.path, "a.txt"));
  expect(await (await site.fetch("/a.txt")).text()).toBe("two");
});

test("other methods are refused with Allow, and OPTIONS lists it", async () => {
  await using site = new Site();
  site.write("a.txt", "x");
  for (const method of ["POST", "PUT", "DELETE", "PATCH"]) {
    const response = await site.fetch("/a.txt", {}, method);
    expect(response.status).toBe(405);
    expect(response.headers.get("allow")).toBe("GET, HEAD, OPTIONS");
  }
  const options = await site.fetch("/a.txt", {}, "OPTIONS");
  expect(options.status).toBe(204);
  expect(options.headers.get("allow")).toBe("GET, HEAD, OPTIONS");
});

test("refusals go through the caller's error pages", async () => {
  await using dir = new TempDir();
  dir.write("a.txt");
  const files = new StaticFiles(defaults, {
    refuse: (status, headers) => new Response(`page ${status}`, { status, headers }),
  });
  const route = new Router(phpConfig(dir.path)).resolve("/a.txt");
  if (route.kind !== "file") throw new Error("not a file");
  expect(await files.respond(route, "POST", new Headers()).text()).toBe("page 405");
});

test("entity tags can be weak or off", async () => {
  await using weak = new Site({ etag: "weak" });
  weak.write("a.txt", "abc");
  const tag = (await weak.fetch("/a.txt")).headers.get("etag") ?? "";
  expect(tag).toStartWith('W/"');
  expect((await weak.fetch("/a.txt", { "If-None-Match": tag })).status).toBe(304);
  expect((await weak.fetch("/a.txt", { Range: "bytes=0-0", "If-Range": tag })).status).toBe(200);
  await using off = new Site({ etag: "off" });
  off.write("a.txt", "abc");
  expect((await off.fetch("/a.txt")).headers.has("etag")).toBe(false);
  expect((await off.fetch("/a.txt", { "If-None-Match": '"x"' })).status).toBe(200);
});

test("a large file of any type gets no made-up file name", async () => {
  await using site = new Site();
  for (const name of ["a.bin", "a.zip", "a.pdf", "a.json", "a.png", "a"]) {
    site.write(name, big);
    const response = await site.fetch(`/${name}`);
    expect(response.headers.get("content-disposition") ?? "inline").toBe("inline");
    await response.text();
  }
});

const precompressed = { br: brotliCompressSync(big), gzip: gzipSync(big) };

/** The raw bytes of an answer: fetch would decode them. */
function raw(
  site: Site,
  path: string,
  headers: Record<string, string>,
): Promise<{ head: string; body: Buffer }> {
  const lines = Object.entries({ Host: "x", Connection: "close", ...headers }).map(
    ([k, v]) => `${k}: ${v}\r\n`,
  );
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    const socket = connect(site.port, "127.0.0.1", () => {
      socket.write(`GET ${path} HTTP/1.1\r\n${lines.join("")}\r\n`);
    });
    socket.on("data", (chunk: Buffer) => chunks.push(chunk));
    socket.on("error", reject);
    socket.on("close", () => {
      const all = Buffer.concat(chunks);
      const end = all.indexOf("\r\n\r\n");
      resolve({ head: all.subarray(0, end).toString("latin1").toLowerCase(), body: all.subarray(end + 4) });
    });
  });
}

test("a precompressed sibling is sent to who accepts it, the best first", async () => {
  await using site = new Site();
  site.write("a.css", big);
  site.write("a.css.br", precompressed.br);
  site.write("a.css.gz", precompressed.gzip);
  for (const [accept, coding] of [
    ["gzip, deflate, br, zstd", "br"],
    ["gzip", "gzip"],
    ["br;q=0.5, gzip;q=0.9", "gzip"],
    ["*", "br"],
    ["br;q=0, *;q=0.1", "gzip"],
  ] as const) {
    const { head, body } = await raw(site, "/a.css", { "Accept-Encoding": accept });
    expect(head).toContain(`content-encoding: ${coding}\r\n`);
    expect(head).toContain("content-type: text/css; charset=utf-8\r\n");
    expect(head).toContain("vary: accept-encoding");
    expect(head).toContain(`content-length: ${precompressed[coding].length}`);
    expect(body.equals(precompressed[coding])).toBe(true);
  }
  const { head, body } = await raw(site, "/a.css", { "Accept-Encoding": "identity" });
  expect(head).not.toContain("content-encoding");
  expect(head).toContain("vary: accept-encoding");
  expect(body.toString()).toBe(big);
});

test("each form has its own tag, and a range is always of the file itself", async () => {
  await using site = new Site();
  site.write("a.css", big);
  site.write("a.css.gz", precompressed.gzip);
  const plain = await site.fetch("/a.css");
  const zipped = await site.fetch("/a.css", { "Accept-Encoding": "gzip" });
  expect(await zipped.text()).toBe(big);
  const tag = zipped.headers.get("etag") ?? "";
  expect(tag).not.toBe(plain.headers.get("etag"));
  expect((await site.fetch("/a.css", { "Accept-Encoding": "gzip", "If-None-Match": tag })).status).toBe(304);
  const part = await site.fetch("/a.css", { "Accept-Encoding": "gzip", Range: "bytes=0-4" });
  expect(part.status).toBe(206);
  expect(part.headers.has("content-encoding")).toBe(false);
  expect(await part.text()).toBe("abcde");
});

test("a sibling older than its file, or a link, is not used", async () => {
  await using site = new Site();
  site.write("a.css", big);
  const older = site.write("a.css.br", precompressed.br);
  utimesSync(older, new Date(0), new Date(0));
  const { head } = await raw(site, "/a.css", { "Accept-Encoding": "br" });
  expect(head).not.toContain("content-encoding");
  expect(head).not.toContain("vary");
});

test("without a cache everything is served from disk", async () => {
  await using site = new Site({ cacheBytes: 0 });
  site.write("a.txt", letters);
  for (let i = 0; i < 3; i++) expect(await (await site.fetch("/a.txt")).text()).toBe(letters);
  const empty = site.write("empty.txt", "");
  expect(empty).toBeString();
  const response = await site.fetch("/empty.txt");
  expect(response.status).toBe(200);
  expect(response.headers.get("content-length")).toBe("0");
});

test("serving leaves no file descriptor open", async () => {
  await using site = new Site();
  site.write("a.bin", big);
  await (await site.fetch("/a.bin")).text();
  const before = readdirSync("/proc/self/fd").length;
  for (let i = 0; i < 20; i++) {
    await (await site.fetch("/a.bin")).text();
    await (await site.fetch("/a.bin", { Range: "bytes=1-5,7-9" })).text();
  }
  // Bun closes the last ones a moment after the client has its bytes.
  const open = () => readdirSync("/proc/self/fd").length;
  for (const untilMs = performance.now() + 2000; open() > before + 2 && performance.now() < untilMs;)
    await Bun.sleep(5);
  expect(open()).toBeLessThanOrEqual(before + 2);
  expect(site.errors).toEqual([]);
});

test("a name past ASCII is served from memory and from disk", async () => {
  await using site = new Site();
  site.write("caf\u00e9.txt", letters);
  site.write("gro\u00df.bin", big);
  expect(await (await site.fetch("/caf%C3%A9.txt")).text()).toBe(letters);
  expect(await (await site.fetch("/gro%C3%9F.bin")).text()).toBe(big);
  expect(await (await site.fetch("/gro%C3%9F.bin", { Range: "bytes=-2" })).text()).toBe("yz");
});
