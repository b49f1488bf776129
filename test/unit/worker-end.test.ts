import { afterEach, expect, test } from "bun:test";
import { Leaving, Phase } from "../../ffi/layout.ts";
import { PoolMemory } from "../../ffi/pool-memory.ts";
import { transport } from "../../ffi/transport.ts";
import { crashScene } from "../../src/pool/crash-scene.ts";
import { GenerationLog } from "../../src/pool/generation-log.ts";
import { Slots } from "../../src/pool/slots.ts";
import { exitOf, restartReason } from "../../src/pool/worker-end.ts";
import { Workers } from "../../src/pool/workers.ts";
import { TestLog } from "./control-helper.ts";
import { ModelHost } from "./pool-model-host.ts";
import { JobDouble } from "./pool-model-job.ts";

const clean = { code: 0 };
const opened: Rig[] = [];
afterEach(() => {
  for (const rig of opened.splice(0)) rig.close();
});

/** A generation of four threads, as far as its table, its slots and its log go. */
class Rig {
  readonly memory = new PoolMemory({ slots: 4, workers: 4, requestBytes: 4096, responseBytes: 4096 });
  readonly host = new ModelHost(this.memory.fd);
  readonly workers = new Workers(4);
  readonly slots = new Slots(this.memory, {
    served: () => undefined,
    lost: (running, why) => running.job.lost(why),
    freed: () => undefined,
  });
  readonly written = new TestLog();
  readonly renewals: string[] = [];
  readonly log = new GenerationLog(this.written.log, 7, this.slots, (why) => this.renewals.push(why));

  constructor() {
    opened.push(this);
    this.log.silent = false;
    for (const { number } of this.workers.takeDue(0)) {
      const pid = this.host.spawn(number);
      this.workers.apply({ kind: "spawned", worker: number, pid, generation: 7 }, 0);
    }
  }

  /** A worker has begun with a request. */
  run(worker: number): JobDouble {
    const job = new JobDouble(worker, "w", true, true, {
      starting: () => undefined,
      returned: () => undefined,
    });
    this.slots.submit({ job, queuedAtMs: 0 });
    const slot = job.place?.slot ?? -1;
    for (let i = 0; i < 50 && this.memory.phase(slot) !== Phase.running; i++) this.host.step(worker);
    expect([this.memory.phase(slot), this.memory.owner(slot)]).toEqual([Phase.running, worker]);
    return job;
  }

  /** As ffi/php/crash.c does. */
  crash(worker: number, place: string): void {
    const { layout } = transport();
    const { bytes } = this.memory;
    const table = bytes.readUInt32LE(layout.headerWorkersAt);
    bytes.write(`${place}\0`, table + worker * layout.workerBytes + layout.workerLastFunction);
  }

  /** What was logged, without the time. */
  get lines(): string[] {
    return this.written.lines.map((line) => line.trim().replace(/^\S+ \S+ +/, ""));
  }

  close(): void {
    this.host.close();
    this.memory.close();
  }
}

test("the thread that its host died of is told of by name, the others in one line", () => {
  const rig = new Rig();
  rig.run(0);
  rig.run(2);
  rig.crash(2, "f() /a.php:3");
  const scene = crashScene(rig.workers, rig.slots);
  expect([scene.culprit, scene.others]).toEqual([{ worker: 2, place: "f() /a.php:3" }, [0, 1, 3]]);
  expect([...scene.requests.keys()]).toEqual([0, 2]);
  rig.log.crashed(scene, { signal: 11 });
  expect(rig.lines).toEqual([
    expect.stringMatching(
      /^error a worker crashed, and took its host with it: signal 11 \(SIGSEGV\) worker=2 gen=7 pid=\d+ in="f\(\) \/a.php:3"$/,
    ),
    "warn  3 workers are lost with their host, and with it 1 request gen=7",
  ]);
});

