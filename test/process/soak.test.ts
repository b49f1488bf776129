import { expect } from "bun:test";
import { command, targets, test } from "../harness.ts";
import type { Program, Setup } from "../soak/program.ts";
import { chaosHost } from "../soak/programs/chaos-host.ts";
import { chaosPlain, chaosRetry } from "../soak/programs/chaos.ts";
import { isolation } from "../soak/programs/isolation.ts";
import { leak } from "../soak/programs/leak.ts";
import { overload } from "../soak/programs/overload.ts";
import { reload } from "../soak/programs/reload.ts";
import { slowClients } from "../soak/programs/slow-clients.ts";
import { soak } from "../soak/programs/soak.ts";
import { threads } from "../soak/programs/threads.ts";
import { workerMillion } from "../soak/programs/worker-million.ts";
import { Random } from "../soak/random.ts";
import { ztsLibphp, ztsSince } from "../zts.ts";

/*
 * The long runs of `npm run soak`, cut short. What they count is judged; their times and rates are not, because the
 * rest of the tests runs beside them.
 */

type Size = { readonly seconds?: number; readonly requests?: number };

async function short({ run }: Program, size: Size, php: Setup["php"] = {}): Promise<void> {
  const outcome = await run({
    command: command(targets[0] ?? "source"),
    php,
    seconds: size.seconds ?? 0,
    requests: size.requests ?? 0,
    random: new Random(1),
    say: () => undefined,
  });
  expect(outcome.unavailable).toBeNull();
  const missed = outcome.figures.filter(({ passed, timing }) => !passed && !timing);
  expect({ missed, notes: missed.length === 0 ? [] : outcome.notes }).toEqual({ missed: [], notes: [] });
}

test("workers killed at random cost the requests they run, a 502 each, and nothing else", async () => {
  await short(chaosPlain, { seconds: 3 });
});

test("with retry, workers killed at random cost no request at all", async () => {
  await short(chaosRetry, { seconds: 3 });
});

test("a mix of all there is, beside clients with bad manners, gets no wrong answer and leaves nothing behind", async () => {
  await short(soak, { requests: 8000 });
});

test("reloads under load cost no request", async () => {
  await short(reload, { requests: 2 });
});

test("under ten times the load every request is served or refused with 503", async () => {
  await short(overload, { seconds: 3 });
});

test("normal requests are served beside slow clients, who are not turned away", async () => {
  await short(slowClients, { seconds: 2, requests: 100 });
});

test("a fast pool serves every request beside a heavy one at full load", async () => {
  await short(isolation, { seconds: 2 });
});

test("a page that leaks costs no request, and its workers' memory is bounded", async () => {
  await short(leak, { requests: 150 });
});

test("one worker in worker mode answers every request, each rightly, and does not grow", async () => {
  await short(workerMillion, { requests: 3000 });
});

/** Visibly skipped without a thread-safe libphp. */
const inThreads = (name: string, program: Program, size: Size): void =>
  test.skipIf(ztsLibphp === null)(name, async () => {
    await short(program, size, { isolation: "thread", libphp: ztsLibphp ?? "" });
  });

const deep = ztsSince("8.3") ? "" : " (skipped: deep recursion, which PHP before 8.3 does not end)";
inThreads(
  `threads do not get in each other's way, while scripts are rewritten and opcache is reset${deep}`,
  threads,
  { requests: 3000 },
);

inThreads(
  "in threads, a host that dies costs the requests it runs, a 502 each, and nothing else",
  chaosHost,
  {
    seconds: 3,
  },
);
