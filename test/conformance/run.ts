#!/usr/bin/env bun
/**
 * Runs PHP's own tests through ./phprun and compares with what passes on nginx + php-fpm:
 *
 *   npm run conformance -- [--isolation=I] [--workers=N] [--no-restarts] [--executable=FILE] [options of phpt-http.mjs]
 *
 * Fetches PHP's source once, into ~/.cache/phprun. Tests that need a php.ini of their own restart the server, unless
 * --no-restarts is given. Everything else goes to phpt-http.mjs: `--tests tests/basic`, `--retry 1`, `--keepalive`…
 */
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";

const here = import.meta.dirname;
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

/** Brings the source tree of this machine's PHP; its tests come with it. */
async function fetchSource(): Promise<string> {
  const version = Bun.spawnSync(["php-config", "--version"])
    .stdout.toString()
    .split(".")
    .slice(0, 2)
    .join(".");
  const release =
    /^VERSION_CODENAME=(.*)$/m.exec(await Bun.file("/etc/os-release").text())?.[1] ?? "bookworm";
  const fetch = Bun.spawn(
    ["bash", join(here, "fetch-php-source.sh"), join(homedir(), ".cache/phprun"), `php${version}`, release],
    { stdio: ["ignore", "pipe", "inherit"] },
  );
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
      env: { ...environment, PHPRC: phprc },
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

const source = await fetchSource();
const folder = mkdtempSync(join(tmpdir(), "phprun-conformance-"));
const docroot = join(folder, "docroot");
mkdirSync(docroot);
writeFileSync(join(docroot, "index.php"), "<?php echo 'ready';\n");
// The php.ini of the tests names this folder, and the tool empties it.
mkdirSync("/tmp/phpt-tmp", { recursive: true });
mkdirSync(dirname(logFile), { recursive: true });
writeFileSync(logFile, "");

const flags = [`--workers=${workers}`, ...(isolation === undefined ? [] : [`--isolation=${isolation}`])];
const server = new Server(executable, docroot, flags);

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

let exitCode = 1;
let tool: Bun.Subprocess | undefined;
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => tool?.kill(signal));
try {
  await server.start(join(here, "phpt-ini"));
  const command = ["node", join(here, "phpt-http.mjs"), "--src", source, "--base", server.url];
  command.push("--docroot", docroot, "--baseline", join(here, "phpt-baseline.json.gz"));
  if (restarts) command.push("--restart-cmd", restartCommand);
  tool = Bun.spawn([...command, ...args], { cwd: root, stdio: ["ignore", "inherit", "inherit"] });
  exitCode = await tool.exited;
} catch (error) {
  console.error((error as Error).message);
} finally {
  await server.stop();
  await control.stop(true);
  rmSync(folder, { recursive: true, force: true });
}
process.exit(exitCode);
