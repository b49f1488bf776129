import { beforeAll, expect, test } from "bun:test";
import { closeSync, fstatSync, ftruncateSync, globSync } from "node:fs";
import { join } from "node:path";

import { compile, root } from "../../ffi/compile.ts";
import { Leaving, Outcome, Phase, WorkerState } from "../../ffi/layout.ts";
import { PoolMemory } from "../../ffi/pool-memory.ts";
import { socketPair } from "../../ffi/system.ts";
import { PhprunError } from "../../src/errors.ts";
import { connectFd } from "../../src/pool/connect-fd.ts";
import { eventually, within } from "../harness.ts";

const program = join(root, "build/test/echo-worker");
const sizes = { slots: 6, workers: 2, requestBytes: 16 * 1024, responseBytes: 8 * 1024 };

beforeAll(async () => {
  const transport = globSync("ffi/transport/*.c", { cwd: root }).map((file) => join(root, file));
  await compile(program, [join(import.meta.dir, "helpers/echo-worker.c"), ...transport.sort()], []);
});

/** A pool with one worker in a process of its own, and a front that waits to be woken. */
class Front implements AsyncDisposable {
  readonly memory = new PoolMemory(sizes);
  readonly #pair = socketPair();
  readonly #worker: Bun.Subprocess;
  #socket: { end(): void } | undefined;
  #woken = Promise.withResolvers<void>();
  wakeUps = 0;

