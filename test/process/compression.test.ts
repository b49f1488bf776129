/** Static files that the front compresses itself, in the background. */
import { describe, expect } from "bun:test";
import { randomBytes } from "node:crypto";
import { readdirSync, readFileSync, renameSync, statSync } from "node:fs";
import { join } from "node:path";
import { brotliDecompressSync, gunzipSync } from "node:zlib";
import {
  curl,
  eventually,
  type HttpResponse,
  type Server,
  start,
  type Target,
  targets,
  test,
} from "../harness.ts";
import { allGone, memoryKb } from "./support.ts";

/** Words of a small language, as much as is wanted; alike in every run. */
function words(bytes: number): string {
  const lines: string[] = [];
  for (let i = 0, length = 0; length < bytes; i++) {
    const line = `function f${i}(a, b) { return a.get("${(i * 7919) % 1009}") + b[${(i * 31) % 97}]; }\n`;
    lines.push(line);
    length += line.length;
  }
  return lines.join("").slice(0, bytes);
}

const SCRIPT = words(200_000);
const FILES = { "app.js": SCRIPT, "index.php": "<?php echo 'ok';" };

async function serve(
  target: Target,
  files: Record<string, string | Uint8Array> = FILES,
  config = {},
): Promise<Server> {
  const server = await start({ target, files, config });
  // What was changed a moment ago is not kept in memory.
  const paths = Object.keys(files).map((name) => join(server.docroot, name));
  await rested(...paths);
  return server;
}

async function rested(...paths: string[]): Promise<void> {
  await eventually("the files have rested", () =>
    paths.every((path) => Date.now() - statSync(path).ctimeMs > 120) ? true : undefined,
  );
}

async function ask(server: Server, path: string, accept: string, ...more: string[]): Promise<HttpResponse> {
  return await curl("-H", `Accept-Encoding: ${accept}`, ...more, server.url + path);
}

async function made(server: Server, path: string, accept: string): Promise<HttpResponse> {
  return await eventually(`${path} is compressed for ${accept}`, async () => {
    const response = await ask(server, path, accept);
    return response.header("content-encoding") === undefined ? undefined : response;
  });
}

/** The compressing thread is the one in the front that gives way to the others. Its processor time, in ticks. */
function compressing(pid: number): number | undefined {
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    const fields = statFields(`/proc/${pid}/task/${thread}/stat`);
    if (Number(fields[16]) >= 10) return Number(fields[11]);
  }
  return undefined;
}

/** What follows the name in a stat file; the name may hold anything. */
function statFields(path: string): string[] {
  try {
    const text = readFileSync(path, "utf8");
    return text.slice(text.lastIndexOf(")") + 2).split(" ");
  } catch {
    return []; // The thread has just ended.
  }
}

