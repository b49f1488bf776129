#!/usr/bin/env bun
/**
 * Runs PHP's own tests through ./phprun and compares with what passes on nginx + php-fpm; with workers in threads, on
 * another PHP, with what passes there with workers in processes:
 *
 *   npm run conformance -- [--isolation=I] [--workers=N] [--no-restarts] [--executable=FILE] [options of phpt-http.mjs]
 *
 * Fetches PHP's source once, into ~/.cache/phprun. Tests that need a php.ini of their own restart the server, unless
 * --no-restarts is given. Everything else goes to phpt-http.mjs: `--tests tests/basic`, `--retry 1`, `--keepalive`…
 */
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { homedir, tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";

import { ztsLibphp } from "../zts.ts";
import { readBuild } from "../../src/php/read-build.ts";

const here = import.meta.dirname;
const cache = join(homedir(), ".cache/phprun");
const root = dirname(dirname(here));
const logFile = join(root, "build/conformance/server.log");
const startTimeoutMs = 30_000;
const stopTimeoutMs = 15_000;

function fail(message: string): never {
  console.error(message);
  process.exit(1);
}

/** Takes `--name=value` out of the arguments, so that only the tool's own options remain. */
function takeOption(args: string[], name: string): string | undefined {
  const index = args.findIndex((argument) => argument.startsWith(`--${name}=`));
  return index < 0 ? undefined : args.splice(index, 1)[0]!.slice(name.length + 3);
}

function takeFlag(args: string[], name: string): boolean {
  const index = args.indexOf(`--${name}`);
  return index >= 0 && args.splice(index, 1).length === 1;
}

function freePort(): number {
  const probe = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const { port } = probe;
  probe.stop(true);
  return port;
}

/** Brings the source tree of a PHP; its tests come with it. */
async function fetchSource(version: string, release: string): Promise<string> {
  const name = `php${version.split(".").slice(0, 2).join(".")}`;
  const fetch = Bun.spawn(["bash", join(here, "fetch-php-source.sh"), cache, name, release], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const folder = (await fetch.stdout.text()).trim();
  if ((await fetch.exited) !== 0 || !existsSync(join(folder, "run-tests.php")))
    fail("Cannot fetch PHP's source.");
  return folder;
}

/** The server under test. Another php.ini means another process. */
class Server {
  readonly url: string;
  readonly #command: readonly string[];
  readonly #docroot: string;
  #process: Bun.Subprocess | undefined;

  constructor(executable: string, docroot: string, flags: readonly string[]) {
    const port = freePort();
    this.url = `http://127.0.0.1:${port}`;
    this.#docroot = docroot;
    this.#command = [
      executable,
      "serve",
      "--root",
      docroot,
      "--host",
      "127.0.0.1",
      "--port",
      `${port}`,
      ...flags,
    ];
  }

  /** @param phprc folder whose php.ini is used */
  async start(phprc: string): Promise<void> {
    const log = openSync(logFile, "a");
    const { PHPRUN_CONFIG: _config, PHP_INI_SCAN_DIR: _scanned, ...environment } = process.env;
    this.#process = Bun.spawn([...this.#command], {
      // Away from any phprun.yaml.
      cwd: dirname(this.#docroot),
      env: { ...environment, PHPRC: phprc, PHPRUN_PHP__LIBPHP: libphp },
      stdio: ["ignore", log, log],
    });
    closeSync(log);
    await this.#answer();
  }

  async stop(): Promise<void> {
    const server = this.#process;
    if (server === undefined) return;
    this.#process = undefined;
    server.kill("SIGTERM");
    const overdue = setTimeout(() => server.kill("SIGKILL"), stopTimeoutMs);
    await server.exited;
    clearTimeout(overdue);
  }

  /** Waits until the server answers; any status will do, because a test's php.ini may spoil every script. */
  async #answer(): Promise<void> {
    const deadline = Date.now() + startTimeoutMs;
    while (Date.now() < deadline) {
      if (this.#process?.exitCode !== null) break;
      try {
        await (await fetch(this.url, { signal: AbortSignal.timeout(2000) })).arrayBuffer();
        return;
      } catch {
        await Bun.sleep(25);
      }
    }
    await this.stop();
    console.error((await Bun.file(logFile).text()).split("\n").slice(-20).join("\n"));
    throw new Error(`Cannot start the server: no answer at ${this.url} (its log: ${logFile})`);
  }
}

const args = process.argv.slice(2);
const executable = resolve(takeOption(args, "executable") ?? join(root, "phprun"));
const isolation = takeOption(args, "isolation");
const workers = takeOption(args, "workers") ?? "4";
const restarts = !takeFlag(args, "no-restarts");
if (!existsSync(executable)) fail(`Cannot find ${executable}: run ./setup.sh first.`);
if (Bun.which("node") === null) fail("Cannot run phpt-http.mjs: Node.js was not found.");

/** What is tested, and against what. */
interface Subject {
  readonly source: string;
  readonly libphp: string;
  /** null: it is made from runs with workers in processes. */
  readonly baseline: string | null;
}

