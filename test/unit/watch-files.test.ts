import { describe, expect, test } from "bun:test";
import {
  chmodSync,
  linkSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { until, Watched } from "./watch-fixtures.ts";

const MODES = [
  ["inotify", 0],
  ["polling", 10],
] as const;

describe.each(MODES)("with %s", (_mode, pollMs) => {
  test("files that are written, made, removed or renamed are told", async () => {
    using watched = new Watched();
    watched.write("a.php", "1");
    watched.write("deep/er/b.php", "1");
    watched.write("old.php", "1");
    await watched.start({ pollMs });
    watched.write("a.php", "22");
    watched.write("deep/er/new.php");
    unlinkSync(join(watched.path, "deep/er/b.php"));
    renameSync(join(watched.path, "old.php"), join(watched.path, "young.php"));
    await watched.tells("a.php", "deep/er/b.php", "deep/er/new.php", "old.php", "young.php");
    expect(watched.told).toHaveLength(5);
  });

  test("folders made, moved in, renamed and removed later are followed", async () => {
    using watched = new Watched();
    using elsewhere = new Watched();
    elsewhere.write("app/src/in.php");
    await watched.start({ pollMs });
    watched.write("new/deep/a.php");
    await watched.tells("new/deep/a.php");
    watched.forget();
    watched.write("new/deep/a.php", "changed");
    await watched.tells("new/deep/a.php");
    renameSync(join(elsewhere.path, "app"), join(watched.path, "app"));
    await watched.tells("app/src/in.php");
    renameSync(join(watched.path, "app"), join(watched.path, "moved"));
    await watched.tells("moved/src/in.php");
    watched.forget();
    watched.write("moved/src/in.php", "changed");
    await watched.tells("moved/src/in.php");
    watched.forget();
    rmSync(join(watched.path, "moved"), { recursive: true });
    watched.write("moved/src/again.php");
    await watched.tells("moved/src/in.php", "moved/src/again.php");
    watched.forget();
    watched.write("moved/src/again.php", "changed");
    await watched.tells("moved/src/again.php");
  });

  test("a folder swapped for another of the same name is watched anew", async () => {
    using watched = new Watched();
    watched.write("app/src/a.php", "1");
    watched.write("next/src/a.php", "1");
    await watched.start({ pollMs });
    renameSync(join(watched.path, "app"), join(watched.path, "gone"));
    renameSync(join(watched.path, "next"), join(watched.path, "app"));
    await watched.tells("app/src/a.php", "gone/src/a.php", "next/src/a.php");
    watched.forget();
    watched.write("app/src/a.php", "changed");
    await watched.tells("app/src/a.php");
  });

  test("what is ignored or not included is not told, at any depth", async () => {
    using watched = new Watched();
    watched.write("node_modules/x.php");
    watched.write("pkg/vendor/y.php");
    await watched.start({
      pollMs,
      include: ["*.php", "*.env"],
      ignore: ["node_modules/", "**/vendor/**", "/tmp"],
    });
    watched.write("node_modules/x.php", "changed");
    watched.write("node_modules/deep/er.php");
    watched.write("pkg/vendor/y.php", "changed");
    watched.write("tmp/z.php");
    watched.write("read.me");
    watched.write("a/.env");
    watched.write("a/tmp/b.php");
    await watched.settled();
    await watched.tells("a/.env", "a/tmp/b.php");
    expect(watched.told).toEqual(["a/.env", "a/tmp/b.php"]);
  });

  test("reading, chmod and writing to our own files are no change; touch is", async () => {
    using watched = new Watched();
    const file = watched.write("a.php", "1");
    const log = watched.write("log/error.php", "1");
    await watched.start({ pollMs }, undefined, [log]);
    readFileSync(file);
    chmodSync(file, 0o600);
    writeFileSync(log, "line\n");
    await watched.settled();
    expect(watched.told).toEqual([]);
    utimesSync(file, 1_000, 1_000);
    await watched.tells("a.php");
  });

  test("an atomic save is told though the size and the time are the same", async () => {
    using watched = new Watched();
    const file = watched.write("a.php", "1");
    const next = watched.write("next", "2");
    utimesSync(file, 1_000, 1_000);
    utimesSync(next, 1_000, 1_000);
    await watched.start({ pollMs, include: ["*.php"] });
    renameSync(next, file);
    await watched.tells("a.php");
  });

  test("a single file survives being renamed over, removed and coming back", async () => {
    using watched = new Watched();
    const file = watched.write("conf/phprun.yaml", "1");
    watched.write("conf/other", "1");
    await watched.start({ pollMs, paths: [file] });
    for (const round of ["one", "two"]) {
      renameSync(watched.write("conf/phprun.yaml~", round), file);
      await watched.tells("conf/phprun.yaml");
      watched.forget();
    }
    unlinkSync(file);
    await watched.tells("conf/phprun.yaml");
    watched.forget();
    watched.write("conf/phprun.yaml", "back");
    await watched.tells("conf/phprun.yaml");
    watched.forget();
    rmSync(join(watched.path, "conf"), { recursive: true });
    await watched.tells("conf/phprun.yaml");
    watched.forget();
    watched.write("conf/phprun.yaml", "back with its folder");
    await watched.tells("conf/phprun.yaml");
    expect(watched.told).toEqual(["conf/phprun.yaml"]);
  });

  test("a watched folder that is removed, or not there yet, is watched when it comes", async () => {
    using watched = new Watched();
    const path = join(watched.path, "srv/app");
    // The file's way leads through the same folders: each must be watched once, and anew.
    await watched.start({ pollMs, paths: [path, join(path, "phprun.yaml")] });
    for (const round of ["1", "2"]) {
      watched.write("srv/app/a.php", round);
      await watched.tells("srv/app/a.php");
      watched.forget();
      watched.write("srv/app/a.php", `${round} changed`);
      await watched.tells("srv/app/a.php");
      watched.forget();
      rmSync(join(watched.path, "srv"), { recursive: true });
      await watched.tells("srv/app/a.php");
      watched.forget();
    }
  });

  test("a switched link on the way to the watched folder is noticed, even between hard-linked releases", async () => {
    using watched = new Watched();
    const file = watched.write("releases/1/public/a.php", "1");
    mkdirSync(join(watched.path, "releases/2/public"), { recursive: true });
    linkSync(file, join(watched.path, "releases/2/public/a.php"));
    symlinkSync("releases/1", join(watched.path, "current"));
    await watched.start({ pollMs, paths: [join(watched.path, "current/public")], include: ["*.php"] });
    symlinkSync("releases/2", join(watched.path, "next"));
    renameSync(join(watched.path, "next"), join(watched.path, "current"));
    await watched.tells("current/public");
    watched.forget();
    watched.write("releases/2/public/a.php", "changed");
    await watched.tells("current/public/a.php");
    expect(watched.told).toEqual(["current/public/a.php"]);
  });

  test("links inside are noticed when switched, links that lead out are followed, loops are none", async () => {
    using watched = new Watched();
    using outside = new Watched();
    outside.write("shared/s.php", "1");
    outside.write("other/s.php", "1");
    const env = outside.write("env", "1");
    symlinkSync(outside.path, join(outside.path, "shared/loop"));
    watched.write("releases/1/a.php", "1");
    watched.write("releases/2/a.php", "1");
    symlinkSync("releases/1", join(watched.path, "current"));
    symlinkSync("..", join(watched.path, "releases/up"));
    symlinkSync("/", join(watched.path, "disk"));
    symlinkSync("self", join(watched.path, "self"));
    symlinkSync(join(outside.path, "shared"), join(watched.path, "shared"));
    symlinkSync(env, join(watched.path, "the.env"));
    await watched.start({ pollMs, include: ["*.php", "*.env"] });
    outside.write("shared/s.php", "changed");
    await watched.tells("shared/s.php");
    renameSync(outside.write("env~", "changed"), env);
    await watched.tells("the.env");
    expect(watched.told).toEqual(["shared/s.php", "the.env"]);
    watched.forget();
    for (const [name, target] of [
      ["current", "releases/2"],
      ["shared", join(outside.path, "other")],
    ] as const) {
      symlinkSync(target, join(watched.path, "next"));
      renameSync(join(watched.path, "next"), join(watched.path, name));
      await watched.tells(name);
    }
    await watched.tells("shared/s.php");
    watched.forget();
    outside.write("other/s.php", "changed");
    await watched.tells("shared/s.php");
    watched.forget();
    // The other way of a deploy: what the link leads to is swapped.
    renameSync(join(outside.path, "other"), join(outside.path, "gone"));
    outside.write("other/new.php", "new");
    await watched.tells("shared/s.php", "shared/new.php");
  });

  test("a burst is one call; what comes during a call is told once after it", async () => {
    using watched = new Watched();
    const first = Promise.withResolvers<void>();
    await watched.start({ pollMs, debounceMs: 60 }, () =>
      watched.calls.length === 1 ? first.promise : undefined,
    );
    for (let n = 0; n < 200; n++) watched.write(`many/f${n}.php`);
    await until(
      () => watched.calls.length > 0,
      () => "no call",
    );
    expect(watched.calls[0]).toHaveLength(200);
    // Once somebody else was told of them, this one would have been as well, were it not for the call.
    using other = new Watched();
    await other.start({ pollMs, debounceMs: 120, paths: [watched.path] });
    const more = Array.from({ length: 50 }, (_, n) => watched.write(`more/f${n}.php`));
    await other.tells(...more);
    expect(watched.calls).toHaveLength(1);
    first.resolve();
    await watched.tells("more/f0.php");
    expect(watched.calls).toHaveLength(2);
    expect(watched.calls[1]).toHaveLength(50);
  });

  test("an onChange that throws or rejects is logged, and watching goes on", async () => {
    using watched = new Watched();
    await watched.start({ pollMs }, () => {
      if (watched.calls.length === 1) throw new Error("thrown by the caller");
      if (watched.calls.length === 2) return Promise.reject(new Error("rejected by the caller"));
    });
    for (const name of ["a.php", "b.php", "c.php"]) {
      watched.write(name);
      await watched.tells(name);
    }
    expect(watched.lines.join("")).toContain("thrown by the caller");
    expect(watched.lines.join("")).toContain("rejected by the caller");
  });

  test("a tree that is written to all the time is told of nevertheless", async () => {
    using watched = new Watched();
    await watched.start({ pollMs, debounceMs: 30 });
    let n = 0;
    const writer = setInterval(() => watched.write("busy.php", "x".repeat(++n)), 5);
    try {
      await until(
        () => watched.calls.length > 1,
        () => "starved",
      );
    } finally {
      clearInterval(writer);
    }
  });

  test("nothing is told after close()", async () => {
    using watched = new Watched();
    await watched.start({ pollMs });
    watched.write("a.php");
    await watched.tells("a.php");
    watched.forget();
    watched.write("b.php");
    watched.watch?.close();
    using other = new Watched();
    await other.start({ paths: [watched.path, other.path] });
    watched.write("c.php");
    await other.settled();
    expect(watched.calls).toEqual([]);
  });
});

test("what is modified while the first look is under way is told", async () => {
  using watched = new Watched();
  for (let n = 0; n < 300; n++) watched.write(`d${n}/a.php`);
  const old = new Date(Date.now() - 60_000);
  for (let n = 0; n < 300; n++) utimesSync(join(watched.path, `d${n}/a.php`), old, old);
  const begin = Date.now() + 2;
  const started = watched.start({ ignore: ["clock"] });
  // The file system's clock ticks more slowly.
  await until(
    () => statSync(watched.write("clock")).mtimeMs > begin,
    () => "the clock stands still",
  );
  for (let n = 0; n < 300; n += 50) watched.write(`d${n}/a.php`, "changed");
  await started;
  await watched.tells("d0/a.php", "d50/a.php", "d100/a.php", "d250/a.php");
  expect(watched.told).toHaveLength(6);
});

test("a glob that is none is refused, with its key", () => {
  using watched = new Watched();
  expect(watched.start({ ignore: ["[a"] })).rejects.toThrow("Cannot use 'watch.ignore'");
});
