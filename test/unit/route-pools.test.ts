import { expect, test } from "bun:test";
import fc from "fast-check";
import { PhprunError } from "../../src/errors.ts";
import { PoolPatterns, type PoolRule } from "../../src/route/pool-patterns.ts";

const pools = (...patterns: string[][]) =>
  new PoolPatterns(patterns.map((p, i) => ({ name: `p${i}`, patterns: p })));

const rules = (...given: Partial<PoolRule>[]) =>
  new PoolPatterns(given.map((rule, i) => ({ name: `p${i}`, patterns: ["/*"], ...rule })));

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
  expect(chosen.needsHost).toBe(false);
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

test("characters that another syntax would take are plain once they are escaped", () => {
  const chosen = pools(["/a\\(b\\)", "/\\:id", "/\\{x\\}", "/[()|{}]y", "/a:b", "/$^.+"]);
  for (const path of ["/a(b)", "/:id", "/{x}", "/|y", "/{y", "/a:b", "/$^.+"])
    expect(chosen.match(path)).toBe(0);
  expect(chosen.match("/xid")).toBe(-1);
});

test("a catch-all costs no test", () => {
  expect(pools(["/*"]).isConstant).toBe(true);
  expect(pools(["/x", "/*"]).isConstant).toBe(true);
  expect(pools(["/**"], ["/a"]).match("/a")).toBe(0);
  expect(rules({ hosts: ["*"] }).isConstant).toBe(true);
  expect(rules({ hosts: ["a"] }).isConstant).toBe(false);
  expect(rules({ methods: ["GET"] }).isConstant).toBe(false);
});

test("the host is asked for only where a pool that can be reached names one", () => {
  expect(rules({ hosts: ["a"] }, {}).needsHost).toBe(true);
  expect(rules({ hosts: ["a", "*"] }, {}).needsHost).toBe(false);
  expect(rules({}, { hosts: ["a"] }).needsHost).toBe(false);
});

test.each([
  ["*.example.com", "www.example.com", true],
  ["*.example.com", "a.b.example.com", true],
  ["*.example.com", "example.com", false],
  ["*.example.com", "www.example.com.evil.org", false],
  ["*.example.com", "wwwXexample.com", false],
  ["*.Example.com", "WWW.example.COM", true],
  ["example.com", "example.com:8080", true],
  ["example.com", "example.com:", true],
  ["example.com", "example.com.", true],
  ["example.com.", "example.com.:80", true],
  ["example.com", "xexample.com", false],
  ["example.com", "", false],
  ["*", "", true],
  ["*80", "a:80", false],
  ["a*", "a:x", false],
  ["{api,shop}.example.com", "shop.example.com:1", true],
  ["web[0-9].local", "web7.local", true],
  ["web?.local", "web.local", false],
  ["10.0.0.*", "10.0.0.7:80", true],
  ["[::1]", "[::1]:8080", true],
  ["[::1]", "[::1]", true],
  ["[2001:DB8::1]", "[2001:db8::1]:80", true],
  ["[::1]", "[::11]", false],
  ["[::1]", "1", false],
])("the host glob %s on %s", (glob, host, takes) => {
  expect(rules({ hosts: [glob] }).match("/", host)).toBe(takes ? 0 : -1);
});

test("path, host and method must all match, and what matches nothing goes to the last pool", () => {
  const chosen = rules(
    { patterns: ["/api/*", "/v2/*"], hosts: ["api.example.com", "*.local"], methods: ["POST", "PUT"] },
    { hosts: ["*.example.com"] },
    {},
  );
  expect(chosen.match("/v2/x", "API.example.com:443", "PUT")).toBe(0);
  expect(chosen.match("/api/x", "dev.local", "POST")).toBe(0);
  expect(chosen.match("/api/x", "api.example.com", "GET")).toBe(1);
  expect(chosen.match("/other", "api.example.com", "POST")).toBe(1);
  expect(chosen.match("/api/x", "elsewhere.org", "POST")).toBe(2);
  expect(chosen.match("/api/x")).toBe(2);
});

