import { expect, test } from "bun:test";
import fc from "fast-check";
import { decodePath } from "../../src/route/path.ts";

const status = (raw: string): number | string => {
  const path = decodePath(raw);
  return typeof path === "string" ? path : path.status;
};

test("a plain path comes back as it is", () => {
  for (const path of ["/", "/a", "/a/b.php", "/a/", "/a.b/~c/(d)"]) expect(status(path)).toBe(path);
});

test("escapes become bytes, and UTF-8 stays bytes", () => {
  expect(status("/%61%2Fb")).toBe("/a/b");
  expect(status("/caf%C3%A9")).toBe("/caf\xc3\xa9");
  expect(status("/%FF")).toBe("/\xff");
  expect(status("/é")).toBe("/\xc3\xa9");
  expect(status("/100%25")).toBe("/100%");
});

test("slashes are collapsed and dot segments resolved, however they are written", () => {
  expect(status("//a///b//")).toBe("/a/b/");
  expect(status("/a/./b/../c")).toBe("/a/c");
  expect(status("/a/%2e%2e/b")).toBe("/b");
  expect(status("/a/b%2f..")).toBe("/a/");
  expect(status("/a/...")).toBe("/a/...");
});

test("what is malformed is refused with 400", () => {
  for (const raw of [
    "",
    "a",
    "*",
    "/%",
    "/%4",
    "/%zz",
    "/%4g",
    "/%00",
    "/a\0b",
    "/..",
    "/a/..%2f..",
    "/%2e%2e/x",
  ]) {
    expect({ raw, status: status(raw) }).toEqual({ raw, status: 400 });
  }
});

test("a path past 8 KiB is refused with 414", () => {
  expect(status(`/${"a".repeat(8191)}`)).toBe(`/${"a".repeat(8191)}`);
  expect(status(`/${"a".repeat(8192)}`)).toBe(414);
});

test("whatever decodes has no empty, '.' or '..' segment and no NUL", () => {
  const piece = fc.constantFrom(
    "/",
    ".",
    "..",
    "%2e",
    "%2F",
    "%00",
    "%",
    "a",
    ".php",
    "\\",
    "%5c",
    "é",
    "%c3",
  );
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.array(piece).map((pieces) => `/${pieces.join("")}`),
      ),
      (raw) => {
        const path = decodePath(raw);
        if (typeof path !== "string") return;
        expect(path).toMatch(/^\/[^\0]*$/s);
        const segments = path.slice(1).replace(/\/$/, "").split("/");
        if (path !== "/") for (const segment of segments) expect(["", ".", ".."]).not.toContain(segment);
        expect(/[^\x00-\xff]/.test(path)).toBe(false);
      },
    ),
    { numRuns: 2000 },
  );
});
