import { expect } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { start, test } from "../harness.ts";
import {
  allGone,
  ask,
  childrenOf,
  descriptors,
  GATE,
  get,
  memoryKb,
  onePool,
  Scratch,
  statusOf,
  underEachIsolation,
  WORKER_ID,
  workerPids,
} from "./support.ts";

const files = {
  "pid.php": `<?php echo ${WORKER_ID};`,
  "wait.php": `<?php ${GATE} gate('wait'); echo ${WORKER_ID};`,
  "cached.php": "<?php return 1;",
};

test("a worker keeps the descriptors it needs and none of the front's", async () => {
  await using server = await start({ files, config: onePool({ worker_count: 2 }) });
  const [first = 0, second = 0] = await workerPids(server, 2);
  await get(server, "/pid.php");
  const listening = listeningInodes(server.port);
  expect(listening).not.toBeEmpty();

  for (const pid of [first, second]) {
    const open = descriptors(pid);
    const others = [...open].filter(([fd]) => fd > 2).map(([, target]) => target);
    const sockets = others.filter((target) => target.startsWith("socket:"));
    // The wake-up and the log; 1 and 2 lead to the front too.
    expect(sockets).toBeArrayOfSize(2);
    expect(open.get(0)).toBe("/dev/null");
    expect([...open.values()].filter((target) => listening.includes(target))).toEqual([]);
    const strange = others.filter((target) => /anon_inode|pipe:|memfd:phprun/.test(target));
    expect(strange).toEqual([]);
    // Beside the sockets: the spool file, its own memory figures, and what PHP itself opened while it started.
    for (const target of others.filter((other) => !sockets.includes(other)))
      expect(target).toMatch(new RegExp(`\\(deleted\\)$|^/proc/${pid}/statm$`));
  }
  expect((await get(server, "/pid.php")).status).toBe(200);
});

test("a worker handles its own deadline's signal and those of a crash, and blocks none", async () => {
  await using server = await start({ files, config: onePool({ worker_count: 1 }) });
  const [pid = 0] = await workerPids(server, 1);
  await get(server, "/pid.php");
  const status = statusOf(pid);
  expect(status).toMatch(/^SigBlk:\s+0+$/m);
  // Programs that it starts would find them ignored, too.
  expect(signalSet(status, "SigIgn")).toEqual([]);
  // Of Bun's crash reporter (5, 31, …) and its garbage collector's signal (30) nothing must be left.
  const expected = new Set([
    1, // hang-up, interrupt and terminate are the front's to answer
    2,
    15,
    13, // a peer that hangs up and a file that is too large are errors, not the end
    25,
    27, // PHP's own time limit
    33, // the C library's
    34 + 5, // the soft deadline
    4, // crashes: the place is noted before the worker dies of them
    6,
    7,
    8,
    11,
  ]);
  expect(signalSet(status, "SigCgt").filter((signal) => !expected.has(signal))).toEqual([]);
  expect((await get(server, "/pid.php")).text).toBe(String(pid));
});

