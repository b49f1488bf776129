import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { settle } from "../applications/applications.ts";
import { memoryOf } from "../processes.ts";
import type { Scratch } from "../scratch.ts";
import type { Site } from "../sites.ts";
import { type PhprunOptions, startPhprun } from "../stacks/phprun.ts";
import type { Stack } from "../stacks/stack.ts";
import { median } from "../statistics.ts";

/** Each kind of worker: forked from an application that has booted, and one that boots it. */
export interface Kind<Value> {
  readonly warm: Value;
  readonly cold: Value;
}

export interface Lives {
  /** From the end of a worker's script until its successor takes requests. */
  readonly readyMs: readonly number[];
  /** From its last answer to the first one of its successor. */
  readonly answerMs: readonly number[];
}

export interface OwnMemory {
  /** What the worker shares with nobody: idle, asked for nothing yet. */
  readonly bootedBytes: number;
  readonly servedBytes: number;
}

export interface WarmFork {
  readonly application: string;
  readonly lives: Kind<Lives>;
  readonly memory: Kind<OwnMemory>;
}

export interface WarmForkParts {
  readonly scratch: Scratch;
  readonly executable: string;
  readonly ini: Readonly<Record<string, string>>;
  readonly tries: number;
}

export const SERVED = 100;
const SERVERS = 3;
const LOOKS = 5;
const LOOK_MS = 50;
/** A cookie, as every visitor has one. */
const SESSION_PATH = "/json";

/** How long it takes to replace a worker that runs an application, and what each holds of its own. */
export async function measureWarmFork(
  parts: WarmForkParts,
  application: string,
  site: Site,
): Promise<WarmFork> {
  const { scratch, tries } = parts;
  const state = scratch.path(scratch.fresh(`${application}-state`));
  mkdirSync(state);
  site.prepare?.(state);
  const start = (template: boolean, more: Partial<PhprunOptions>) =>
    startPhprun(scratch, {
      executable: parts.executable,
      workers: 1,
      site: { ...site, prepare: () => undefined },
      mode: "worker",
      ini: parts.ini,
      ...more,
      pool: { worker: { template } },
      env: { ...more.env, APP_STATE_DIR: state },
    });

  // What an application compiles when it is first asked, one that is deployed has long since.
  await using(await start(true, {}), async (stack) => await ask(stack, SESSION_PATH, SERVED));
  settle(state);
  const lives = async (template: boolean): Promise<Lives> => {
    const notes = scratch.path(scratch.fresh("lives"));
    writeFileSync(notes, "");
    const prepend = join(import.meta.dirname, "../applications/lives.php");
    const ini = { ...parts.ini, auto_prepend_file: prepend };
    const env = { BENCH_LIVES: notes };
    const answerMs = await using(
      await start(template, { ini, env, maxRequests: 1 }),
      async (stack) => await betweenAnswers(stack, site.helloPath, tries),
    );
    return { readyMs: untilReady(readFileSync(notes, "utf8"), template), answerMs };
  };
  const memory = async (template: boolean): Promise<OwnMemory> => {
    const booted: number[] = [];
    const served: number[] = [];
    for (let i = 0; i < SERVERS; i++) {
      await using(await start(template, { asked: false }), async (stack) => {
        booted.push(await ownBytes(stack));
        await ask(stack, SESSION_PATH, SERVED);
        served.push(await ownBytes(stack));
      });
    }
    return { bootedBytes: median(booted), servedBytes: median(served) };
  };
  return {
    application,
    lives: { warm: await lives(true), cold: await lives(false) },
    memory: { warm: await memory(true), cold: await memory(false) },
  };
}

/** From what lives.php notes of the only worker and its successors, in the order in which it happened. */
function untilReady(notes: string, template: boolean): number[] {
  const lines = notes.trimEnd().split("\n");
  const found: number[] = [];
  let endedS: number | undefined;
  for (const line of lines) {
    const [what, , at, booted] = line.split(" ");
    // One that boots by itself says so with its end.
    const readyS = what === "ready" ? Number(at) : template ? undefined : Number(booted);
    if (readyS !== undefined && endedS !== undefined) {
      found.push((readyS - endedS) * 1000);
      endedS = undefined;
    }
    if (what === "ended") endedS = Number(at);
  }
  // That of the first has none before it, and the host's template ends too.
  if (found.length < lines.length / (template ? 4 : 2))
    throw new Error(`Workers were not replaced as they should: ${lines.slice(0, 6).join("; ")}`);
  return found;
}

async function betweenAnswers(stack: Stack, path: string, tries: number): Promise<number[]> {
  const times: number[] = [];
  await ask(stack, path, 1);
  let endedMs = performance.now();
  while (times.length < tries) {
    await ask(stack, path, 1);
    const nowMs = performance.now();
    times.push(nowMs - endedMs);
    endedMs = nowMs;
  }
  return times;
}

/** One after the other, with one session. */
async function ask({ port, title }: Stack, path: string, count: number): Promise<void> {
  let cookie = "";
  for (let i = 0; i < count; i++) {
    const response = await fetch(`http://127.0.0.1:${port}${path}`, { headers: { Cookie: cookie } });
    await response.arrayBuffer();
    if (response.status !== 200) throw new Error(`${title} answers ${response.status} to ${path}`);
    const set = response.headers.getSetCookie().map((line) => line.split(";", 1)[0]!);
    if (set.length > 0) cookie = set.join("; ");
  }
}

async function ownBytes(stack: Stack): Promise<number> {
  const looks: number[] = [];
  for (let i = 0; i < LOOKS; i++) {
    await Bun.sleep(LOOK_MS);
    const workers = stack.workers();
    if (workers.length !== 1) throw new Error(`${stack.title} has ${workers.length} workers, not 1`);
    looks.push(memoryOf(workers[0]!).privateBytes);
  }
  return median(looks);
}

async function using<Found>(stack: Stack, run: (stack: Stack) => Promise<Found>): Promise<Found> {
  try {
    return await run(stack);
  } finally {
    await stack.stop();
  }
}
