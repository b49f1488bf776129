import { expect } from "bun:test";
import { chmodSync, readFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { CapturedLog, command, eventually, type Server, start, targets, test, within } from "../harness.ts";
import {
  allGone,
  childrenOf,
  descriptors,
  get,
  isRunning,
  onePool,
  Scratch,
  statusOf,
  underEachIsolation,
  WORKER_ID,
  workerPids,
  mayChangeUser,
} from "./support.ts";

/*
 * What scripts leave running is the system's business, not the server's: it goes on, holds on to nothing of ours, and
 * keeps neither a worker, nor a host, nor the server from ending.
 */

/** Scripts that start something which outlives them, and tell its pid. */
const starters = {
  "exec.php": "<?php exec('sleep 300 > /dev/null 2>&1 & echo $!', $out); echo $out[0];",
  // It goes on writing where the worker's errors go.
  "exec-stderr.php": "<?php exec('sleep 300 > /dev/null & echo $!', $out); echo $out[0];",
  "daemon.php": "<?php exec('setsid sleep 300 > /dev/null 2>&1 & echo $!', $out); echo $out[0];",
  "popen.php": "<?php $h = popen('sleep 300 > /dev/null 2>&1 & echo $!', 'r'); echo fgets($h);",
  "proc-open.php":
    "<?php $p = proc_open(['sleep', '300'], [0 => ['pipe', 'r'], 1 => ['pipe', 'w']], $pipes); echo proc_get_status($p)['pid'];",
};

const forkers = {
  "fork.php": "<?php $pid = pcntl_fork(); if ($pid === 0) { sleep(300); exit; } echo $pid;",
  "fork-setsid.php":
    "<?php $pid = pcntl_fork(); if ($pid === 0) { posix_setsid(); while (true) sleep(300); } echo $pid;",
};

const files = { "pid.php": `<?php echo ${WORKER_ID};`, ...starters, ...forkers };

/** Ends what a test has let a script start. */
class Started implements Disposable {
  readonly pids: number[] = [];

  async by(server: Server, script: string): Promise<number> {
    const { status, text } = await get(server, `/${script}`);
    expect(status).toBe(200);
    const pid = Number(text);
    expect(pid).toBeGreaterThan(1);
    this.pids.push(pid);
    expect(isRunning(pid)).toBeTrue();
    if (script in starters) {
      // Until it runs its own program it has all that its parent has.
      await eventually("the program runs", () => (/^Name:\s+sleep$/m.test(statusOf(pid)) ? true : undefined));
    }
    return pid;
  }

  [Symbol.dispose](): void {
    for (const pid of this.pids) if (isRunning(pid)) process.kill(pid, "SIGKILL");
  }
}

/** What no process of a script may hold: sockets that listen, and connections of clients. */
function inodesOfPort(port: number): string[] {
  return ["/proc/net/tcp", "/proc/net/tcp6"].flatMap((file) =>
    readFileSync(file, "utf8")
      .split("\n")
      .map((line) => line.trim().split(/\s+/))
      .filter(([, local]) => local?.endsWith(`:${port.toString(16).toUpperCase().padStart(4, "0")}`))
      .map((fields) => `socket:[${fields[9]}]`),
  );
}

underEachIsolation(({ threads, begin }) => {
  /** What a thread may start: it is refused to fork. */
  const left = Object.keys(threads ? starters : { ...starters, ...forkers });

  for (const script of Object.keys(starters)) {
    test(`${script}: the program holds nothing of the server's, and the server ends without it`, async () => {
      using started = new Started();
      await using server = await begin({ files, config: onePool({ worker_count: 1 }) });
      const [worker = 0] = await workerPids(server, 1);
      const hosts = childrenOf(server.pid);
      const pid = await started.by(server, script);

      const open = [...descriptors(pid)];
      const ours = new Set([...descriptors(worker)].filter(([fd]) => fd > 2).map(([, target]) => target));
      const beyond = open.filter(([fd, target]) => fd > 2 && !target.endsWith(`/${script}`));
      expect(
        beyond.filter(([, target]) => ours.has(target) || /memfd|anon_inode|socket:/.test(target)),
      ).toEqual([]);
      const listening = inodesOfPort(server.port);
      expect(open.filter(([, target]) => listening.includes(target))).toEqual([]);

      expect(await server.stop()).toBe(0);
      await allGone([...hosts, worker]);
      expect(isRunning(pid)).toBeTrue();
      await canListen(server.port);
    });
  }

  test("what scripts left running keeps no worker and no host from being replaced", async () => {
    using started = new Started();
    await using server = await begin({ files, config: onePool({ worker_count: 1 }) });
    for (const script of left) await started.by(server, script);
    const [worker = 0] = await workerPids(server, 1);
    // The end of a thread is that of its host.
    if (!threads) {
      process.kill(worker, "SIGKILL");
      await allGone([worker]);
    }
    const [next = 0] = await workerPids(server, 1);
    expect((await get(server, "/pid.php")).text).toBe(String(next));

    const [host = 0] = childrenOf(server.pid);
    process.kill(host, "SIGKILL");
    await allGone([host, next]);
    expect((await get(server, "/pid.php")).status).toBe(200);
    expect(childrenOf(server.pid)).not.toContain(host);
  });

  test("what scripts left running keeps no port open when the front is killed", async () => {
    using started = new Started();
    await using server = await begin({ files, config: onePool({ worker_count: 1 }) });
    for (const script of left) await started.by(server, script);
    const [worker = 0] = await workerPids(server, 1);
    const hosts = childrenOf(server.pid);
    server.signal("SIGKILL");
    await allGone([server.pid, ...hosts, worker]);
    await canListen(server.port);
  });

  test("requests that start programs leave no descriptor in the front", async () => {
    using started = new Started();
    await using server = await begin({ files, config: onePool({ worker_count: 1 }) });
    await started.by(server, "exec.php");
    const [host = 0] = childrenOf(server.pid);
    const before = descriptors(server.pid).size;
    const hostBefore = descriptors(host).size;
    for (let i = 0; i < 5; i++) await started.by(server, "exec-stderr.php");
    await eventually(
      "the front has as many descriptors as before",
      () => (descriptors(server.pid).size <= before ? true : undefined),
      () => `${before}, now ${JSON.stringify([...descriptors(server.pid)])}`,
    );
    expect(descriptors(host).size).toBeLessThanOrEqual(hostBefore);
  });

  test("programs of scripts have the soft limit of open files that the system has, and may raise it", async () => {
    const script = "<?php echo shell_exec('ulimit -Sn; ulimit -Hn; ulimit -Sn 1025 && ulimit -Sn');";
    await using server = await begin({
      files: { "limit.php": script },
      config: onePool({ worker_count: 1 }),
    });
    const [, hard = 0] = limitsOf(server.pid);
    const { text } = await get(server, "/limit.php");
    // A host of threads needs more itself: what all of them open is in one table.
    const inherited = Math.min(threads ? 8192 : 1024, hard);
    expect(text.trim().split("\n").slice(0, 2).map(Number)).toEqual([inherited, hard]);
    if (hard > 1024) expect(text.trim().split("\n")[2]).toBe("1025");
    // The front itself holds every connection.
    expect(limitsOf(server.pid)).toEqual([hard, hard]);
  });

  for (const script of threads ? ["exec-stderr.php", "popen.php"] : left) {
    test(`${script}: what it left running does not hold up a reload, nor the old generation's end`, async () => {
      using started = new Started();
      await using server = await begin({ files, config: onePool({ worker_count: 1 }) });
      const [worker = 0] = await workerPids(server, 1);
      const hosts = childrenOf(server.pid);
      const pid = await started.by(server, script);
      server.signal("SIGHUP");
      await allGone([...hosts, worker]);
      const { status, text } = await get(server, "/pid.php");
      expect(status).toBe(200);
      expect(text).not.toBe(String(worker));
      expect(isRunning(pid)).toBeTrue();
    });
  }
});

for (const script of Object.keys(forkers)) {
  test(`${script}: a fork that outlives its request keeps no client and no listener, and the server ends without it`, async () => {
    using started = new Started();
    await using server = await start({ files, config: onePool({ worker_count: 1 }) });
    const [worker = 0] = await workerPids(server, 1);
    const hosts = childrenOf(server.pid);
    // The answer came and the connection has closed, while the child of the worker lives.
    const pid = await started.by(server, script);
    const listening = inodesOfPort(server.port);
    expect([...descriptors(pid).values()].filter((target) => listening.includes(target))).toEqual([]);
    for (let i = 0; i < 3; i++) expect((await get(server, "/pid.php")).text).toBe(String(worker));

    expect(await server.stop()).toBe(0);
    await allGone([...hosts, worker]);
    expect(isRunning(pid)).toBeTrue();
    await canListen(server.port);
  });
}

/* ---- as another user ---- */

for (const target of targets) {
  test.skipIf(!mayChangeUser)(
    `${target}: scripts of a pool with a user of its own have that user's rights alone`,
    async () => {
      using docroot = new Scratch();
      chmodSync(docroot.path, 0o755);
      docroot.write("pid.php", "<?php echo getmypid();");
      docroot.write(
        "who.php",
        `<?php error_log('from nobody'); $temp = tmpfile(); echo json_encode([
        'user' => posix_getpwuid(posix_getuid())['name'], 'effective' => posix_geteuid() === posix_getuid(),
        'groups' => array_values(array_unique(posix_getgroups())) === [posix_getgid()],
        'root again' => @posix_setuid(0), 'shadow' => @file_get_contents('/etc/shadow') !== false,
        'signals the front' => @posix_kill((int) $_GET['front'], 0),
        'upload' => filesize($_FILES['f']['tmp_name']) === 100000 && fileowner($_FILES['f']['tmp_name']) === posix_getuid(),
        'temp' => fwrite($temp, 'x') === 1, 'own /proc' => count(scandir('/proc/self/fd')) > 2,
        'program' => trim(shell_exec('id -un'))]);`,
      );
      await using server = await start({
        target,
        docroot: docroot.path,
        config: onePool({ worker_count: 1, user: "nobody" }, { server: { spool_dir: tmpdir() } }),
      });
      const form = new FormData();
      form.append("f", new Blob(["x".repeat(100_000)]), "f");
      const answer = await fetch(`${server.url}/who.php?front=${server.pid}`, { method: "POST", body: form });
      expect(await answer.json()).toEqual({
        user: "nobody",
        effective: true,
        groups: true,
        "root again": false,
        shadow: false,
        "signals the front": false,
        upload: true,
        temp: true,
        "own /proc": true,
        program: "nobody",
      });
      await server.waitForLog(/from nobody/);

      const [worker = 0] = await workerPids(server, 1);
      process.kill(worker, "SIGKILL");
      await allGone([worker]);
      const [next = 0] = await workerPids(server, 1);
      expect((await get(server, "/pid.php")).text).toBe(String(next));
      const hosts = childrenOf(server.pid);
      server.signal("SIGKILL");
      await allGone([server.pid, ...hosts, next]);
    },
  );
}

/* ---- as the first process of a container ---- */

const inContainer = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];
const permitted = Bun.which("unshare") !== null && Bun.spawnSync([...inContainer, "true"]).exitCode === 0;

