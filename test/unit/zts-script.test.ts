/** `ffi/zts.sh` with a mirror and sources that are made up: which PHP it takes, what it says, and what it finds again. */
import { expect, test } from "bun:test";
import { chmodSync, existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Folder } from "./config-helper.ts";

const script = readFileSync(join(import.meta.dir, "../../ffi/zts.sh"), "utf8");

/** The release of Debian that the script thinks it is on. */
const BOOKWORM = "VERSION_CODENAME=bookworm\n";

/** In place of ffi/debian-source.sh: a file for each source that the mirror has, or for one that apt refuses. */
const MIRROR = `#!/bin/sh
file=MIRROR/$2-$3
echo "asked for $3 ($2)" >&2
[ -e "$file" ] || exit 3
! grep -q refused "$file" || exit 1
echo "$3 $(cat "$file") $file.tar"
`;

/** What PHP's source is to its build. */
const CONFIGURE = `#!/bin/sh
for word; do case $word in --prefix=*) prefix=\${word#--prefix=} ;; esac; done
printf '%s\\n' "$@" >options
echo 'build_old_libs=yes' >libtool
printf 'all:\\n\\ninstall:\\n\\tmkdir -p %s/bin %s/lib && cp php phpize %s/bin && cp options %s && touch %s/lib/libphp.so\\n' \\
  "$prefix" "$prefix" "$prefix" "$prefix" "$prefix" >Makefile
`;
const PHP = `#!/bin/sh
case $* in *PHP_ZTS*) printf 1 ;; *-m*) echo 'Zend OPcache' ;; esac
`;
const APCU = `#!/bin/sh
printf 'all:\\n\\ninstall:\\n\\ttouch %s\\n' "$PWD/../../../built-$(basename "$PWD")" >Makefile
`;

class Machine extends Folder {
  readonly cache = join(this.path, "cache/phprun");

  constructor(release = BOOKWORM) {
    super({ "os-release": release });
    this.write("tree/ffi/zts.sh", script.replaceAll("/etc/os-release", join(this.path, "os-release")));
    this.write("tree/ffi/debian-source.sh", MIRROR.replaceAll("MIRROR", join(this.path, "mirror")));
    // Every package is here, there is room, and time flies.
    this.program("bin/dpkg-query", "#!/bin/sh\nprintf installed\n");
    this.program("bin/df", "#!/bin/sh\nprintf 'head\\nfs 9999999 1 9999998 1%% /\\n'\n");
    this.program("bin/sleep", "#!/bin/sh\nexec /bin/sleep 0.02\n");
  }

  program(name: string, text: string): void {
    chmodSync(this.write(name, text), 0o755);
  }

  /** Puts a source on the mirror: its files, each in a folder. */
  offer(source: string, version: string, files: Readonly<Record<string, string>>): void {
    for (const [name, text] of Object.entries(files)) this.program(`sources/${source}/${name}`, text);
    const tar = this.write(`mirror/${source}.tar`, "");
    const folders = new Set(Object.keys(files).map((name) => name.split("/")[0] ?? ""));
    const made = Bun.spawnSync(["tar", "-cf", tar, "-C", join(this.path, "sources", source), ...folders]);
    expect(made.success).toBe(true);
    this.write(`mirror/${source}`, version);
  }

  offerPhp(source: string, version: string): void {
    this.offer(source, version, {
      "php/configure": CONFIGURE,
      "php/php": PHP,
      "php/phpize": "#!/bin/sh\n",
      "php/php.ini-production": "",
    });
  }

  run(...options: string[]): { code: number; text: string } {
    const { PHPRUN_ZTS_PREFIX: _prefix, ...env } = process.env;
    const { exitCode, stdout, stderr } = Bun.spawnSync(
      ["bash", join(this.path, "tree/ffi/zts.sh"), ...options],
      {
        env: {
          ...env,
          XDG_CACHE_HOME: join(this.path, "cache"),
          PATH: `${join(this.path, "bin")}:${env["PATH"]}`,
        },
        timeout: 30_000,
      },
    );
    return { code: exitCode, text: `${stdout}${stderr}` };
  }
}

