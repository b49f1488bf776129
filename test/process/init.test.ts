import { expect } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { command, curl, defaultIsolation, type Server, start, targets, test } from "../harness.ts";
import { ztsLibphp } from "../zts.ts";
import { type Finished, run, Scratch } from "./support.ts";

const target = targets.at(-1) ?? "source";

const phprun = async (scratch: Scratch, ...args: string[]): Promise<Finished> =>
  await run(command(target, ...args), { cwd: scratch.path });

/** A counter that starts with the worker and goes on with each request: the class is loaded once. */
const COUNTING = {
  "vendor/autoload.php": `<?php
spl_autoload_register(static function (string $class): void { require __DIR__ . "/../src/$class.php"; });`,
  "src/Counter.php": `<?php
final class Counter {
  public static int $boots = 0;
  public static int $requests = 0;
}
Counter::$boots++;`,
  "public/index.php": `<?php
$greeting = 'Hello';
require __DIR__ . '/../templates/page.php';`,
  "templates/page.php": `<?php
header('X-Mode: ' . phprun_worker_info()['mode']);
if (isset($_GET['leave'])) exit('gone');
printf('%s %s, %d boot, request %d', $greeting, $_GET['name'] ?? 'nobody', Counter::$boots, ++Counter::$requests);`,
} as const;

function application(files: Readonly<Record<string, string>>): Scratch {
  const scratch = new Scratch();
  for (const [name, text] of Object.entries(files)) scratch.write(name, text);
  return scratch;
}

/** Serves what init wrote, but for the port. */
async function serve(scratch: Scratch, env: Readonly<Record<string, string>> = {}): Promise<Server> {
  return await start({
    target,
    args: ["--config", join(scratch.path, "phprun.yaml")],
    env: {
      PHPRUN_SERVER__HOST: "127.0.0.1",
      PHPRUN_SERVER__PORT: "0",
      PHPRUN_POOLS__0__WORKER_COUNT: "1",
      ...(defaultIsolation === undefined ? {} : { PHPRUN_PHP__ISOLATION: defaultIsolation }),
      ...(defaultIsolation === "thread" ? { PHPRUN_PHP__LIBPHP: ztsLibphp ?? "auto" } : {}),
      ...env,
    },
  });
}

const APPLICATIONS = {
  laravel: { artisan: "", "bootstrap/app.php": "<?php", "public/index.php": "<?php" },
  symfony: {
    "bin/console": "",
    "src/Kernel.php": "<?php\nnamespace App;\nclass Kernel {}\n",
    "public/index.php": "<?php",
  },
  wordpress: { "wp-load.php": "<?php", "wp-includes/version.php": "<?php", "index.php": "<?php" },
  plain: COUNTING,
} as const;

for (const [kind, files] of Object.entries(APPLICATIONS)) {
  test(`what is written for ${kind} is a configuration without mistakes`, async () => {
    using scratch = application(files);
    const { code, out, err } = await phprun(scratch, "init");
    expect({ code, err: err.replace(/^! .*\n/gm, "") }).toEqual({ code: 0, err: "" });
    expect(out).toContain("✔ Wrote phprun.yaml\n");
    expect(out).toEndWith("\nNext:\n  phprun doctor\n  phprun serve\n");
    expect(out + err).not.toContain("\x1b");
    expect(existsSync(join(scratch.path, "phprun-worker.php"))).toBe(kind !== "wordpress");
    expect(await phprun(scratch, "config", "check")).toMatchObject({ code: 0, err: "" });
  });

  test(`naming ${kind} writes what is written when it is found`, async () => {
    using scratch = application(files);
    await phprun(scratch, "init", "--dir", ".");
    const found = readFileSync(join(scratch.path, "phprun.yaml"), "utf8");
    await phprun(scratch, "init", kind, "--force");
    expect(readFileSync(join(scratch.path, "phprun.yaml"), "utf8")).toBe(found);
  });
}

test("a dry run shows the files and writes none", async () => {
  using scratch = application(COUNTING);
  const before = readdirSync(scratch.path);
  const { code, out } = await phprun(scratch, "init", "--dry-run");
  expect(code).toBe(0);
  expect(out).toMatch(
    /^--- phprun\.yaml\n[^]*^--- end of phprun\.yaml\n[^]*^--- phprun-worker\.php\n<\?php\n/m,
  );
  expect(readdirSync(scratch.path)).toEqual(before);
});

test("files that exist are kept, --force writes them anew, and nothing else is left behind", async () => {
  using scratch = application({ ...COUNTING, "phprun.yaml": "# mine\n" });
  const first = await phprun(scratch, "init");
  expect(first.code).toBe(0);
  expect(first.out).toContain("i Kept phprun.yaml, which exists; --force writes phprun.yaml anew\n");
  expect(first.out).toContain("✔ Wrote phprun-worker.php\n");
  expect(readFileSync(join(scratch.path, "phprun.yaml"), "utf8")).toBe("# mine\n");
  const second = await phprun(scratch, "init");
  expect(second.code).toBe(0);
  expect(second.out).not.toContain("Wrote");
  const forced = await phprun(scratch, "init", "--force");
  expect(forced.out).toContain("✔ Wrote phprun.yaml\n✔ Wrote phprun-worker.php\n");
  expect(readFileSync(join(scratch.path, "phprun.yaml"), "utf8")).toStartWith(
    "# phprun's configuration for plain PHP",
  );
  expect(readdirSync(scratch.path).sort()).toEqual([
    "phprun-worker.php",
    "phprun.yaml",
    "public",
    "src",
    "templates",
    "vendor",
  ]);
});

test("another folder is named in the next commands, ready for a shell", async () => {
  using scratch = application({ "it's here/public/index.php": "<?php" });
  const { out } = await phprun(scratch, "init", "--dir", "it's here");
  expect(out).toEndWith(`  phprun serve --config 'it'\\''s here/phprun.yaml'\n`);
  const elsewhere = await run(command(target, "init", "--dir", join(scratch.path, "it's here"), "--dry-run"));
  expect(elsewhere.out).toContain(`  phprun doctor --config '`);
});

test("a plain application boots once and then answers request after request", async () => {
  using scratch = application(COUNTING);
  await phprun(scratch, "init");
  await using server = await serve(scratch);
  const body = async (path: string) => (await curl(`${server.url}${path}`)).body.toString();
  expect(await body("/?name=Anna")).toBe("Hello Anna, 1 boot, request 1");
  expect(await body("/some/page")).toBe("Hello nobody, 1 boot, request 2");
  expect(await body("/?leave")).toBe("gone");
  expect(await body("/?name=Bert")).toBe("Hello Bert, 1 boot, request 3");
});

test("what cannot be run again and again is served in classic mode", async () => {
  using scratch = application({
    "public/index.php": "<?php\nfunction answer() { return 'as ever'; }\necho answer();",
  });
  const { out } = await phprun(scratch, "init");
  expect(out).toContain("Classic mode");
  await using server = await serve(scratch);
  for (let i = 0; i < 2; i++) expect((await curl(server.url)).body.toString()).toBe("as ever");
});
