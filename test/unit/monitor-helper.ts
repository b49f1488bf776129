/** A real process that holds as much memory as it is told to. */
export class Holder implements AsyncDisposable {
  readonly #process: Bun.Subprocess<"pipe", "pipe", "inherit">;
  readonly #answers: AsyncIterator<string>;

  private constructor() {
    this.#process = Bun.spawn([process.execPath, "-e", HOLD], {
      stdio: ["pipe", "pipe", "inherit"],
      env: {},
    });
    this.#answers = lines(this.#process.stdout);
  }

  /** Resolves when the process runs. */
  static async start(): Promise<Holder> {
    const holder = new Holder();
    await holder.hold(0);
    return holder;
  }

  get pid(): number {
    return this.#process.pid;
  }

  /** Takes so much more, and touches every page of it. */
  async hold(mebibytes: number): Promise<void> {
    this.#process.stdin.write(`${mebibytes}\n`);
    await this.#process.stdin.flush();
    await this.#answers.next();
  }

  async kill(): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.#process.exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }
}

const HOLD = `
const held = [];
for await (const line of console) {
  if (Number(line) > 0) held.push(new Uint8Array(Number(line) * 1048576).fill(7));
  console.log("held");
}
`;

async function* lines(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const bytes of stream) {
    const parts = (rest + decoder.decode(bytes, { stream: true })).split("\n");
    rest = parts.pop() ?? "";
    yield* parts;
  }
}

export const MIB = 1048576;
