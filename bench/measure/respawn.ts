import type { Stack } from "../stacks/stack.ts";

const PATIENCE_MS = 10_000;
/** Hosts that die faster than one a second are started ever later. */
const BETWEEN_CRASHES_MS = 1100;

/**
 * From the last answer of a worker to the first one of its successor, in milliseconds, again and again. The server
 * must have one worker, which leaves after each request.
 */
export async function measureWorkerRespawn(stack: Stack, tries: number): Promise<number[]> {
  const times: number[] = [];
  let life = await text(stack, "/life.php");
  let endedMs = performance.now();
  while (times.length < tries) {
    const next = await text(stack, "/life.php");
    const nowMs = performance.now();
    // The same one again: it had taken the request before it heard that it was to leave.
    if (next !== life) times.push(nowMs - endedMs);
    life = next;
    endedMs = nowMs;
  }
  return times;
}

/** From a request that crashes whoever runs it, to the next right answer, in milliseconds, again and again. */
export async function measureCrash(stack: Stack, tries: number): Promise<number[]> {
  const times: number[] = [];
  for (let i = 0; i < tries; i++) {
    await Bun.sleep(BETWEEN_CRASHES_MS);
    const startedMs = performance.now();
    const crashed = await fetch(`http://127.0.0.1:${stack.port}/crash.php`);
    await crashed.arrayBuffer();
    if (crashed.status !== 502)
      throw new Error(`${stack.title} answers ${crashed.status} to a request that crashes`);
    while (!(await answers(stack))) {
      if (performance.now() - startedMs > PATIENCE_MS)
        throw new Error(`${stack.title} does not come back from a crash`);
    }
    times.push(performance.now() - startedMs);
  }
  return times;
}

async function answers({ port }: Stack): Promise<boolean> {
  try {
    const response = await fetch(`http://127.0.0.1:${port}/hello.php`, {
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    return (await response.text()) === "Hello, world!" && response.status === 200;
  } catch {
    return false;
  }
}

async function text({ port, title }: Stack, path: string): Promise<string> {
  const response = await fetch(`http://127.0.0.1:${port}${path}`);
  if (response.status !== 200) throw new Error(`${title} answers ${response.status} to ${path}`);
  return await response.text();
}