test("the best source that the mirror has is built, what was not to be had is told, and the build is found again", () => {
  using machine = new Machine();
  machine.offerPhp("bookworm-php8.2", "8.2.99-1~deb12u1");
  const php = join(machine.cache, "php-8.2.99-zts");
  const built = machine.run();
  expect(built.text).toContain(
    "the source of php8.4 (trixie) is not to be had, see above; taking php8.2 (bookworm) instead\n",
  );
  expect(built.text).toContain(`8.2.99 is in ${php}, built in `);
  expect(built.code).toBe(0);
  const options = readFileSync(join(php, "options"), "utf8").split("\n");
  expect(options).toContain("--enable-zend-max-execution-timers");
  expect(readFileSync(join(php, "phprun-zts.stamp"), "utf8")).toStartWith(
    "version: 8.2.99\nsource: php8.2 8.2.99-1~deb12u1 (bookworm)\nrecipe: ",
  );

  expect(machine.run("--check")).toEqual({ code: 0, text: `${php}\n` });
  // It counts, also when a better one is to be had since.
  machine.offerPhp("trixie-php8.4", "8.4.99-1~deb13u1");
  const again = machine.run();
  expect(again.text).toContain(`8.2.99 is in ${php} (remove that folder to have it built anew)`);
  expect(again.text).not.toContain("asked for");

  const elsewhere = join(machine.path, "elsewhere");
  expect(machine.run(`--prefix=${elsewhere}`).text).toContain(`8.4.99 is in ${elsewhere}, built in `);
  expect(readFileSync(join(elsewhere, "options"), "utf8")).not.toContain("max-execution-timers");
  expect(machine.run("--check").text).toBe(`${elsewhere}\n`);
}, 60_000);

test("a stamp that is of another recipe is no build", () => {
  using machine = new Machine();
  machine.offerPhp("bookworm-php8.2", "8.2.99-1");
  machine.run();
  const stamp = join(machine.cache, "php-8.2.99-zts/phprun-zts.stamp");
  const text = readFileSync(stamp, "utf8");
  for (const other of [
    text.replace(" --enable-zend-max-execution-timers", ""),
    text.replace("8.2.99", "8.4.99"),
    "unfinished\n",
  ]) {
    machine.write("cache/phprun/php-8.2.99-zts/phprun-zts.stamp", other);
    expect(machine.run("--check")).toEqual({ code: 1, text: "" });
  }
  machine.write("cache/phprun/php-8.2.99-zts/phprun-zts.stamp", text);
  expect(machine.run("--check").code).toBe(0);
}, 60_000);

test("what apt refuses ends it, though another source is to be had; so does a mirror that has none", () => {
  using machine = new Machine();
  machine.offerPhp("bookworm-php8.2", "8.2.99-1");
  machine.write("mirror/trixie-php8.4", "refused");
  const refused = machine.run();
  expect(refused.code).toBe(1);
  expect(refused.text).not.toContain("(bookworm)");
  expect(refused.text).toContain("Cannot build PHP: its source could not be fetched");

  using trixie = new Machine("VERSION_CODENAME=trixie\n");
  trixie.offerPhp("bookworm-php8.2", "8.2.99-1");
  const none = trixie.run();
  expect(none.code).toBe(1);
  expect(none.text).toContain("Cannot build PHP: its source is not to be had");
  expect(existsSync(trixie.cache)).toBe(false);
});

test("APCu comes from the release that PHP is from, the newest of its versions; PHP is there without it too", () => {
  using machine = new Machine();
  machine.offerPhp("bookworm-php8.2", "8.2.99-1");
  machine.offer("bookworm-php-apcu", "5.1.22+4.0.11-2", {
    "apcu-4.0.11/configure": APCU,
    "apcu-5.1.22/configure": APCU,
  });
  const php = join(machine.cache, "php-8.2.99-zts");
  const { text } = machine.run();
  expect(text).not.toContain("APCu could not be added");
  expect(readFileSync(join(php, "etc/conf.d/apcu.ini"), "utf8")).toBe("extension=apcu\n");
  expect([existsSync(join(php, "built-apcu-5.1.22")), existsSync(join(php, "built-apcu-4.0.11"))]).toEqual([
    true,
    false,
  ]);

  using without = new Machine();
  without.offerPhp("bookworm-php8.2", "8.2.99-1");
  const built = without.run();
  expect(built.text).toContain(
    "APCu could not be added (the last lines of that are above), going on without it",
  );
  expect(built.code).toBe(0);
}, 60_000);
