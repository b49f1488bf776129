import { join } from "node:path";
import type { Slowness, SlowReport } from "./slow-peers.ts";

/** A process full of slow clients. */
export class SlowProcess implements AsyncDisposable {
  readonly #child: Bun.Subprocess<"pipe", "pipe", "inherit">;
  readonly #lines: AsyncGenerator<string>;

  private constructor(child: Bun.Subprocess<"pipe", "pipe", "inherit">) {
    this.#child = child;
    this.#lines = linesOf(child.stdout);
  }

  /** Resolves when all of them are connected and have begun. */
  static async start(mode: Slowness, port: number, count: number, path: string): Promise<SlowProcess> {
    const file = join(import.meta.dir, "slow-peers.ts");
    const line = [process.execPath, file, mode, String(port), String(count), path];
    const peers = new SlowProcess(Bun.spawn(line, { stdio: ["pipe", "pipe", "inherit"] }));
    const { value } = await peers.#lines.next();
    if (value !== "ready")
      throw new Error(`Cannot start the slow clients: they said ${JSON.stringify(value)}`);
    return peers;
  }

  get pid(): number {
    return this.#child.pid;
  }

  async stop(): Promise<SlowReport> {
    await this.#child.stdin.end();
    const { value } = await this.#lines.next();
    await this.#child.exited;
    return JSON.parse(value as string) as SlowReport;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.exited;
  }
}

async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const bytes of stream) {
    text += decoder.decode(bytes, { stream: true });
    for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n")) {
      yield text.slice(0, end);
      text = text.slice(end + 1);
    }
  }
}
