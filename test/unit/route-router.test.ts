import { expect, test } from "bun:test";
import {
  appendFileSync,
  chmodSync,
  mkdirSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { PhprunError } from "../../src/errors.ts";
import { Router } from "../../src/route/router.ts";
import type { Route } from "../../src/route/route.ts";
import { phpConfig, TempDir } from "./route-fixtures.ts";

/** The route in a few words. */
function brief(route: Route): string {
  switch (route.kind) {
    case "script":
      return `script ${route.scriptName}${route.pathInfo === "" ? "" : ` + ${route.pathInfo}`}`;
    case "file":
      return `file ${route.urlPath}`;
    case "redirect":
      return `${route.status} ${route.location}`;
    case "error":
      return String(route.status);
    default:
      return route satisfies never;
  }
}

function site(...names: string[]): TempDir {
  const dir = new TempDir();
  for (const name of names) dir.write(name);
  return dir;
}

test("existing files go to PHP by extension, the rest is static", async () => {
  await using dir = site("a.php", "css/site.css", "caf\u00e9.txt");
  const router = new Router(phpConfig(dir.path));
  expect(brief(router.resolve("/a.php"))).toBe("script /a.php");
  expect(brief(router.resolve("/css/site.css"))).toBe("file /css/site.css");
  expect(brief(router.resolve("//css//site.css"))).toBe("file /css/site.css");
  expect(brief(router.resolve("/caf%C3%A9.txt"))).toBe("file /caf\xc3\xa9.txt");
});

test("SCRIPT_FILENAME is the docroot as configured plus the name, also below a linked docroot", async () => {
  await using dir = site("real/index.php");
  symlinkSync("real", join(dir.path, "current"));
  const router = new Router(phpConfig(join(dir.path, "current")));
  expect(router.resolve("/")).toMatchObject({
    kind: "script",
    scriptFilename: join(dir.path, "current/index.php"),
    scriptName: "/index.php",
    pathInfo: "",
  });
});

test("a switched docroot link is followed, also for paths already known", async () => {
  await using dir = site("one/a.txt", "two/a.txt", "two/b.php");
  const current = join(dir.path, "current");
  symlinkSync("one", current);
  const router = new Router(phpConfig(current));
  expect(brief(router.resolve("/a.txt"))).toBe("file /a.txt");
  expect(brief(router.resolve("/b.php"))).toBe("404");
  symlinkSync("two", join(dir.path, "next"));
  renameSync(join(dir.path, "next"), current);
  expect(brief(router.resolve("/a.txt"))).toBe("file /a.txt");
  expect(brief(router.resolve("/b.php"))).toBe("script /b.php");
});

test("a clean URL finds its script, before a folder of that name", async () => {
  await using dir = site("about.php", "admin.php", "admin/index.php", "x.php.php");
  const router = new Router(phpConfig(dir.path));
  expect(brief(router.resolve("/about"))).toBe("script /about.php");
  expect(brief(router.resolve("/admin"))).toBe("script /admin.php");
  expect(brief(router.resolve("/admin/"))).toBe("script /admin/index.php");
  expect(brief(router.resolve("/about/"))).toBe("404");
  expect(brief(router.resolve("/x.php"))).toBe("404");
});

test("a folder without its slash redirects: 301 for GET and HEAD, 308 otherwise", async () => {
  await using dir = site("docs/index.html", "caf\u00e9/index.html");
  const router = new Router(phpConfig(dir.path));
  for (let i = 0; i < 2; i++) {
    expect(brief(router.resolve("/docs"))).toBe("301 /docs/");
    expect(brief(router.resolve("/docs", "HEAD"))).toBe("301 /docs/");
    expect(brief(router.resolve("/docs", "POST"))).toBe("308 /docs/");
  }
  expect(brief(router.resolve("/caf%C3%A9"))).toBe("301 /caf%C3%A9/");
});

test("a redirect never names another host", async () => {
  await using dir = site("evil.com/index.html", "\\evil.com/index.html");
  const router = new Router(phpConfig(dir.path));
  expect(brief(router.resolve("//evil.com"))).toBe("301 /evil.com/");
  expect(brief(router.resolve("/\\evil.com"))).toBe("301 /%5Cevil.com/");
  expect(brief(router.resolve("/%5Cevil.com"))).toBe("301 /%5Cevil.com/");
  expect(brief(router.resolve("/.//evil.com"))).toMatch(/^301 \/[^/\\]/);
});

test("a folder answers with its first index file", async () => {
  await using dir = site("both/index.php", "both/index.html", "html/index.html", "none/x.txt");
  const router = new Router(phpConfig(dir.path));
  expect(brief(router.resolve("/both/"))).toBe("script /both/index.php");
  expect(brief(router.resolve("/html/"))).toBe("file /html/index.html");
  expect(brief(router.resolve("/none/"))).toBe("404");
  dir.write("html/index.php");
  expect(brief(router.resolve("/html/"))).toBe("script /html/index.php");
});

test("the first script along the path takes the rest as PATH_INFO", async () => {
  await using dir = site("index.php", "app/run.php", "lib.php/inner.php", "style.css");
  const router = new Router(phpConfig(dir.path));
  expect(brief(router.resolve("/index.php/en"))).toBe("script /index.php + /en");
  expect(brief(router.resolve("/index.php/"))).toBe("script /index.php + /");
  expect(brief(router.resolve("/app/run.php/a%20b/c.php"))).toBe("script /app/run.php + /a b/c.php");
  expect(brief(router.resolve("/lib.php/inner.php/x"))).toBe("script /lib.php/inner.php + /x");
  expect(brief(router.resolve("/index.php/.env"))).toBe("script /index.php + /.env");
  expect(brief(router.resolve("/style.css/x.php"))).toBe("script /index.php");
});

test("the front controller takes what is not there, with an empty PATH_INFO", async () => {
  await using dir = site("index.php");
  const router = new Router(phpConfig(dir.path));
  expect(brief(router.resolve("/en/products"))).toBe("script /index.php");
  expect(brief(router.resolve("/missing.php"))).toBe("script /index.php");
  expect(brief(router.resolve(`/${"%C3%A9".repeat(200)}`))).toBe("script /index.php");
  const without = new Router(phpConfig(dir.path, { frontController: null }));
  expect(brief(without.resolve("/en/products"))).toBe("404");
  expect(brief(without.resolve(`/${"a".repeat(300)}`))).toBe("404");
  expect(brief(without.resolve(`/${"a/".repeat(3000)}`))).toBe("404");
});

test("a front controller outside the docroot is a configuration error", () => {
  expect(() => new Router(phpConfig("/srv", { frontController: "../index.php" }))).toThrow(PhprunError);
  expect(() => new Router(phpConfig("/srv", { frontController: "" }))).toThrow(PhprunError);
});

test("dot files are refused at any depth whether they exist or not, except below /.well-known/", async () => {
  await using dir = site(
    "index.php",
    ".env",
    "a/.git/config",
    ".well-known/acme/x",
    ".well-known/.secret",
    ".x.php",
  );
  const router = new Router(phpConfig(dir.path));
  for (const path of [
    "/.env",
    "/%2eenv",
    "/a/.git/config",
    "/a/.git/",
    "/.none",
    "/.well-known/.secret",
    "/.x.php/y",
  ]) {
    expect({ path, brief: brief(router.resolve(path)) }).toEqual({ path, brief: "403" });
  }
  expect(brief(router.resolve("/.well-known/acme/x"))).toBe("file /.well-known/acme/x");
  expect(brief(router.resolve("/.well-known"))).toBe("403");
});

test("PHP source is neither served nor run under another letter case, extension or backup name", async () => {
  const names = [
    "A.PHP",
    "b.pHp",
    "c.phtml",
    "d.phar",
    "e.phps",
    "f.inc",
    "g.php~",
    "h.php.bak",
    "i.php.",
    "j.php .",
    "k.PHP.OLD",
  ];
  await using dir = site(...names);
  const router = new Router(phpConfig(dir.path));
  for (const name of names) {
    expect({ name, brief: brief(router.resolve(`/${encodeURIComponent(name)}`)) }).toEqual({
      name,
      brief: "403",
    });
  }
});

test("bytes past ASCII are no letters: a Unicode look-alike of .php is neither run nor refused", async () => {
  await using dir = site("x.\uff50hp", "x.ph\u1d3e", "y.\u017fphp.txt");
  const router = new Router(phpConfig(dir.path));
  expect(brief(router.resolve(`/${encodeURIComponent("x.\uff50hp")}`))).toStartWith("file ");
  expect(brief(router.resolve(`/${encodeURIComponent("x.ph\u1d3e")}`))).toStartWith("file ");
  expect(brief(router.resolve(`/${encodeURIComponent("x.\uff50hp")}/rest`))).toBe("404");
});

test("a link that leaves the docroot is refused, unless its target is allowed", async () => {
  await using dir = site("www/in.txt", "var/up.txt", "var/run.php", "var2/no.txt");
  const docroot = join(dir.path, "www");
  symlinkSync("../var", join(docroot, "up"));
  symlinkSync("../var2/no.txt", join(docroot, "no.txt"));
  symlinkSync("in.txt", join(docroot, "alias.txt"));
  const inside = new Router(phpConfig(docroot));
  expect(brief(inside.resolve("/up/up.txt"))).toBe("403");
  expect(brief(inside.resolve("/up/run.php"))).toBe("403");
  expect(brief(inside.resolve("/up/run.php/info"))).toBe("403");
  expect(brief(inside.resolve("/no.txt"))).toBe("403");
  expect(brief(inside.resolve("/alias.txt"))).toBe("file /alias.txt");
  const all = new Router(phpConfig(docroot, { symlinks: "all" }));
  expect(brief(all.resolve("/up/run.php"))).toBe("script /up/run.php");
  const listed = new Router(phpConfig(docroot, { symlinks: [join(dir.path, "var")] }));
  expect(brief(listed.resolve("/up/up.txt"))).toBe("file /up/up.txt");
  expect(brief(listed.resolve("/no.txt"))).toBe("403");
});

test("a link to PHP source or to a dot file is no way around the rules", async () => {
  await using dir = site("config.php", ".env");
  symlinkSync("config.php", join(dir.path, "config.txt"));
  symlinkSync(".env", join(dir.path, "env.txt"));
  for (const symlinks of ["inside", "all"] as const) {
    const router = new Router(phpConfig(dir.path, { symlinks }));
    expect(brief(router.resolve("/config.txt"))).toBe("403");
    expect(brief(router.resolve("/env.txt"))).toBe("403");
  }
});

test("a file swapped for a link that leaves the docroot is noticed", async () => {
  await using dir = site("www/a.txt", "www/a.php", "secret.txt");
  const docroot = join(dir.path, "www");
  const router = new Router(phpConfig(docroot));
  for (const name of ["a.txt", "a.php"]) {
    expect(brief(router.resolve(`/${name}`))).toEndWith(`/${name}`);
    unlinkSync(join(docroot, name));
    symlinkSync("../secret.txt", join(docroot, name));
    expect(brief(router.resolve(`/${name}`))).toBe("403");
  }
});

test("what appears, changes or goes is noticed at once", async () => {
  await using dir = site("index.php");
  const router = new Router(phpConfig(dir.path));
  expect(brief(router.resolve("/page"))).toBe("script /index.php");
  dir.write("page.php");
  expect(brief(router.resolve("/page"))).toBe("script /page.php");
  dir.write("page");
  expect(brief(router.resolve("/page"))).toBe("file /page");
  unlinkSync(join(dir.path, "page"));
  expect(brief(router.resolve("/page"))).toBe("script /page.php");
  unlinkSync(join(dir.path, "page.php"));
  mkdirSync(join(dir.path, "page"));
  expect(brief(router.resolve("/page"))).toBe("301 /page/");
  rmSync(join(dir.path, "page"), { recursive: true });
  unlinkSync(join(dir.path, "index.php"));
  expect(brief(router.resolve("/page"))).toBe("404");
  dir.write("index.php");
  expect(brief(router.resolve("/page"))).toBe("script /index.php");
});

test("a file that appears below a folder that was missing is noticed", async () => {
  await using dir = site("index.php", "file.txt");
  const router = new Router(phpConfig(dir.path));
  for (const path of ["/a/b/c", "/a/b/c/", "/a/b", "/a", "/file.txt/x", "/file.txt/"]) {
    expect(brief(router.resolve(path))).toBe("script /index.php");
  }
  dir.write("a/b/c.php");
  expect(brief(router.resolve("/a/b/c"))).toBe("script /a/b/c.php");
  expect(brief(router.resolve("/a/b/c/"))).toBe("script /index.php");
  expect(brief(router.resolve("/a/b"))).toBe("301 /a/b/");
  expect(brief(router.resolve("/a"))).toBe("301 /a/");
  unlinkSync(join(dir.path, "file.txt"));
  dir.write("file.txt/x");
  expect(brief(router.resolve("/file.txt/x"))).toBe("file /file.txt/x");
});

test("the same Route object comes back until the file changes, and a script keeps its Script for good", async () => {
  await using dir = site("index.php", "a.css");
  const router = new Router(phpConfig(dir.path));
  const css = router.resolve("/a.css");
  expect(router.resolve("/a.css")).toBe(css);
  appendFileSync(join(dir.path, "a.css"), "more");
  const changed = router.resolve("/a.css");
  expect(changed).not.toBe(css);
  expect(changed).toMatchObject({ kind: "file", stat: { size: 5 } });

  const script = router.resolve("/");
  expect(router.resolve("/one")).toBe(script);
  expect(router.resolve("/two")).toBe(script);
  writeFileSync(join(dir.path, "index.php"), "<?php // new");
  expect(router.resolve("/one")).toBe(script);
  const withInfo = router.resolve("/index.php/x");
  expect(router.resolve("/index.php/x")).toBe(withInfo);
  if (withInfo.kind !== "script" || script.kind !== "script") throw new Error("not scripts");
  expect(withInfo.script).toBe(script.script);
});

test("more paths than the cache holds are still answered rightly", async () => {
  await using dir = site("index.php", "a.css");
  const router = new Router(phpConfig(dir.path), { cacheEntries: 8 });
  for (let i = 0; i < 100; i++) {
    expect(brief(router.resolve(`/p${i}`))).toBe("script /index.php");
    expect(brief(router.resolve("/a.css"))).toBe("file /a.css");
  }
});

test("files are as good as absent when static files are off", async () => {
  await using dir = site("index.php", "a.css", "b.php", "folder/index.html");
  const router = new Router(phpConfig(dir.path), { serveFiles: false });
  expect(brief(router.resolve("/a.css"))).toBe("script /index.php");
  expect(brief(router.resolve("/b.php"))).toBe("script /b.php");
  expect(brief(router.resolve("/folder/"))).toBe("script /index.php");
});

test("a docroot that does not exist answers 404, and is found once it does", async () => {
  await using dir = new TempDir();
  const router = new Router(phpConfig(join(dir.path, "later")));
  expect(brief(router.resolve("/"))).toBe("404");
  expect(brief(router.resolve("/index.php"))).toBe("404");
  dir.write("later/index.php");
  expect(brief(router.resolve("/"))).toBe("script /index.php");
});

test("what is neither file nor folder, and a loop of links, is refused", async () => {
  await using dir = site("index.php");
  symlinkSync("loop", join(dir.path, "loop"));
  symlinkSync("/dev/null", join(dir.path, "null"));
  const router = new Router(phpConfig(dir.path, { symlinks: "all" }));
  expect(brief(router.resolve("/loop"))).toBe("403");
  expect(brief(router.resolve("/null"))).toBe("403");
});

test.skipIf(process.getuid?.() === 0)(
  "what cannot be read is refused with 403, and served once it can",
  async () => {
    await using dir = site("a.php", "a.txt", "shut/a.php");
    const router = new Router(phpConfig(dir.path));
    for (const name of ["a.php", "a.txt"]) {
      expect(brief(router.resolve(`/${name}`))).toEndWith(`/${name}`);
      chmodSync(join(dir.path, name), 0o000);
      expect(brief(router.resolve(`/${name}`))).toBe("403");
      chmodSync(join(dir.path, name), 0o644);
      expect(brief(router.resolve(`/${name}`))).toEndWith(`/${name}`);
    }
    chmodSync(join(dir.path, "shut"), 0o000);
    expect(brief(router.resolve("/shut/a.php"))).toBe("403");
    chmodSync(join(dir.path, "shut"), 0o755);
  },
);

test("a file name in another encoding is found by its bytes", async () => {
  await using dir = new TempDir();
  writeFileSync(
    Buffer.concat([Buffer.from(`${dir.path}/`), Buffer.from([0xe9, 0x2e, 0x70, 0x68, 0x70])]),
    "x",
  );
  const router = new Router(phpConfig(dir.path));
  expect(brief(router.resolve("/%E9.php"))).toBe("script /\xe9.php");
});

test("malformed and overlong paths are refused", async () => {
  await using dir = site("index.php");
  const router = new Router(phpConfig(dir.path));
  expect(brief(router.resolve("/%00"))).toBe("400");
  expect(brief(router.resolve("/%zz"))).toBe("400");
  expect(brief(router.resolve(`/${"a".repeat(9000)}`))).toBe("414");
});

test("no string makes resolve throw, leave the docroot, or serve PHP source or a dot file", async () => {
  await using dir = site(
    "www/index.php",
    "www/a.txt",
    "www/B.PHP",
    "www/sub/c.php",
    "www/sub/d.css",
    "www/.env",
    "out.txt",
  );
  const docroot = join(dir.path, "www");
  symlinkSync("../out.txt", join(docroot, "out.txt"));
  symlinkSync("..", join(docroot, "sub/up"));
  const router = new Router(phpConfig(docroot));
  const piece = fc.constantFrom(
    "/",
    "//",
    ".",
    "..",
    "%2e%2e",
    "%2f",
    "\\",
    "%5c",
    "%00",
    "%",
    "a.txt",
    "out.txt",
    "B.PHP",
    "index.php",
    "sub",
    "up",
    "www",
    "c.php",
    ".env",
    "index",
    "%20",
    " ",
    "~",
    "c",
    "d.css",
    "\u212a",
    "%c4%b0",
    "\ud800",
  );
  const raw = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.array(piece).map((pieces) => `/${pieces.join("")}`),
  );
  fc.assert(
    fc.property(raw, fc.constantFrom("GET", "POST"), (path, method) => {
      const route = router.resolve(path, method);
      expect(router.resolve(path, method)).toEqual(route);
      if (route.kind === "file") {
        expect(realpathSync(route.path)).toStartWith(`${realpathSync(docroot)}/`);
        expect(route.urlPath).not.toMatch(/\.php$|\/\./i);
      } else if (route.kind === "script") {
        expect(realpathSync(route.scriptFilename)).toStartWith(`${realpathSync(docroot)}/`);
        expect(route.scriptName).toEndWith(".php");
      } else if (route.kind === "redirect") {
        expect(route.location).toMatch(/^\/(?![/\\])[\x21-\x7e]*\/$/);
      }
    }),
    { numRuns: 5000 },
  );
});

test("requests of one turn share a look at the file system, the next turn looks again", async () => {
  await using dir = new TempDir();
  dir.write("a.txt");
  let turn = 0;
  const router = new Router(phpConfig(dir.path), { turn: () => turn });
  router.resolve("/a.txt");
  expect(router.resolve("/a.txt").kind).toBe("file");
  rmSync(join(dir.path, "a.txt"));
  expect(router.resolve("/a.txt").kind).toBe("file");
  turn++;
  expect(router.resolve("/a.txt")).toMatchObject({ kind: "error", status: 404 });
});
