import { expect, test } from "bun:test";
import fc from "fast-check";
import { encodingWeight } from "../../src/static/accept-encoding.ts";
import { ByteCache } from "../../src/static/byte-cache.ts";
import { isCompressible } from "../../src/static/compressible.ts";
import { evaluateConditions, rangeStillApplies } from "../../src/static/conditions.ts";
import { parseHttpDate } from "../../src/static/http-date.ts";
import { mimeType } from "../../src/static/mime-type.ts";
import { PreferredCodings } from "../../src/static/preferred-codings.ts";
import { parseRange } from "../../src/static/ranges.ts";

test("types come from the extension in any letter case, text with its charset", () => {
  const expected: Record<string, string> = {
    "/a.html": "text/html; charset=utf-8",
    "/a.HTM": "text/html; charset=utf-8",
    "/a.css": "text/css; charset=utf-8",
    "/a.js": "text/javascript; charset=utf-8",
    "/a.mjs": "text/javascript; charset=utf-8",
    "/a.txt": "text/plain; charset=utf-8",
    "/a.md": "text/markdown; charset=utf-8",
    "/a.csv": "text/csv; charset=utf-8",
    "/a.xml": "text/xml; charset=utf-8",
    "/a.ics": "text/calendar; charset=utf-8",
    "/a.json": "application/json",
    "/a.map": "application/json",
    "/a.webmanifest": "application/manifest+json",
    "/a.wasm": "application/wasm",
    "/a.pdf": "application/pdf",
    "/a.zip": "application/zip",
    "/a.gz": "application/gzip",
    "/a.svg": "image/svg+xml",
    "/a.PNG": "image/png",
    "/a.jpg": "image/jpeg",
    "/a.jpeg": "image/jpeg",
    "/a.gif": "image/gif",
    "/a.webp": "image/webp",
    "/a.avif": "image/avif",
    "/a.ico": "image/x-icon",
    "/a.woff": "font/woff",
    "/a.woff2": "font/woff2",
    "/a.ttf": "font/ttf",
    "/a.otf": "font/otf",
    "/a.mp3": "audio/mpeg",
    "/a.ogg": "audio/ogg",
    "/a.flac": "audio/flac",
    "/a.mp4": "video/mp4",
    "/a.webm": "video/webm",
    "/a.mkv": "video/x-matroska",
    "/a.m3u8": "application/vnd.apple.mpegurl",
    "/a.7z": "application/x-7z-compressed",
    "/a": "application/octet-stream",
    "/a.nosuch": "application/octet-stream",
    "/a.constructor": "application/octet-stream",
    "/a.b/c": "application/octet-stream",
  };
  for (const [name, type] of Object.entries(expected))
    expect({ name, type: mimeType(name) }).toEqual({ name, type });
});

test("all three forms of an HTTP date mean the same, and other forms nothing", () => {
  const ms = Date.UTC(1994, 10, 6, 8, 49, 37);
  expect(parseHttpDate("Sun, 06 Nov 1994 08:49:37 GMT")).toBe(ms);
  expect(parseHttpDate("Sunday, 06-Nov-94 08:49:37 GMT")).toBe(ms);
  expect(parseHttpDate("Sun Nov  6 08:49:37 1994")).toBe(ms);
  for (const text of ["", "0", "2024-01-01", "tomorrow", "Sun, 06 Nov 1994 08:49:37 +0100"]) {
    expect(parseHttpDate(text)).toBeNaN();
  }
});

test("ranges are read as RFC 9110 says", () => {
  expect(parseRange("bytes=0-4", 10)).toEqual([{ first: 0, last: 4 }]);
  expect(parseRange("Bytes = 5-", 10)).toEqual([{ first: 5, last: 9 }]);
  expect(parseRange("bytes=-3", 10)).toEqual([{ first: 7, last: 9 }]);
  expect(parseRange("bytes=-30", 10)).toEqual([{ first: 0, last: 9 }]);
  expect(parseRange("bytes=8-99", 10)).toEqual([{ first: 8, last: 9 }]);
  expect(parseRange("bytes=0-0, 9-9", 10)).toHaveLength(2);
  expect(parseRange("bytes=10-", 10)).toEqual([]);
  expect(parseRange("bytes=-0", 10)).toEqual([]);
  expect(parseRange("bytes=0-", 0)).toEqual([]);
  for (const header of [
    "",
    "bytes",
    "lines=0-1",
    "bytes=",
    "bytes=-",
    "bytes=a-b",
    "bytes=4-2",
    "bytes=0-1,x",
    "bytes=+1-2",
  ]) {
    expect({ header, ranges: parseRange(header, 10) }).toEqual({ header, ranges: null });
  }
});