test("a host that was killed has no culprit, and who was not there is not missed", () => {
  const rig = new Rig();
  for (const worker of [0, 1, 3]) {
    rig.workers.apply({ kind: "exited", worker, pid: 1, exit: clean }, 5000, 1);
    rig.crash(worker, "left over from before");
  }
  const scene = crashScene(rig.workers, rig.slots);
  expect(scene).toEqual({ culprit: null, requests: new Map(), others: [2] });
  rig.log.crashed(scene, { signal: 9 });
  expect(rig.lines).toEqual(["warn  1 worker is lost with its host, and with it no request gen=7"]);
});

test("a thread that does not come back is told of with its script, and so is its return", () => {
  const rig = new Rig();
  rig.run(1);
  const [[, running] = []] = [...rig.slots.running()];
  rig.log.lost(1, running!.job.facts.script, running!);
  rig.log.cameBack(1, 99);
  expect(rig.lines).toEqual([
    expect.stringMatching(
      /^error worker 1 does not come back from .*; its host will be replaced worker=1 gen=7/,
    ),
    "info  a lost worker came back, and has ended worker=1 gen=7 pid=99",
  ]);
});

test("what a host says to be replaced is no message, also while it starts", () => {
  const rig = new Rig();
  rig.log.silent = true;
  const complaints: string[] = [];
  rig.log.collect(complaints);
  const text = "opcache_reset() was called";
  rig.log.record({ level: "renew", worker: 0, request: 0, script: "", text });
  expect([rig.renewals, rig.lines, complaints]).toEqual([[text], [], []]);
});

test("why a worker is replaced", () => {
  expect([
    restartReason(clean, undefined, Leaving.asked, "lost"),
    restartReason(clean, undefined, Leaving.memory, "lost"),
    restartReason(clean, undefined, Leaving.memory, null),
    restartReason(clean, undefined, Leaving.asked, "idle"),
    restartReason({ code: 1 }, undefined, Leaving.not, null),
    restartReason({ signal: 11 }, undefined, Leaving.asked, "idle"),
  ]).toEqual(["lost", "lost", "memory", "idle", "exit", "crash"]);
});

test("a worker script's end is counted by what it says of it, unless something stronger has ended it", () => {
  const leavings = [Leaving.script, Leaving.fatal, Leaving.boot, Leaving.exception] as const;
  expect(leavings.map((leaving) => restartReason(clean, undefined, leaving, null))).toEqual([
    "script",
    "fatal",
    "boot",
    "exception",
  ]);
  for (const leaving of leavings) {
    expect(restartReason({ signal: 9 }, undefined, leaving, null)).toBe("crash");
    expect(restartReason({ code: 250 }, undefined, leaving, null)).toBe("exit");
    expect(restartReason(clean, undefined, leaving, "lost")).toBe("lost");
  }
  // It was asked to end, and has: of its own accord it would have gone on.
  expect(restartReason(clean, undefined, Leaving.asked, "max_requests")).toBe("max_requests");
});

test("the log has a line for a script's end that somebody should know of", () => {
  const rig = new Rig();
  const said = (leaving: number): string[] => {
    const before = rig.lines.length;
    rig.log.ended(0, leaving);
    return rig.lines.slice(before);
  };
  expect(said(Leaving.boot)).toEqual([
    expect.stringMatching(/^error a worker did not boot: its script has ended/),
  ]);
  expect(said(Leaving.fatal)).toEqual([expect.stringMatching(/^info .*it was ended by a fatal error/)]);
  expect(said(Leaving.exception)).toEqual([expect.stringMatching(/^info .*it had an uncaught exception/)]);
  expect(said(Leaving.asked)).toEqual([]);
  expect(said(Leaving.memory)).toEqual([]);
});

test("how a process ended, in Bun's words and in ours", () => {
  expect([exitOf(3, null), exitOf(null, "SIGSEGV"), exitOf(null, 9), exitOf(null, null)]).toEqual([
    { code: 3 },
    { signal: 11 },
    { signal: 9 },
    { code: 0 },
  ]);
});
