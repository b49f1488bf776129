import { expect } from "bun:test";
import { chmodSync, copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { command, launch, type Server, start, targets, test, within } from "../harness.ts";
import { libphpCandidates } from "../../src/php/locate.ts";
import { get, onePool, run, Scratch } from "./support.ts";

const files = { "pid.php": "<?php echo getmypid();" };
const [libphp = ""] = libphpCandidates("auto");
const executable = targets.includes("binary");
/** The configuration folder that PHP was built with. */
const extensionIni = (text: string, scratch: Scratch) => {
  scratch.write("conf.d/99-test.ini", text);
  return { PHP_INI_SCAN_DIR: `:${join(scratch.path, "conf.d")}` };
};

/** The server ends by itself, with this code, having said this and shown no stack. */
async function refuses(server: Server, code: number, message: string | RegExp): Promise<void> {
  expect(await within(server.exited, "it has ended")).toBe(code);
  if (typeof message === "string") expect(server.log.text).toContain(message);
  else expect(server.log.text).toMatch(message);
  expect(server.log.text).not.toMatch(/^\s+at .*:\d+:\d+|\bready\b/m);
  expect(server.log.text.match(/^phprun: /gm)).toBeArrayOfSize(1);
  expect(server.processes()).toEqual([]);
}

// ---- configuration ------------------------------------------------------------------------------

test("a docroot that does not exist is named, with 2", async () => {
  await using server = launch({ config: { php: { docroot: "/nonexistent/app" } } });
  await refuses(server, 2, /php\.docroot.*\/nonexistent\/app does not exist/);
});

test("an unknown key and a wrong value are told at once, each with its line and the nearest name", async () => {
  using scratch = new Scratch();
  const file = scratch.write(
    "phprun.yaml",
    "server:\n  prot: 8080\npools:\n  - name: a\n    worker_count: many\n",
  );
  const { code, err } = await run(command(targets[0] ?? "source", "serve", "--config", file), {
    cwd: scratch.path,
  });
  expect(code).toBe(2);
  expect(err).toMatch(/phprun\.yaml:2:3: .*prot.*port/);
  expect(err).toMatch(/phprun\.yaml:5:\d+: .*worker_count/);
});

test("broken YAML is told with its line, and nothing starts", async () => {
  using scratch = new Scratch();
  const file = scratch.write("phprun.yaml", 'server:\n  host: "127.0.0.1\n');
  const { code, out, err } = await run(command(targets[0] ?? "source", "serve", "--config", file));
  expect({ code, out }).toEqual({ code: 2, out: "" });
  expect(err).toMatch(/phprun\.yaml:\d+:\d+/);
});

test("pools that contradict themselves are told at once, each by key, rule and received value", async () => {
  await using server = launch({
    files,
    config: {
      health: { path: "up.php" },
      admin: { enabled: true, host: "127.0.0.1", port: "many" },
      pools: [
        { name: "a", worker_count: { min: 3, max: 2 }, patterns: ["/a(b|c)"], hosts: ["x:80"] },
        { name: "b", user: "no-such-user", cpu_affinity: "8191", memory_kill_mb: 1, slow_ms: 60_000 },
      ],
    },
  });
  await refuses(server, 2, /Cannot use this configuration, 9 errors:/);
  for (const rule of [
    /'health\.path': must be a URL path .*received "up\.php"/,
    /'admin\.port': must be a whole number, 0 to 65535, received "many"/,
    /'pools\[0\]\.worker_count': min must not be above max, received min 3 and max 2/,
    /'pools\[0\]\.patterns\[0\]': must be a glob .*received "\/a\(b\|c\)"/,
    /'pools\[0\]\.hosts\[0\]': must be a host name .*received "x:80"/,
    /'pools\[1\]\.user': must be a user of this system, received "no-such-user"/,
    /'pools\[1\]\.cpu_affinity': must be processors .*received "8191"/,
    /'pools\[1\]\.memory_kill_mb': must be above memory_limit_mb \(256\), received 1/,
    /'pools\[1\]\.slow_ms': must be below timeout_ms \(60000\).*received 60000/,
  ])
    expect(server.log.text).toMatch(rule);
});

const NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
/** Who is not root must be able to read the program, too. */
const canBecomeNobody =
  process.getuid?.() === 0 &&
  Bun.spawnSync([...NOBODY, ...command(targets[0] ?? "source", "version")]).exitCode === 0;

test.skipIf(!canBecomeNobody)(
  "only root may start pools as another user or ahead of others, with 2",
  async () => {
    using scratch = new Scratch();
    chmodSync(scratch.path, 0o755);
    const file = scratch.write("phprun.yaml", "pools: [{ name: a, user: root, nice: -1 }]\n");
    chmodSync(file, 0o644);
    const line = command(targets[0] ?? "source", "serve", "--config", file);
    const { code, out, err } = await run([...NOBODY, ...line], { cwd: scratch.path });
    expect({ code, out }).toEqual({ code: 2, out: "" });
    expect(err).toMatch(/'pools\[0\]\.user': .*unless phprun is started as root, received "root"/);
    expect(err).toMatch(/'pools\[0\]\.nice': .*unless phprun is started as root, received -1/);
  },
);

// ---- libphp -------------------------------------------------------------------------------------

test("a libphp that is missing is named, with 2", async () => {
  await using server = launch({ files, config: { php: { libphp: "/nope/libphp.so" } } });
  await refuses(server, 2, /php\.libphp.*\/nope\/libphp\.so does not exist/);
});

test("a libphp that is a text file is refused with the loader's reason", async () => {
  using scratch = new Scratch();
  const path = scratch.write("libphp.so", "I am a text file\n");
  await using server = launch({ files, config: { php: { libphp: path } } });
  await refuses(server, 1, /Cannot open \S+libphp\.so: .*(invalid ELF header|file too short)/);
});

test("a library that is not libphp is refused as such", async () => {
  const libc = [
    "/lib/x86_64-linux-gnu/libz.so.1",
    "/lib/x86_64-linux-gnu/libm.so.6",
    "/lib64/libm.so.6",
  ].find(existsSync);
  await using server = launch({
    files,
    config: { php: { libphp: libc ?? "/lib/x86_64-linux-gnu/libc.so.6" } },
  });
  await refuses(server, 1, "it is not libphp. Set php.libphp to a libphp.so, or to auto.");
});

test.skipIf(libphp === "")(
  "a libphp of another API is refused before it is started, with what was expected",
  async () => {
    using scratch = new Scratch();
    const bytes = readFileSync(libphp);
    const at = bytes.indexOf("\0API20", 0, "latin1");
    const found = bytes.toString("latin1", at + 4, at + 12);
    bytes.write("20990101", at + 4, "latin1");
    const path = scratch.write("libphp.so", bytes);
    await using server = launch({ files, config: { php: { libphp: path } } });
    await refuses(server, 1, new RegExp(`it must have API ${found} .*received API 20990101.*setup\\.sh`));
  },
);

// ---- php.ini ------------------------------------------------------------------------------------

test("an extension line that does not load is told once at start, and the server serves", async () => {
  using scratch = new Scratch();
  const config = {
    pools: [
      { name: "one", worker_count: 2, patterns: ["/one*"] },
      { name: "two", worker_count: 2, patterns: ["/*"] },
    ],
  };
  await using server = await start({ files, config, env: extensionIni("extension=nope\n", scratch) });
  expect((await get(server, "/pid.php")).status).toBe(200);
  await server.waitForLog(/warn .*Unable to load dynamic library 'nope'/);
  const told = server.log.text.split("\n").filter((line) => line.includes("'nope'"));
  // Once in the log, once in the start-up block.
  expect(told.filter((line) => /^\d{4}-.*warn/.test(line))).toBeArrayOfSize(1);
  expect(told.filter((line) => /^ {2}warning {2}/.test(line))).toBeArrayOfSize(1);
  expect(told).toBeArrayOfSize(2);
});

test("a broken zend_extension line is told once at start, and the server serves", async () => {
  using scratch = new Scratch();
  await using server = await start({
    files,
    config: onePool({ worker_count: 1 }),
    env: extensionIni("zend_extension=nope\n", scratch),
  });
  expect((await get(server, "/pid.php")).status).toBe(200);
  const told = server.log.text.split("\n").filter((line) => /Failed loading .*nope/.test(line));
  expect(told.filter((line) => /^ {2}warning {2}/.test(line))).toBeArrayOfSize(1);
  expect(told).toBeArrayOfSize(2);
});

test("PHP without opcache serves, and the start says so", async () => {
  using scratch = new Scratch();
  mkdirSync(join(scratch.path, "none"));
  await using server = await start({
    files,
    config: onePool({ worker_count: 1 }),
    env: { PHP_INI_SCAN_DIR: join(scratch.path, "none") },
  });
  expect(server.log.text).toMatch(/^ {2}opcache {2}off$/m);
  expect(server.log.text).toMatch(/^ {2}warning {2}opcache is off: the opcache extension is not loaded/m);
  expect((await get(server, "/pid.php")).status).toBe(200);
});

test("opcache switched off is told with its reason", async () => {
  await using server = await start({
    files,
    config: onePool({ worker_count: 1, ini: { "opcache.enable": "0" } }),
  });
  expect(server.log.text).toMatch(/^ {2}warning {2}opcache is off: opcache\.enable is off/m);
  expect((await get(server, "/pid.php")).status).toBe(200);
});

test("a php.ini that keeps PHP from starting ends the start with 1 and PHP's own words", async () => {
  await using server = launch({
    files,
    config: onePool({
      worker_count: 1,
      ini: { "opcache.preload": "/nonexistent/preload.php", "opcache.preload_user": "root" },
    }),
  });
  await refuses(server, 1, /Cannot start PHP[\s\S]*\/nonexistent\/preload\.php/);
});

// ---- where it runs ------------------------------------------------------------------------------

test("settings for PHP reach it, whatever characters they hold", async () => {
  const ini = {
    memory_limit: "99M",
    user_agent: `a "b" 'c' ; d = \${HOME} \\`,
    "date.timezone": "Europe/Paris",
  };
  const script =
    "<?php echo json_encode(array_map('ini_get', ['memory_limit', 'user_agent', 'date.timezone']));";
  await using server = await start({
    files: { "ini.php": script },
    config: onePool({ worker_count: 1, ini }),
  });
  expect(JSON.parse((await get(server, "/ini.php")).text)).toEqual(Object.values(ini));
});

test("it is served from any directory, without one of its own", async () => {
  await using server = await start({ files, config: onePool({ worker_count: 1 }) });
  const cwd = Bun.spawnSync(["readlink", `/proc/${server.pid}/cwd`])
    .stdout.toString()
    .trim();
  expect(cwd).toBe(server.folder);
  expect((await get(server, "/pid.php")).status).toBe(200);
});

test.skipIf(!executable)("the executable needs no Bun, no Node.js and no source beside it", async () => {
  using scratch = new Scratch();
  const copy = join(scratch.path, "phprun");
  copyFileSync(command("binary")[0] ?? "", copy);
  chmodSync(copy, 0o755);
  const docroot = join(scratch.path, "public");
  mkdirSync(docroot);
  scratch.write("public/index.php", "<?php echo 'served by ', PHP_SAPI;");
  // What an application brings along must change nothing.
  scratch.write(".env", "PHPRUN_SERVER__PORT=1\nPHPRUN_POOLS__0__WORKER_COUNT=-5\n");
  scratch.write("bunfig.toml", 'preload = ["./nonexistent.ts"]\n');
  scratch.write("package.json", '{"type": "broken');
  scratch.write("tsconfig.json", "{");
  await using server = new Alone(
    [copy, "serve", "--port", "0", "--host", "127.0.0.1", "--workers", "1"],
    scratch.path,
    {
      PATH: "/usr/bin",
    },
  );
  expect(await server.text("/")).toBe("served by phprun");
  expect(await server.stop()).toBe(0);
});

test.skipIf(!executable)(
  "the executable writes its libraries where PHPRUN_LIBRARY_DIR says, and finds them again",
  async () => {
    using scratch = new Scratch();
    scratch.write("public/index.php", "<?php echo 'ok';");
    const libraries = join(scratch.path, "libraries");
    const line = [...command("binary"), "serve", "--port", "0", "--host", "127.0.0.1", "--workers", "1"];
    for (let time = 0; time < 2; time++) {
      await using server = new Alone(line, scratch.path, { PHPRUN_LIBRARY_DIR: libraries });
      expect(await server.text("/")).toBe("ok");
      expect(await server.stop()).toBe(0);
      expect(readdirSync(libraries).filter((name) => name.endsWith(".so"))).toBeArrayOfSize(2);
    }
    const file = scratch.write("file", "");
    const { code, err } = await run(line, { cwd: scratch.path, env: { PHPRUN_LIBRARY_DIR: file } });
    expect(code).toBe(1);
    expect(err).toMatch(/^phprun: Cannot write .*PHPRUN_LIBRARY_DIR must name a writable folder$/m);
  },
);

const canMount = process.getuid?.() === 0 && Bun.spawnSync(["unshare", "-m", "true"]).exitCode === 0;

for (const target of targets) {
  for (const options of ["noexec", "ro"]) {
    test.skipIf(!canMount)(`the ${target} runs with a ${options} /tmp`, async () => {
      const root = dirname(dirname(import.meta.dir));
      using scratch = new Scratch(join(root, "build"));
      scratch.write(
        "public/index.php",
        "<?php echo file_get_contents('php://input'), is_writable('/tmp') ? 'writable' : 'read-only';",
      );
      const line = command(target, "serve", "--port", "0", "--host", "127.0.0.1", "--workers", "1");
      // The project itself may lie in /tmp: it is reached through /mnt.
      const moved = (text: string) => text.replaceAll(root, "/mnt");
      const mount = [
        `mount --bind '${root}' /mnt`,
        `mount -t tmpfs -o ${options} tmpfs /tmp`,
        `mount -t tmpfs -o ${options} tmpfs /var/tmp`,
        `cd '${moved(scratch.path)}'`,
        `exec "$@"`,
      ].join(" && ");
      const inside = ["unshare", "-m", "sh", "-c", mount, "sh", ...line.map(moved)];
      await using server = new Alone(inside, scratch.path, {});
      const big = "x".repeat(200_000);
      expect(await server.text("/", big)).toBe(big + (options === "ro" ? "read-only" : "writable"));
      expect(await server.stop()).toBe(0);
    });
  }
}

/** A server started with a command line and an environment of the test's own. */
class Alone implements AsyncDisposable {
  readonly #process: Bun.Subprocess<"ignore", "pipe", "pipe">;
  #out = "";
  #err = "";
  readonly #url: Promise<string>;

  constructor(line: readonly string[], cwd: string, env: Record<string, string>) {
    const child = Bun.spawn([...line], {
      cwd,
      env: { PATH: "/usr/bin:/bin", ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#process = child;
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    this.#url = promise;
    promise.catch(() => undefined);
    void (async () => {
      const decoder = new TextDecoder();
      for await (const bytes of child.stdout) {
        this.#out += decoder.decode(bytes, { stream: true });
        const url = /^ {2}ready +(\S+)$/m.exec(this.#out)?.[1];
        if (url !== undefined) resolve(url);
      }
      this.#err = await child.stderr.text();
      reject(new Error(`It did not get ready\n${this.#out}${this.#err}`));
    })();
  }

  async text(path: string, body?: string): Promise<string> {
    const url = await within(this.#url, "it is ready");
    const response = await fetch(url + path, body === undefined ? {} : { method: "POST", body });
    return await response.text();
  }

  async stop(): Promise<number> {
    this.#process.kill("SIGTERM");
    return await within(this.#process.exited, "it has ended");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.#process.exited;
  }
}
