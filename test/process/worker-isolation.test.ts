/** Users of an application in worker mode, interleaved: none may see anything of another. `npm run soak` has more of it. */
import { expect } from "bun:test";
import { command, targets, test } from "../harness.ts";
import { workerIsolation } from "../soak/programs/worker-isolation.ts";
import { Random } from "../soak/random.ts";
import { ztsLibphp } from "../zts.ts";
import { underEachIsolation } from "./support.ts";

const REQUESTS = 2500;

underEachIsolation(({ isolation, threads }) => {
  test("no user of an application in worker mode sees a token of another, however requests end", async () => {
    const random = new Random(Date.now() % 1_000_000);
    const { figures, notes, unavailable } = await workerIsolation.run({
      command: command((threads ? targets.at(-1) : targets[0]) ?? "source"),
      php: { isolation, ...(threads ? { libphp: ztsLibphp ?? "" } : {}) },
      seconds: 0,
      requests: REQUESTS,
      random,
      say: () => undefined,
    });
    expect(unavailable).toBeNull();
    const missed = figures.filter(({ passed }) => !passed);
    // The notes tell the seed, for `npm run soak -- worker-isolation --seed`.
    expect({ missed, notes: missed.length === 0 ? [] : notes }).toEqual({ missed: [], notes: [] });
  });
});