/** A server that is process 1 of its own. */
class Container implements AsyncDisposable {
  readonly log = new CapturedLog();
  readonly exited: Promise<number>;
  url = "";
  /** Seen from here. */
  pid = 0;
  readonly #scratch = new Scratch();
  readonly #child: Bun.Subprocess<"ignore", "pipe", "pipe">;

  constructor(scripts: Record<string, string>) {
    for (const [name, text] of Object.entries(scripts)) this.#scratch.write(`public/${name}`, text);
    const config = this.#scratch.write(
      "phprun.yaml",
      JSON.stringify({
        ...onePool({ worker_count: 1 }),
        server: { host: "127.0.0.1", port: 0, spool_dir: this.#scratch.path },
        php: { docroot: `${this.#scratch.path}/public` },
      }),
    );
    const line = [...inContainer, ...command(targets[0] ?? "source", "serve", "--config", config)];
    this.#child = Bun.spawn(line, {
      stdio: ["ignore", "pipe", "pipe"],
      cwd: this.#scratch.path,
      env: { ...process.env, NO_COLOR: "1" },
    });
    void this.log.follow(this.#child.stdout);
    void this.log.follow(this.#child.stderr);
    this.exited = this.#child.exited;
  }

  async ready(): Promise<void> {
    const [, url = ""] = await this.log.wait(/^ {2}ready +(\S+)$/m, 0);
    this.url = url;
    [this.pid = 0] = childrenOf(this.#child.pid);
  }

  async get(path: string): Promise<string> {
    return await (await fetch(this.url + path)).text();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.exited;
    this.#scratch[Symbol.dispose]();
  }
}

for (const signal of ["SIGTERM", "SIGINT"] as const) {
  test.skipIf(!permitted)(`as process 1, ${signal} ends the server and everything it started`, async () => {
    await using server = new Container(files);
    await server.ready();
    expect(statusOf(server.pid)).toMatch(/^NSpid:\s+\d+\s+1$/m);
    const worker = Number(await server.get("/pid.php"));
    expect(worker).toBeGreaterThan(1);
    process.kill(server.pid, signal);
    expect(await within(server.exited, "the container has ended")).toBe(0);
    await allGone([server.pid]);
  });
}

test.skipIf(!permitted)(
  "as process 1, the server takes note of the ends of what scripts left running",
  async () => {
    await using server = new Container({
      ...files,
      "brief.php":
        "<?php exec('sleep 0.05 > /dev/null 2>&1 & sleep 0.05 > /dev/null 2>&1 & echo $!', $out); echo $out[0];",
    });
    await server.ready();
    for (let i = 0; i < 5; i++) await server.get("/brief.php");
    // The front and its host.
    await eventually(
      "no child of process 1 is a zombie",
      () => (childrenOf(server.pid).length === 1 ? true : undefined),
      () => childrenOf(server.pid).map(statusOf).join("\n"),
    );
    expect(await server.get("/pid.php")).toMatch(/^\d+$/);
  },
);

function limitsOf(pid: number): number[] {
  const [, soft, hard] =
    /^Max open files\s+(\d+)\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/limits`, "utf8")) ?? [];
  return [Number(soft), Number(hard)];
}

/** Nobody listens there any more, and nobody who could is left. */
async function canListen(port: number): Promise<void> {
  await eventually(`port ${port} is free`, async () => {
    const probe = createServer();
    const listening = new Promise<true | undefined>((resolve) => {
      probe.once("error", () => resolve(undefined));
      probe.listen(port, "127.0.0.1", () => resolve(true));
    });
    const free = await listening;
    probe.close();
    return free;
  });
}