for (const target of targets) {
  describe(`compression, ${target}`, () => {
    test("a hot file is sent compressed from the second time on, and is the same for everybody", async () => {
      await using server = await serve(target);
      for (const [coding, decode] of [
        ["br", brotliDecompressSync],
        ["gzip", gunzipSync],
      ] as const) {
        const first = await ask(server, "/app.js", coding);
        expect(first.header("content-encoding")).toBeUndefined();
        expect(first.header("vary")).toBe("Accept-Encoding");
        expect(first.text).toBe(SCRIPT);
        const later = await made(server, "/app.js", coding);
        expect(later.header("content-encoding")).toBe(coding);
        expect(later.header("vary")).toBe("Accept-Encoding");
        expect(later.header("content-length")).toBe(String(later.body.length));
        expect(later.header("content-type")).toBe("text/javascript; charset=utf-8");
        expect(later.body.length).toBeLessThan(SCRIPT.length / 4);
        expect(decode(later.body).toString()).toBe(SCRIPT);

        const tag = later.header("etag") ?? "";
        expect(tag).not.toBe(first.header("etag"));
        const unchanged = await ask(server, "/app.js", coding, "-H", `If-None-Match: ${tag}`);
        expect(unchanged.status).toBe(304);
        expect(unchanged.header("vary")).toBe("Accept-Encoding");
        const head = await ask(server, "/app.js", coding, "--head");
        expect(head.header("content-length")).toBe(String(later.body.length));
        expect(head.header("content-encoding")).toBe(coding);
        expect(head.header("etag")).toBe(tag);
        const part = await ask(server, "/app.js", coding, "-H", "Range: bytes=0-8");
        expect(part.status).toBe(206);
        expect(part.header("content-encoding")).toBeUndefined();
        expect(part.text).toBe("function ");
      }
      // What curl itself makes of it.
      for (const options of [["--compressed"], ["--compressed", "-H", "Accept-Encoding: gzip"], []]) {
        expect((await curl(...options, `${server.url}/app.js`)).text).toBe(SCRIPT);
      }
    });

    test("a changed file is sent as it is, and then compressed again", async () => {
      await using server = await serve(target);
      await made(server, "/app.js", "br");
      const changed = `// new\n${SCRIPT}`;
      renameSync(server.write("new.js", changed), join(server.docroot, "app.js"));
      expect((await ask(server, "/app.js", "br")).text).toBe(changed);
      const body = (await made(server, "/app.js", "br")).body;
      expect(brotliDecompressSync(body).toString()).toBe(changed);
    });

    test("siblings win; small files, images and what does not shrink stay as they are", async () => {
      const files = {
        "site.css": words(5000),
        "site.css.gz": Bun.gzipSync(words(5000)),
        "small.css": words(900),
        "photo.png": words(5000),
        "noise.txt": randomBytes(5000),
        "last.js": words(5000),
      };
      await using server = await serve(target, files);
      for (const name of Object.keys(files)) await ask(server, `/${name}`, "br, gzip");
      // Jobs are done one after the other.
      await made(server, "/last.js", "br, gzip");
      for (const name of ["small.css", "photo.png", "noise.txt"] as const) {
        const response = await ask(server, `/${name}`, "br, gzip");
        expect(response.header("content-encoding")).toBeUndefined();
        expect(response.body.equals(Buffer.from(files[name]))).toBe(true);
      }
      const sibling = await ask(server, "/site.css", "br, gzip");
      expect(sibling.header("content-encoding")).toBe("gzip");
      expect(sibling.body.equals(files["site.css.gz"])).toBe(true);
    });

    test("turned off, nothing is compressed and nothing varies", async () => {
      await using server = await serve(target, FILES, { static: { compress: false } });
      for (let i = 0; i < 3; i++) {
        const response = await ask(server, "/app.js", "br, gzip");
        expect(response.header("content-encoding")).toBeUndefined();
        expect(response.header("vary")).toBeUndefined();
      }
      expect(compressing(server.pid)).toBeUndefined();
    });

    test("the thread comes with the first job, and goes with its memory after the last", async () => {
      await using server = await serve(target);
      for (let i = 0; i < 20; i++) await ask(server, "/app.js", "identity");
      expect(compressing(server.pid)).toBeUndefined();
      const beforeKb = memoryKb(server.pid, "Rss");
      await made(server, "/app.js", "br");
      await made(server, "/app.js", "gzip");
      expect(compressing(server.pid)).toBeNumber();
      await eventually("the thread is gone", () =>
        compressing(server.pid) === undefined ? true : undefined,
      );
      expect(memoryKb(server.pid, "Rss") - beforeKb).toBeLessThan(32 * 1024);
      // And comes back.
      renameSync(server.write("new.js", `//\n${SCRIPT}`), join(server.docroot, "app.js"));
      await made(server, "/app.js", "br");
      expect(compressing(server.pid)).toBeNumber();
    });

    test("a stop does not wait for a job, and leaves nothing behind", async () => {
      // Brotli needs a second and more for each of these, at the lowest priority.
      const long = () => randomBytes(3 * 2 ** 18).toString("base64");
      await using server = await serve(target, { "a.txt": long(), "b.txt": long(), "c.txt": long() });
      for (const name of ["a", "b", "c"]) await ask(server, `/${name}.txt`, "br");
      await eventually("the job runs", () => ((compressing(server.pid) ?? 0) > 10 ? true : undefined));
      const startedMs = performance.now();
      expect(await server.stop()).toBe(0);
      expect(performance.now() - startedMs).toBeLessThan(2000);
      await allGone([server.pid]);
      expect(server.processes()).toEqual([]);
    });
  });
}
