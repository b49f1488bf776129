import { expect, test } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { Burst } from "../../src/watch/burst.ts";
import { describeChanges } from "../../src/watch/describe-changes.ts";
import { compileSelection } from "../../src/watch/globs.ts";
import { pathSteps } from "../../src/watch/path-steps.ts";
import { until, Watched } from "./watch-fixtures.ts";

test.each([
  [[], "no files"],
  [["/srv/app/src/Foo.php"], "src/Foo.php"],
  [["/srv/app/a", "/srv/app/b"], "a and 1 more file"],
  [["/srv/app/a", "/b", "/c", "/d"], "a and 3 more files"],
  [["/srv/application/a"], "/srv/application/a"],
  [["/srv/app"], "/srv/app"],
])("%j is described as %s", (changes, text) => {
  expect(describeChanges(changes, "/srv/app")).toBe(text);
  expect(describeChanges(changes, "/srv/app/")).toBe(text);
});

test("a burst is due after its quiet time, and at the latest after ten of them", () => {
  const burst = new Burst(100);
  expect(burst.dueAt).toBeNull();
  burst.add([], 0);
  expect(burst.dueAt).toBeNull();
  burst.add(["b"], 1_000);
  expect(burst.dueAt).toBe(1_100);
  burst.add(["a", "b"], 1_090);
  expect(burst.dueAt).toBe(1_190);
  burst.add(["a"], 1_950);
  expect(burst.dueAt).toBe(2_000);
  expect(burst.take()).toEqual(["a", "b"]);
  expect(burst.dueAt).toBeNull();
});

test.each([
  ["vendor", "vendor", true],
  ["vendor", "pkg/vendor", true],
  ["vendor/", "pkg/vendor", true],
  ["/vendor", "vendor", true],
  ["/vendor", "pkg/vendor", false],
  ["./vendor", "pkg/vendor", false],
  ["**/node_modules/**", "node_modules", true],
  ["**/node_modules/**", "a/node_modules", true],
  ["**/node_modules/**", "a/node_modules/b", true],
  ["storage/logs", "storage/logs", true],
  ["storage/logs", "a/storage/logs", false],
  [".git", ".git", true],
  ["*.{log,tmp}", "deep/.x.tmp", true],
  ["var/*", "var/a/b", false],
  ["**/.#*", "src/.#a.php", true],
  ["**/.env*", ".env.local", true],
  ["!a", "b", false],
])("ignoring %s: %s is ignored: %p", (pattern, path, expected) => {
  expect(compileSelection([], [pattern]).ignores(path)).toBe(expected);
});

test("the steps of a path lead through its links", () => {
  using watched = new Watched();
  mkdirSync(join(watched.path, "releases/1/public"), { recursive: true });
  symlinkSync("./releases/1/../1", join(watched.path, "current"));
  const steps = pathSteps(join(watched.path, "current/public/missing/a.php"));
  const above = watched.path.split("/").length - 1;
  expect(steps.slice(above).map(({ folder, name }) => `${folder.replace(watched.path, "")} ${name}`)).toEqual(
    [
      " current",
      " releases",
      "/releases 1",
      "/releases 1",
      "/releases/1 public",
      "/releases/1/public missing",
      "/releases/1/public/missing a.php",
    ],
  );
  symlinkSync("loop", join(watched.path, "loop"));
  expect(pathSteps(join(watched.path, "loop")).length).toBeLessThan(60);
});

test("ignored folders cost no watch, and a thousand watches leave nothing behind", async () => {
  using watched = new Watched();
  for (let n = 0; n < 20; n++) {
    watched.write(`node_modules/m${n}/index.php`);
    watched.write(`src/s${n}/a.php`);
  }
  const before = inotifyWatches();
  await watched.start({ ignore: ["node_modules"] });
  const steps = pathSteps(watched.path).length;
  // The folder itself, src, its twenty, and those on the way.
  expect(inotifyWatches() - before).toBeLessThanOrEqual(22 + steps);
  watched.watch?.close();
  // Bun closes its share of a watch on a thread of its own.
  await until(
    () => inotifyWatches() === before,
    () => `${inotifyWatches()} watches, ${before} before`,
  );
  const descriptors = readdirSync("/proc/self/fd").length;
  for (let n = 0; n < 1_000; n++) {
    await watched.start({ paths: [join(watched.path, "src/s0")] });
    watched.watch?.close();
  }
  await until(
    () => inotifyWatches() === before && readdirSync("/proc/self/fd").length <= descriptors,
    () => `${inotifyWatches()} watches, ${before} before`,
  );
});

test("without watches to be had it warns, and polls", async () => {
  using watched = new Watched();
  for (let n = 0; n < 30; n++) watched.write(`d${n}/a.php`);
  const script = watched.write(
    "watch.ts",
    `import { watchFiles } from ${JSON.stringify(join(import.meta.dir, "../../src/watch/watch-files.ts"))};
    import { createLog } from ${JSON.stringify(join(import.meta.dir, "../../src/log/log.ts"))};
    import { writeFileSync } from "node:fs";
    const log = createLog({ level: "info", format: "json", file: null, write: (line) => process.stdout.write(line) });
    const file = ${JSON.stringify(join(watched.path, "d7/a.php"))};
    const done = Promise.withResolvers();
    const patience = setTimeout(() => process.exit(3), 4_000);
    const watch = watchFiles(
      { paths: [${JSON.stringify(watched.path)}], include: ["*.php"], ignore: [], debounceMs: 10, pollMs: 0 },
      (changes) => { console.log(changes.join()); done.resolve(); }, log);
    await watch.ready;
    writeFileSync(file, "changed");
    await done.promise;
    clearTimeout(patience);
    watch.close();
    // Ends by itself: nothing keeps it alive.`,
  );
  // A user namespace has a limit of its own, so nobody else's watches are touched.
  const child = Bun.spawnSync([
    "unshare",
    "--user",
    "--map-root-user",
    "sh",
    "-c",
    `echo 10 > /proc/sys/user/max_inotify_watches || exit 77; exec ${process.execPath} ${script}`,
  ]);
  const out = child.stdout.toString();
  if (out === "") {
    console.warn("skipped: no user namespaces here", child.stderr.toString().trim());
    return;
  }
  expect(out).toContain("fs.inotify.max_user_watches");
  expect(out).toContain(join(watched.path, "d7/a.php"));
  expect(child.exitCode).toBe(0);
});

function inotifyWatches(): number {
  let count = 0;
  for (const fd of readdirSync("/proc/self/fd")) {
    try {
      count += (readFileSync(`/proc/self/fdinfo/${fd}`, "utf8").match(/^inotify /gm) ?? []).length;
    } catch {
      // The descriptor of the listing itself.
    }
  }
  return count;
}