/** The release that setup.sh --zts took its source from. */
function builtFrom(built: string): string | undefined {
  const stamp = join(dirname(built), "../phprun-zts.stamp");
  return existsSync(stamp) ? /^source: .*\((.*)\)$/m.exec(readFileSync(stamp, "utf8"))?.[1] : undefined;
}

async function ownRelease(): Promise<string> {
  return /^VERSION_CODENAME=(.*)$/m.exec(await Bun.file("/etc/os-release").text())?.[1] ?? "bookworm";
}

async function subject(): Promise<Subject> {
  if (isolation === "thread") {
    if (ztsLibphp === null) fail("Cannot test threads: there is no ZTS libphp (run ./setup.sh --zts).");
    const version = readBuild(ztsLibphp)?.version ?? "";
    const source = await fetchSource(version, builtFrom(ztsLibphp) ?? (await ownRelease()));
    return { source, libphp: ztsLibphp, baseline: null };
  }
  const version = Bun.spawnSync(["php-config", "--version"]).stdout.toString();
  const source = await fetchSource(version, await ownRelease());
  return { source, libphp: "auto", baseline: join(here, "phpt-baseline.json.gz") };
}

const { source, libphp, baseline } = await subject();
const folder = mkdtempSync(join(tmpdir(), "phprun-conformance-"));
const docroot = join(folder, "docroot");
mkdirSync(docroot);
writeFileSync(join(docroot, "index.php"), "<?php echo 'ready';\n");
// The php.ini of the tests names this folder, and the tool empties it.
mkdirSync("/tmp/phpt-tmp", { recursive: true });
mkdirSync(dirname(logFile), { recursive: true });
writeFileSync(logFile, "");

let server: Server;

// The tool restarts the server through a command; the command comes back here, where the process is.
const control = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  idleTimeout: 0,
  async fetch(request) {
    const phprc = new URL(request.url).searchParams.get("phprc");
    if (phprc === null) return new Response(null, { status: 400 });
    try {
      await server.stop();
      await server.start(phprc);
      return new Response(null, { status: 204 });
    } catch (error) {
      return new Response(`${(error as Error).message}\n`, { status: 500 });
    }
  },
});
const restartCommand = `curl -sS --fail-with-body --get --data-urlencode "phprc=$PHPT_PHPRC" ${control.url}restart >&2`;

let tool: Bun.Subprocess | undefined;
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => tool?.kill(signal));

/** Runs the tests with workers of one kind. Returns the tool's exit code. */
async function test(kind: string | undefined, options: readonly string[]): Promise<number> {
  const flags = [`--workers=${workers}`, ...(kind === undefined ? [] : [`--isolation=${kind}`])];
  server = new Server(executable, docroot, flags);
  try {
    await server.start(join(here, "phpt-ini"));
    const command = ["node", join(here, "phpt-http.mjs"), "--src", source, "--base", server.url];
    command.push("--docroot", docroot);
    if (restarts) command.push("--restart-cmd", restartCommand);
    tool = Bun.spawn([...command, ...options, ...args], {
      cwd: root,
      stdio: ["ignore", "inherit", "inherit"],
    });
    return await tool.exited;
  } finally {
    await server.stop();
  }
}

/**
 * What passes with workers in processes, twice: a test that does so by chance alone is none. Kept beside PHP's source
 * for as long as libphp is the same; runs of some tests alone make one of their own.
 */
async function makeBaseline(): Promise<string> {
  const { size, mtimeMs } = statSync(libphp);
  const kept = join(cache, `phpt-${readBuild(libphp)?.version}-${size}-${Math.round(mtimeMs)}.json.gz`);
  const whole = !args.includes("--tests");
  if (whole && existsSync(kept)) return kept;
  const set = join(folder, "set.txt");
  const listed = Bun.spawnSync(["node", join(here, "phpt-http.mjs"), "--set", "--src", source]);
  writeFileSync(set, listed.stdout);
  const tests = whole ? ["--tests", set] : [];
  const runs = ["1", "2"].map((number) => join(folder, `process-${number}.json`));
  for (const run of runs) {
    console.log(
      `--- with workers in processes, to compare with (${run.includes("1") ? "first" : "second"} run)`,
    );
    await test("process", ["--json", run, "--quiet", ...tests]);
  }
  const made = whole ? kept : join(folder, "baseline.json.gz");
  const making = ["node", join(here, "phpt-http.mjs"), "--make-baseline", made, ...runs];
  if (Bun.spawnSync(making, { stdio: ["ignore", "inherit", "inherit"] }).exitCode !== 0)
    fail("Cannot make a baseline.");
  return made;
}

let exitCode = 1;
try {
  const known = baseline ?? (await makeBaseline());
  if (isolation !== undefined) console.log(`--- with isolation: ${isolation}`);
  exitCode = await test(isolation, ["--baseline", known]);
} catch (error) {
  console.error((error as Error).message);
} finally {
  await control.stop(true);
  rmSync(folder, { recursive: true, force: true });
}
process.exit(exitCode);
