import { expect, test } from "bun:test";
import { unlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ErrorPages } from "../../src/http/error-page.ts";
import { prefersJson } from "../../src/http/prefers-json.ts";
import { TempDir } from "./route-fixtures.ts";

const listed = [400, 403, 404, 405, 413, 414, 431, 500, 502, 503, 504];
const browser = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";

test("every status has its page, in HTML by default and in JSON on request", async () => {
  const pages = new ErrorPages();
  for (const status of [...listed, 418, 599]) {
    const html = pages.respond(status, { accept: browser });
    expect(html.status).toBe(status);
    expect(html.headers.get("content-type")).toBe("text/html; charset=utf-8");
    expect(html.headers.get("cache-control")).toBe("no-store");
    expect(html.headers.get("vary")).toBe("Accept");
    expect(await html.text()).toMatch(new RegExp(`^<!doctype html>.*<title>${status} .+</html>\\n$`, "s"));

    const json = pages.respond(status, { accept: "application/json", requestId: "r-1" });
    expect(json.headers.get("content-type")).toBe("application/json");
    expect(await json.json()).toEqual({
      error: { status, title: expect.any(String), detail: expect.any(String), request_id: "r-1" },
    });
  }
});

test("the page loads nothing from elsewhere and knows dark mode", async () => {
  const html = await new ErrorPages().respond(404, { accept: null }).text();
  expect(html).not.toMatch(/https?:|src=|href=|url\(|<script/);
  expect(html).toContain("prefers-color-scheme:dark");
  expect(html.length).toBeLessThan(2500);
});

test("the request id is shown escaped", async () => {
  const pages = new ErrorPages();
  const html = await pages.respond(500, { accept: null, requestId: `<img src=x onerror="a('&')">` }).text();
  expect(html).toContain("&lt;img src=x onerror=&quot;a(&#39;&amp;&#39;)&quot;&gt;");
  expect(html).not.toContain("<img");
  expect(await pages.respond(500, { accept: null }).text()).not.toContain("Request <code>");
});

test("extra headers are added", () => {
  const response = new ErrorPages().respond(503, { accept: null }, { "Retry-After": "5", Vary: "Cookie" });
  expect(response.headers.get("retry-after")).toBe("5");
  expect(response.headers.get("vary")).toBe("Cookie, Accept");
});

test("JSON is for those who prefer it", () => {
  const wants: Record<string, boolean> = {
    "": false,
    "*/*": false,
    [browser]: false,
    "application/json": true,
    "application/json, */*": true,
    "application/problem+json": true,
    "application/json;q=0.5, text/html": false,
    "application/json, text/html;q=0.9": true,
    "text/html, application/json": false,
    "application/json, text/html": true,
    "application/json;q=0": false,
    "application/json;q=0, */*": false,
    "text/*;q=0.5, application/json;q=0.4": false,
    "APPLICATION/JSON ; Q=1.0": true,
    "application/json;q=bogus": false,
    "text/json-not": false,
  };
  for (const [accept, json] of Object.entries(wants)) {
    expect({ accept, json: prefersJson(accept) }).toEqual({ accept, json });
  }
  expect(prefersJson(null)).toBe(false);
});

test("a configured page replaces the built-in one, follows its changes, and may go missing", async () => {
  await using dir = new TempDir();
  const file = dir.write("404.html", "<h1>ours</h1>");
  const unreadable: number[] = [];
  const pages = new ErrorPages({ 404: file, 500: join(dir.path, "none.html"), 502: dir.path }, (status) => {
    unreadable.push(status);
  });
  const html = (status: number) => pages.respond(status, { accept: browser }).text();
  expect(await html(404)).toBe("<h1>ours</h1>");
  writeFileSync(file, "<h1>ours, longer</h1>");
  expect(await html(404)).toBe("<h1>ours, longer</h1>");
  expect(await html(403)).toContain("403");
  expect(await html(500)).toContain("<title>500");
  expect(await html(502)).toContain("<title>502");
  unlinkSync(file);
  expect(await html(404)).toContain("<title>404");
  expect(unreadable).toEqual([500, 502, 404]);
  const json = pages.respond(404, { accept: "application/json" });
  expect(json.headers.get("content-type")).toBe("application/json");
});

test("HEAD gets the headers alone", async () => {
  const pages = new ErrorPages();
  const server = Bun.serve({ port: 0, fetch: () => pages.respond(404, { accept: null }) });
  const response = await fetch(server.url, { method: "HEAD" });
  expect(response.status).toBe(404);
  expect(Number(response.headers.get("content-length"))).toBeGreaterThan(500);
  expect(await response.text()).toBe("");
  await server.stop(true);
});