test("too many or overlapping ranges are ignored", () => {
  expect(parseRange(`bytes=${Array(17).fill("0-0").join(",")}`, 1000)).toBeNull();
  expect(parseRange("bytes=0-,0-,0-", 1000)).toBeNull();
  expect(parseRange("bytes=0-599,400-999", 1000)).toBeNull();
});

test("no Range header yields a part outside the file, or more bytes than it has", () => {
  const number = fc.oneof(fc.nat(20), fc.constant(""), fc.bigInt({ min: 0n, max: 10n ** 20n }));
  const header = fc
    .array(fc.tuple(number, number).map(([a, b]) => `${a}-${b}`))
    .map((list) => `bytes=${list.join(",")}`);
  fc.assert(
    fc.property(fc.oneof(header, fc.string()), fc.nat(20), (text, size) => {
      let total = 0;
      for (const { first, last } of parseRange(text, size) ?? []) {
        expect(first).toBeGreaterThanOrEqual(0);
        expect(last).toBeGreaterThanOrEqual(first);
        expect(last).toBeLessThan(size);
        total += last - first + 1;
      }
      expect(total).toBeLessThanOrEqual(size);
    }),
  );
});

const lastModifiedMs = Date.UTC(2024, 0, 2, 3, 4, 5);
const file = { etag: '"abc"', lastModifiedMs, lastModified: new Date(lastModifiedMs).toUTCString() };
const weakFile = { ...file, etag: 'W/"abc"' };
const earlier = new Date(lastModifiedMs - 1000).toUTCString();
const later = new Date(lastModifiedMs + 1000).toUTCString();
const judge = (headers: Record<string, string>, of = file) => evaluateConditions(new Headers(headers), of);

test("If-None-Match compares weakly, takes lists and *, and beats If-Modified-Since", () => {
  for (const tags of ['"abc"', 'W/"abc"', '"x", "abc"', '"x",W/"abc" , "y"', "*", '"a,b", "abc"']) {
    expect(judge({ "If-None-Match": tags })).toBe("not-modified");
    expect(judge({ "If-None-Match": tags }, weakFile)).toBe("not-modified");
  }
  for (const tags of ['"abcd"', "abc", '"x"', "", 'x"abc'])
    expect(judge({ "If-None-Match": tags })).toBe("send");
  expect(judge({ "If-None-Match": '"x"', "If-Modified-Since": later })).toBe("send");
});

test("If-Modified-Since compares whole seconds and ignores what is no date", () => {
  expect(judge({ "If-Modified-Since": file.lastModified })).toBe("not-modified");
  expect(judge({ "If-Modified-Since": later })).toBe("not-modified");
  expect(judge({ "If-Modified-Since": earlier })).toBe("send");
  expect(judge({ "If-Modified-Since": "never" })).toBe("send");
});

test("If-Match compares strongly, and If-Unmodified-Since stands in for it", () => {
  expect(judge({ "If-Match": '"abc"' })).toBe("send");
  expect(judge({ "If-Match": "*" })).toBe("send");
  expect(judge({ "If-Match": '"x"' })).toBe("failed");
  expect(judge({ "If-Match": 'W/"abc"' }, weakFile)).toBe("failed");
  expect(judge({ "If-Unmodified-Since": earlier })).toBe("failed");
  expect(judge({ "If-Unmodified-Since": later })).toBe("send");
  expect(judge({ "If-Unmodified-Since": "never" })).toBe("send");
  expect(judge({ "If-Match": '"abc"', "If-Unmodified-Since": earlier })).toBe("send");
});