underEachIsolation(({ begin }) => {
  test("a program that a script starts inherits none of the worker's sockets and files", async () => {
    const script =
      "<?php echo shell_exec('ls -l /proc/self/fd'), '@@', shell_exec('grep ^Sig /proc/self/status');";
    await using server = await begin({ files: { "run.php": script }, config: onePool({ worker_count: 1 }) });
    const { text } = await get(server, "/run.php");
    const [listing = "", signals = ""] = text.split("@@");
    // PHP itself passes on the script it runs, everywhere.
    const beyondStandard = [...listing.matchAll(/ (\d+) -> (\S+)/g)].filter(
      ([, fd, target]) => Number(fd) > 2 && !target?.startsWith("/proc/") && !target?.endsWith("/run.php"),
    );
    expect(beyondStandard.map(([found]) => found)).toEqual([]);
    expect(signals).toMatch(/^SigBlk:\s+0+$/m);
    // SIGPIPE, as under php-fpm, and two of the C library's own.
    expect(signalSet(signals, "SigIgn").filter((signal) => ![13, 32, 33].includes(signal))).toEqual([]);
  });

  test("workers end with their host, and the next host serves", async () => {
    await using server = await begin({ files, config: onePool({ worker_count: 3 }) });
    const workers = await workerPids(server, 3);
    const [host = 0] = childrenOf(server.pid);
    process.kill(host, "SIGKILL");
    await allGone([host, ...workers]);
    await server.waitForLog(/host ended with SIGKILL/);
    const { status, text } = await get(server, "/pid.php");
    expect(status).toBe(200);
    expect(workers).not.toContain(Number(text));
  });

  test("everything ends when the front is killed, and nothing stays behind", async () => {
    using scratch = new Scratch();
    await using server = await begin({
      files,
      config: onePool({ worker_count: 2 }),
      env: { TMPDIR: scratch.path },
    });
    const workers = await workerPids(server, 2);
    const hosts = childrenOf(server.pid);
    // One of them at work, in a loop that looks at nothing.
    using busy = await ask(server, "/wait.php");
    await server.record("wait", /here/);
    server.signal("SIGKILL");
    await server.exited;
    await allGone([...hosts, ...workers]);
    await busy.end();
    expect(readdirSync(scratch.path)).toEqual([]);
    expect(listeningInodes(server.port)).toEqual([]);
  });

  test("a script that one worker has compiled is found in opcache by the others", async () => {
    const status = `<?php
      $file = __DIR__ . '/cached.php';
      if (isset($_GET['run'])) { include $file; }
      $all = opcache_get_status();
      echo json_encode(['pid' => (int) ${WORKER_ID}, 'hits' => $all['scripts'][$file]['hits'] ?? null]);`;
    await using server = await begin({
      files: {
        ...files,
        "status.php": status,
        "compile.php": `<?php include 'cached.php'; ${GATE} gate('wait'); echo ${WORKER_ID};`,
      },
      config: onePool({ worker_count: 2, ini: { "opcache.file_update_protection": "0" } }),
    });
    using busy = await ask(server, "/compile.php");
    await server.record("wait", /here/);
    const other = JSON.parse((await get(server, "/status.php?run")).text);
    expect(other).toEqual({ pid: expect.any(Number), hits: 1 });
    server.openGate("wait");
    expect((await busy.response()).text).not.toBe(String(other.pid));
  });
});

test("every extension that the same php.ini gives the command line loads here too", async () => {
  await using server = await start({
    files: {
      "all.php":
        "<?php echo json_encode([get_loaded_extensions(), php_ini_loaded_file(), dirname(strtok(php_ini_scanned_files(), ','))]);",
    },
    config: onePool({ worker_count: 1 }),
  });
  const [loaded, ini, folder] = JSON.parse((await get(server, "/all.php")).text) as [
    string[],
    string,
    string,
  ];
  const modules = (args: string[]) =>
    Bun.spawnSync(["php", ...args, "-r", "echo json_encode(get_loaded_extensions());"], {
      env: { ...process.env, PHP_INI_SCAN_DIR: folder.trim() },
    }).stdout.toString();
  const builtIn = JSON.parse(modules(["-n"])) as string[];
  const configured = (JSON.parse(modules(["-c", ini])) as string[]).filter((name) => !builtIn.includes(name));
  expect(configured.length).toBeGreaterThan(5);
  expect(configured.filter((name) => !loaded.includes(name))).toEqual([]);
  expect(server.log.text).not.toContain("Unable to load");
});

test("an idle worker takes at most 2 MB of its own share, and 1 MB that is its alone", async () => {
  await using server = await start({ files, config: onePool({ worker_count: 16 }) });
  const workers = await workerPids(server, 16);
  const answers = await Promise.all(Array.from({ length: 200 }, () => get(server, "/pid.php")));
  const served = [...new Set(answers.map(({ text }) => Number(text)))];
  expect(workers).toContainValues(served);
  // Who has served has pages that others have not touched yet, so shares are told from all of them together.
  const shares = workers.map((pid) => memoryKb(pid, "Pss"));
  expect(shares.reduce((sum, share) => sum + share, 0) / workers.length).toBeLessThanOrEqual(2048);
  for (const pid of workers) {
    expect(memoryKb(pid, "Private_Clean", "Private_Dirty")).toBeLessThanOrEqual(1024);
  }
});

/** Sockets that listen on a TCP port, named as descriptors name them. */
function listeningInodes(port: number): string[] {
  const hex = port.toString(16).toUpperCase().padStart(4, "0");
  return ["/proc/net/tcp", "/proc/net/tcp6"]
    .flatMap((file) => readFileSync(file, "utf8").split("\n"))
    .map((line) => line.trim().split(/\s+/))
    .filter((fields) => fields[1]?.endsWith(`:${hex}`) === true && fields[3] === "0A")
    .map((fields) => `socket:[${fields[9]}]`);
}

/** Numbers of the signals in one of the masks of /proc/PID/status. */
function signalSet(status: string, name: string): number[] {
  const mask = BigInt(`0x${new RegExp(`^${name}:\\s+([0-9a-f]+)`, "m").exec(status)?.[1] ?? "0"}`);
  return Array.from({ length: 64 }, (_, index) => index + 1).filter(
    (signal) => (mask >> BigInt(signal - 1)) & 1n,
  );
}
