import { expect, test } from "bun:test";
import { PhprunError } from "../../src/errors.ts";
import { PoolPatterns } from "../../src/route/pool-patterns.ts";

const pools = (...patterns: string[][]) =>
  new PoolPatterns(patterns.map((p, i) => ({ name: `p${i}`, patterns: p })));

test("the first pool whose patterns match takes the path", () => {
  const chosen = pools(["/heavy-*", "/api/export/*"], ["/{blog,shop}/?.php", "/[ab]/x"], ["/*"]);
  expect(chosen.match("/heavy-report.php")).toBe(0);
  expect(chosen.match("/heavy-a/b/c")).toBe(0);
  expect(chosen.match("/api/export/2026/all.csv")).toBe(0);
  expect(chosen.match("/shop/x.php")).toBe(1);
  expect(chosen.match("/shop/xy.php")).toBe(2);
  expect(chosen.match("/b/x")).toBe(1);
  expect(chosen.match("/c/x")).toBe(2);
  expect(chosen.match("/")).toBe(2);
  expect(chosen.match("/.well-known/x")).toBe(2);
  expect(chosen.isConstant).toBe(false);
});

test("a path that no pattern matches has no pool", () => {
  expect(pools(["/a/*"]).match("/b")).toBe(-1);
  expect(pools().match("/b")).toBe(-1);
  expect(pools().isConstant).toBe(true);
});

test("the whole path must match", () => {
  const chosen = pools(["/a"]);
  expect(chosen.match("/a")).toBe(0);
  expect(chosen.match("/a/")).toBe(-1);
  expect(chosen.match("/ab")).toBe(-1);
  expect(chosen.match("/x/a")).toBe(-1);
});

test("patterns past ASCII match the bytes of a decoded path", () => {
  expect(pools(["/caf\u00e9/*"]).match("/caf\xc3\xa9/x")).toBe(0);
});

test("a catch-all costs no test", () => {
  expect(pools(["/*"]).isConstant).toBe(true);
  expect(pools(["/**"], ["/a"]).match("/a")).toBe(0);
});

test("a pattern that cannot be compiled is a configuration error that names it", () => {
  for (const pattern of ["/[", "/{a", ""]) {
    try {
      pools([pattern]);
      expect.unreachable();
    } catch (error) {
      if (!(error instanceof PhprunError)) throw error;
      expect(error.code).toBe("CONFIG_INVALID");
      expect(error.message).toContain(`"${pattern}"`);
      expect(error.message).toContain("pools.p0.patterns");
    }
  }
});