  constructor(number = 0) {
    this.#worker = Bun.spawn([program, "3", "4", String(number)], {
      stdio: ["ignore", "inherit", "inherit", this.memory.fd, this.#pair[1]],
    });
  }

  static async start(): Promise<Front> {
    const front = new Front();
    front.#socket = await connectFd(front.#pair[0], {
      data: (_socket, bytes) => {
        front.wakeUps += bytes.length;
        front.#woken.resolve();
        front.#woken = Promise.withResolvers();
      },
    });
    await eventually(
      "the worker is idle",
      () => front.memory.worker(0).state === WorkerState.idle || undefined,
    );
    return front;
  }

  get pid(): number {
    return this.#worker.pid;
  }

  get exited(): Promise<number> {
    return within(this.#worker.exited, "the worker has ended");
  }

  get woken(): Promise<void> {
    return within(this.#woken.promise, "the front is woken");
  }

  submit(
    slot: number,
    block: string,
    body = "",
    about: Partial<Parameters<PoolMemory["describe"]>[1]> = {},
  ): void {
    const at = this.memory.requestAt(slot);
    const blockBytes = this.memory.bytes.latin1Write(block, at, sizes.requestBytes);
    const bodyBytes = this.memory.bytes.latin1Write(body, at + blockBytes, sizes.requestBytes);
    const inline = { bodyInline: true, bodyBytes, bodyOffset: blockBytes };
    this.memory.describe(slot, { id: 1, blockBytes, blockValues: 0, options: 0, ...inline, ...about });
    this.memory.submit(slot);
    this.memory.wakeWorker();
  }

  /** Slots with news, as one drain tells them. */
  drain(): number[] {
    const slots: number[] = [];
    this.memory.beginDrain();
    for (let slot = this.memory.nextCompleted(); slot >= 0; slot = this.memory.nextCompleted())
      slots.push(slot);
    return slots;
  }

  /** Drains until a slot has ended; returns its body. */
  async ended(slot: number): Promise<string> {
    let body = "";
    let position = 0;
    for (;;) {
      // Asked for before the look, or the wake-up in between would be missed.
      const next = this.woken;
      if (this.drain().includes(slot)) {
        const { used, phase } = this.memory.news(slot);
        const start = this.memory.bodyAt(slot);
        const size = this.memory.bodySize(slot);
        for (let i = 0; i < used; i++)
          body += String.fromCharCode(this.memory.bytes[start + ((position + i) % size)] ?? 0);
        position = (position + used) % size;
        this.memory.consume(slot, used);
        if (phase === Phase.ended) {
          next.catch(() => undefined);
          return body;
        }
      }
      await next;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#worker.kill("SIGKILL");
    await this.#worker.exited;
    this.#socket?.end();
    closeSync(this.#pair[1]);
    closeSync(this.memory.fd);
  }
}

test("a request goes to a worker in another process and its answer comes back", async () => {
  await using front = await Front.start();
  front.submit(4, "block of bytes \xe9\xff", "and a body", { id: 4_000_000_000, blockValues: 7, options: 3 });
  expect(await front.ended(4)).toBe("block of bytes \xe9\xffand a body");
  expect(front.memory.news(4)).toMatchObject({ phase: Phase.ended, outcome: Outcome.head });
  expect(front.memory.status(4)).toBe(201);
  expect(front.memory.head(4)).toBe("X-Slot\x004 4000000000 7 1 3 10 17\0");
  expect(front.memory.phpMilliseconds(4)).toBe(2.5);
  expect(front.memory.owner(4)).toBe(0);
  expect(front.memory.phase(4)).toBe(Phase.ended);
  front.memory.release(4);
  expect(front.memory.phase(4)).toBe(Phase.free);
});

test("sizes and offsets beyond 32 bits arrive whole", async () => {
  await using front = await Front.start();
  const about = { bodyInline: false, bodyBytes: 2 ** 40 + 5, bodyOffset: 2 ** 45 + 2 ** 32 + 1 };
  front.submit(0, "x", "", about);
  await front.ended(0);
  expect(front.memory.head(0)).toBe(`X-Slot\x000 1 0 0 0 ${about.bodyBytes} ${about.bodyOffset}\0`);
});

test("a response larger than its buffer comes in pieces", async () => {
  await using front = await Front.start();
  const block = "0123456789".repeat(700);
  const body = "abcdefghijklm".repeat(700);
  front.submit(1, block, body);
  expect(await front.ended(1)).toBe(block + body);
});

test("a worker's record tells what it is and has done", async () => {
  await using front = await Front.start();
  for (let slot = 0; slot < 3; slot++) {
    front.submit(slot, "x");
    await front.ended(slot);
  }
  await eventually("it has counted", () => front.memory.worker(0).requests === 3 || undefined);
  expect(front.memory.worker(0)).toEqual({
    state: WorkerState.idle,
    pid: front.pid,
    generation: 7,
    requests: 3,
    startedNs: 0,
    memoryBytes: 5_000_000_000,
    ownBytes: 0,
    droppedLogs: 0,
    leaving: Leaving.not,
    bootedNs: 0,
    lastFunction: "",
  });
  expect(front.memory.workerSlot(0)).toBe(0xffff_ffff);
  expect(front.memory.worker(1).state).toBe(WorkerState.none);
});

test("a slot that is withdrawn is free again, and may be submitted however often while nobody takes anything", async () => {
  const memory = new PoolMemory({ ...sizes, workers: 1 });
  // The entry at the head stays wanted, so the ring cannot be cleared of those behind it.
  memory.submit(0);
  let refused = 0;
  for (let i = 0; i < 100; i++) {
    if (memory.submit(1)) expect(memory.withdraw(1)).toBe(true);
    else refused++;
    expect(memory.phase(1)).toBe(Phase.free);
  }
  expect(refused).toBeGreaterThan(0);
  expect(memory.withdraw(0)).toBe(true);
  expect(memory.submit(1)).toBe(true);
  expect(memory.phase(1)).toBe(Phase.queued);
});

test("the front is woken once for all that is completed before it looks", async () => {
  await using front = await Front.start();
  const woken = front.woken;
  for (let slot = 0; slot < sizes.slots; slot++) front.submit(slot, "x");
  const all = () => Array.from({ length: sizes.slots }, (_, slot) => front.memory.phase(slot));
  await eventually("all are completed", () => all().every((phase) => phase === Phase.ended) || undefined);
  await woken;
  expect(front.wakeUps).toBe(1);
  expect(front.drain()).toEqual([0, 1, 2, 3, 4, 5]);
  expect(front.drain()).toEqual([]);
});

test("a worker that is retired ends cleanly, and one that dies leaves the slot it ran", async () => {
  {
    await using front = await Front.start();
    front.memory.retire(0);
    expect(await front.exited).toBe(0);
    expect(front.memory.bury(0)).toBe(-1);
    expect(front.memory.worker(0).state).toBe(WorkerState.gone);
  }
  await using front = await Front.start();
  front.submit(3, "die");
  await front.exited;
  expect(front.memory.phase(3)).toBe(Phase.running);
  expect(front.memory.workerSlot(0)).toBe(3);
  expect(front.memory.bury(0)).toBe(3);
  front.memory.release(3);
  expect(front.memory.bury(0)).toBe(-1);
  expect(front.memory.resubmitOrphans()).toBe(0);
});

test("a slot that is in use cannot be submitted again", async () => {
  await using front = await Front.start();
  front.submit(2, "x");
  expect(() => front.memory.submit(2)).toThrow(PhprunError);
  expect(() => front.memory.submit(sizes.slots)).toThrow("Cannot submit slot 6: EINVAL");
});

test("impossible sizes are refused", () => {
  for (const wrong of [
    { slots: 0 },
    { slots: 1025 },
    { workers: 0 },
    { workers: 513 },
    { requestBytes: 100 },
  ]) {
    expect(() => new PoolMemory({ ...sizes, ...wrong })).toThrow(
      "Cannot make the shared memory of a pool: EINVAL",
    );
  }
});

test("nobody who holds the descriptor can change the size of the memory", () => {
  const memory = new PoolMemory(sizes);
  const { size } = fstatSync(memory.fd);
  expect(size).toBe(memory.bytes.length);
  for (const other of [0, size - 4096, size + 4096])
    expect(() => ftruncateSync(memory.fd, other)).toThrow("EPERM");
  expect(fstatSync(memory.fd).size).toBe(size);
  closeSync(memory.fd);
});

test("memory that is not touched is not used", () => {
  const memory = new PoolMemory({ slots: 1024, workers: 512, requestBytes: 1 << 20, responseBytes: 1 << 20 });
  const { size, blocks } = fstatSync(memory.fd);
  expect(size).toBeGreaterThan(2 ** 31);
  expect(blocks * 512).toBeLessThan(1 << 20);
  closeSync(memory.fd);
});

test("a worker's number that a script has made up does no harm to the front", () => {
  const memory = new PoolMemory(sizes);
  for (const worker of [sizes.workers, 513, 3_000_000, 536_870_911]) {
    memory.look(worker, 1);
    memory.retire(worker);
  }
  expect(memory.worker(0).state).toBe(WorkerState.none);
  memory.close();
});