test("If-Range needs the exact strong tag or the exact date", () => {
  const now = lastModifiedMs + 5000;
  expect(rangeStillApplies(null, file, now)).toBe(true);
  expect(rangeStillApplies('"abc"', file, now)).toBe(true);
  expect(rangeStillApplies('W/"abc"', weakFile, now)).toBe(false);
  expect(rangeStillApplies('"x"', file, now)).toBe(false);
  expect(rangeStillApplies(file.lastModified, file, now)).toBe(true);
  expect(rangeStillApplies(file.lastModified, file, lastModifiedMs + 500)).toBe(false);
  expect(rangeStillApplies(later, file, now)).toBe(false);
});

test("Accept-Encoding weights are respected", () => {
  expect(encodingWeight("gzip, br;q=0.5", "br")).toBe(0.5);
  expect(encodingWeight("gzip, br;q=0.5", "gzip")).toBe(1);
  expect(encodingWeight("gzip", "br")).toBe(0);
  expect(encodingWeight("*;q=0.3, br;q=0", "br")).toBe(0);
  expect(encodingWeight("*;q=0.3, br;q=0", "gzip")).toBe(0.3);
  expect(encodingWeight("GZIP ; Q=0.8", "gzip")).toBe(0.8);
  expect(encodingWeight("gzip;q=2", "gzip")).toBe(0);
});

test("codings are ranked by the client's weights, then by our order, remembered or not", () => {
  const preferred = new PreferredCodings(["br", "zstd", "gzip"]);
  for (let round = 0; round < 2; round++) {
    expect(preferred.of("gzip, deflate, br, zstd")).toEqual(["br", "zstd", "gzip"]);
    expect(preferred.of("br;q=0.5, gzip;q=0.9")).toEqual(["gzip", "br"]);
    expect(preferred.of("*;q=0.1, br;q=0")).toEqual(["zstd", "gzip"]);
    expect(preferred.of("identity")).toEqual([]);
    expect(preferred.of("")).toEqual([]);
    expect(preferred.of(`${"x,".repeat(200)}gzip`)).toEqual(["gzip"]);
    for (let i = 0; i < 200; i++) expect(preferred.of(`gzip;q=0.${i + 100}, br;q=0.05`)[0]).toBe("gzip");
  }
});

test("text, and what is text in all but name, is worth compressing", () => {
  const yes = "html css js mjs json map xml svg txt csv md webmanifest wasm ttf otf eot ico bmp geojson rss";
  const no = "png jpg jpeg gif webp avif woff woff2 mp3 mp4 webm zip gz br zst 7z pdf docx xlsx bin tar iso";
  for (const name of yes.split(" "))
    expect({ name, is: isCompressible(mimeType(`/a.${name}`)) }).toEqual({ name, is: true });
  for (const name of no.split(" "))
    expect({ name, is: isCompressible(mimeType(`/a.${name}`)) }).toEqual({ name, is: false });
});

test("the cache stays within its bytes and keeps what is asked for", () => {
  const cache = new ByteCache<number>(100);
  for (let i = 0; i < 50; i++) {
    cache.set(`k${i}`, i, 20);
    cache.get("k0");
    expect(cache.bytes).toBeLessThanOrEqual(100);
  }
  expect(cache.get("k0")).toBe(0);
  expect(cache.get("k49")).toBe(49);
  expect(cache.get("k10")).toBeUndefined();
  cache.set("big", 1, 101);
  expect(cache.get("big")).toBeUndefined();
  cache.delete("k0");
  expect(cache.get("k0")).toBeUndefined();
});

test("the cache knows when it has become too small, and can be looked at without a use", () => {
  const cache = new ByteCache<number>(60);
  for (let i = 0; i < 3; i++) cache.set(`k${i}`, i, 20);
  expect(cache.crowded).toBe(false);
  expect(cache.peek("k0")).toBe(0);
  cache.set("k3", 3, 20);
  expect(cache.crowded).toBe(true);
  expect(cache.peek("k0")).toBeUndefined();
});
