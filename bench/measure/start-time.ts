import type { Stack, StackKey } from "../stacks/stack.ts";
import { median } from "../statistics.ts";

export interface StartTime {
  readonly stack: StackKey;
  readonly medianMs: number;
  readonly triesMs: readonly number[];
}

/** From the start of the process to the first right answer of a PHP script; the servers take turns. */
export async function measureStart(
  starters: readonly { key: StackKey; start: () => Promise<Stack> }[],
  tries: number,
): Promise<StartTime[]> {
  const times = starters.map((): number[] => []);
  for (let i = 0; i < tries; i++) {
    for (const [at, { start }] of starters.entries()) {
      const startedMs = performance.now();
      const stack = await start();
      times[at]!.push(performance.now() - startedMs);
      await stack.stop();
    }
  }
  return starters.map(({ key }, at) => ({ stack: key, medianMs: median(times[at]!), triesMs: times[at]! }));
}