test("a host glob gives the same answer with every port, and never takes its text from the port", () => {
  const glob = fc.stringMatching(/^(\*|[a-z0-9]|\?)(\*|\.|[a-z0-9]|\?){0,8}$/);
  const name = fc.stringMatching(/^[a-z0-9]([a-z0-9.]{0,10}[a-z0-9])?$/);
  fc.assert(
    fc.property(glob, name, fc.nat(65_535), (pattern, host, port) => {
      const chosen = rules({ hosts: [pattern] }, {});
      expect(chosen.match("/", `${host}:${port}`)).toBe(chosen.match("/", host));
      expect(chosen.match("/", `${host}.:${port}`.toUpperCase())).toBe(chosen.match("/", host));
    }),
  );
});

test("the first pool that would take a request alone is the one that takes it", () => {
  const some = <T>(values: readonly T[]) => fc.subarray([...values], { minLength: 1 });
  const rule = fc.record({
    patterns: some(["/*", "/a/*", "/a/b", "/?"]),
    hosts: fc.oneof(fc.constant([]), some(["*", "*.x", "y.x", "[::1]"])),
    methods: fc.oneof(fc.constant([]), some(["GET", "POST"])),
  });
  const request = fc.tuple(
    fc.constantFrom("/", "/a", "/a/b", "/a/c", "/z"),
    fc.constantFrom("", "y.x", "z.x:80", "[::1]:1", "Y.X", "q"),
    fc.constantFrom("GET", "POST", "HEAD"),
  );
  fc.assert(
    fc.property(fc.array(rule, { maxLength: 5 }), fc.array(request, { minLength: 1 }), (given, requests) => {
      const together = rules(...given);
      const answers = requests.map(([path, host, method]) => together.match(path, host, method));
      expect(answers).toEqual(requests.map((r) => given.findIndex((one) => rules(one).match(...r) === 0)));
      if (together.isConstant) expect(new Set(answers).size).toBe(1);
      if (!together.needsHost)
        expect(requests.map(([path, , method]) => together.match(path, "", method))).toEqual(answers);
    }),
  );
});

test("a pattern that cannot be compiled is a configuration error that names it", () => {
  const broken: [Partial<PoolRule>, string, string][] = [
    ...["/[", "/{a", ""].map((glob): [Partial<PoolRule>, string, string] => [
      { patterns: [glob] },
      glob,
      "patterns",
    ]),
    [{ hosts: ["a:80"] }, "a:80", "hosts"],
  ];
  for (const [rule, glob, key] of broken) {
    try {
      rules(rule);
      expect.unreachable();
    } catch (error) {
      if (!(error instanceof PhprunError)) throw error;
      expect(error.code).toBe("CONFIG_INVALID");
      expect(error.message).toContain(`"${glob}"`);
      expect(error.message).toContain(`pools.p0.${key}`);
    }
  }
});

test("a path or a host made for it does not hold a pattern up", () => {
  const patterns = new PoolPatterns([
    { name: "deep", patterns: ["/*/*/*.php"] },
    { name: "shop", patterns: ["/*"], hosts: ["*.shop.*"] },
    { name: "rest", patterns: ["/*"] },
  ]);
  const began = performance.now();
  expect(patterns.match("/a".repeat(3000), ".shop".repeat(12_000))).toBe(2);
  expect(performance.now() - began).toBeLessThan(500);
});

test("a line break in a path is a byte like any other", () => {
  const patterns = new PoolPatterns([
    { name: "admin", patterns: ["/admin/*"] },
    { name: "rest", patterns: ["/*"] },
  ]);
  expect(patterns.match("/admin/\n")).toBe(0);
  expect(patterns.match("/admin/a\nb")).toBe(0);
  expect(patterns.match("/\n/admin/")).toBe(1);
});
