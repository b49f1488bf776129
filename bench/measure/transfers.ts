import { closeSync, openSync, rmSync, writeSync } from "node:fs";
import { crc32 } from "node:zlib";
import { processTree, residentOf, resetPeak } from "../processes.ts";
import type { Scratch } from "../scratch.ts";
import type { Stack, StackKey } from "../stacks/stack.ts";

export interface Transfer {
  readonly stack: StackKey;
  readonly kind: "upload" | "download";
  readonly bytes: number;
  readonly seconds: number;
  /** By how much the process that grew most grew: phprun's front, or one of nginx's. */
  readonly frontGrewBytes: number;
}

const MIB = 1024 ** 2;

/** A large upload as a browser sends it ($_FILES), and a large download that PHP streams. Both checked whole. */
export async function measureTransfers(
  scratch: Scratch,
  stacks: readonly Stack[],
  size: { uploadMib: number; downloadMib: number },
): Promise<Transfer[]> {
  const file = scratch.path("upload.bin");
  const sum = writeUpload(file, size.uploadMib);
  const found: Transfer[] = [];
  for (const stack of stacks) {
    found.push(await measure(stack, "upload", size.uploadMib * MIB, () => upload(stack, file, sum)));
    await Bun.sleep(500);
    found.push(
      await measure(stack, "download", size.downloadMib * MIB, () => download(stack, size.downloadMib)),
    );
  }
  rmSync(file);
  return found;
}

async function measure(
  stack: Stack,
  kind: Transfer["kind"],
  bytes: number,
  run: () => Promise<void>,
): Promise<Transfer> {
  const fronts = frontProcesses(stack);
  const before = fronts.map((pid) => residentOf(pid).nowBytes);
  await Promise.all(fronts.map(resetPeak));
  const startedMs = performance.now();
  await run();
  const seconds = (performance.now() - startedMs) / 1000;
  const grown = fronts.map((pid, i) => residentOf(pid).peakBytes - before[i]!);
  return { stack: stack.key, kind, bytes, seconds, frontGrewBytes: Math.max(...grown) };
}

/** The process that holds the clients' connections: phprun's front alone, or nginx with its workers. */
function frontProcesses(stack: Stack): number[] {
  const root = stack.roots[0]!;
  return stack.key === "phprun" ? [root] : processTree([root]);
}

async function upload(stack: Stack, file: string, expected: string): Promise<void> {
  const url = `http://127.0.0.1:${stack.port}/upload.php`;
  const child = Bun.spawn(["curl", "-q", "-sS", "--max-time", "120", "--form", `file=@${file}`, url], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  const [answer, errors] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  if ((await child.exited) === 0 && answer === expected) return;
  throw new Error(
    `${stack.title}: an upload was answered with ${JSON.stringify(answer.slice(0, 200))} ${errors}`,
  );
}

async function download(stack: Stack, mib: number): Promise<void> {
  const url = `http://127.0.0.1:${stack.port}/download.php?mib=${mib}`;
  const child = Bun.spawn(["curl", "-q", "-sS", "--max-time", "120", "--no-buffer", url], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  const expected = Buffer.alloc(MIB, "phprun.\n");
  let at = 0;
  for await (const chunk of child.stdout) {
    for (let from = 0; from < chunk.length;) {
      const offset = at % MIB;
      if (offset === 0) expected.write(`${String(at / MIB).padStart(7, "0")}\n`, "latin1");
      const length = Math.min(chunk.length - from, MIB - offset);
      if (expected.compare(chunk, from, from + length, offset, offset + length) !== 0) {
        child.kill();
        throw new Error(`${stack.title}: a download was wrong near byte ${at}`);
      }
      at += length;
      from += length;
    }
  }
  const errors = await child.stderr.text();
  if ((await child.exited) === 0 && at === mib * MIB) return;
  throw new Error(`${stack.title}: a download ended after ${at} of ${mib * MIB} bytes. ${errors}`);
}

/** Returns what bench/docroot/upload.php answers to this file. */
function writeUpload(path: string, mib: number): string {
  const block = Buffer.alloc(MIB);
  for (let i = 0; i < MIB; i += 4) block.writeUInt32LE(Math.imul(i + 1, 0x9e3779b1) >>> 0, i);
  const fd = openSync(path, "w");
  let sum = 0;
  for (let i = 0; i < mib; i++) {
    block.writeUInt32LE(i, 0);
    sum = crc32(block, sum);
    writeSync(fd, block);
  }
  closeSync(fd);
  return `${mib * MIB} ${sum.toString(16).padStart(8, "0")}`;
}
