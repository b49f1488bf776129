/** One way of serving the docroot, up and running. */
export interface Stack {
  readonly key: StackKey;
  /** With its sizes, for tables. */
  readonly title: string;
  readonly port: number;
  /** The processes at the top; all others descend from them. */
  readonly roots: readonly number[];
  /** Does its application stay in memory? What it says of itself in answers. */
  readonly mode: "classic" | "worker";
  /** The processes that run PHP: workers, or the host whose threads they are. */
  workers(): number[];
  stop(): Promise<void>;
}

export type StackKey = "phprun" | "worker" | "fpm-best" | "fpm-deployed" | "thread" | "process";

const START_MS = 15_000;

/** Waits until it says that it serves, and asks it for nothing. */
export async function untilReady(log: () => string, isAlive: () => boolean): Promise<void> {
  const deadline = performance.now() + START_MS;
  while (!/^ {2}ready /m.test(log())) {
    if (performance.now() > deadline || !isAlive()) throw new Error("it does not get ready");
    await Bun.sleep(5);
  }
}

/** Waits for the first right answer. */
export async function untilAnswer(port: number, path: string, isAlive: () => boolean): Promise<void> {
  const deadline = performance.now() + START_MS;
  while (performance.now() < deadline && isAlive()) {
    try {
      const response = await fetch(`http://127.0.0.1:${port}${path}`, { keepalive: false });
      if ((await response.text()) === "Hello, world!" && response.status === 200) return;
    } catch {
      // not listening yet
    }
    await Bun.sleep(1);
  }
  throw new Error("it does not answer");
}
