import { closeSync } from "node:fs";
import { socketPair } from "../../ffi/system.ts";
import { connectFd } from "./connect-fd.ts";
import { selfCommand } from "../self.ts";
import {
  type HostEvent,
  HOST_OPTIONS_VARIABLE,
  type HostOptions,
  HostEventReader,
  encodeCommand,
} from "./messages.ts";
import { Outbox } from "./outbox.ts";

export interface HostHandlers {
  event(event: HostEvent): void;
  /** A line on the host's or a worker's standard error or output. */
  line(text: string): void;
  /** The process has ended; no event follows. */
  gone(exitCode: number | null, signal: string | number | null): void;
}

/** Descriptors a host inherits besides its control socket. All stay the caller's. */
export interface HostDescriptors {
  readonly pool: number;
  readonly wake: number;
  readonly spool: number;
  readonly log: number;
}

/** One host process and its control socket. */
export class HostProcess {
  readonly #process: Bun.Subprocess<"ignore", "pipe", "pipe">;
  readonly #handlers: HostHandlers;
  readonly #reader = new HostEventReader();
  readonly #commands = new Outbox();

  private constructor(process: Bun.Subprocess<"ignore", "pipe", "pipe">, handlers: HostHandlers) {
    this.#process = process;
    this.#handlers = handlers;
  }

  static async start(
    options: HostOptions,
    env: Record<string, string | undefined>,
    descriptors: HostDescriptors,
    handlers: HostHandlers,
  ): Promise<HostProcess> {
    const [ours, theirs] = socketPair();
    let process: Bun.Subprocess<"ignore", "pipe", "pipe">;
    try {
      process = Bun.spawn(selfCommand("__host"), {
        stdio: [
          "ignore",
          "pipe",
          "pipe",
          theirs,
          descriptors.pool,
          descriptors.wake,
          descriptors.spool,
          descriptors.log,
        ],
        env: { ...env, [HOST_OPTIONS_VARIABLE]: JSON.stringify(options) },
      }) as Bun.Subprocess<"ignore", "pipe", "pipe">;
    } catch (error) {
      closeSync(ours);
      throw error;
    } finally {
      closeSync(theirs);
    }
    const host = new HostProcess(process, handlers);
    host.#commands.socket = await connectFd(ours, {
      data: (_socket, bytes) => host.#receive(bytes),
      drain: () => host.#commands.flush(),
    });
    const outputs = [process.stderr.getReader(), process.stdout.getReader()];
    for (const output of outputs) void forEachLine(output, handlers.line);
    void process.exited.then(() => {
      host.#commands.end();
      handlers.gone(process.exitCode, process.signalCode);
      // What a script left running may hold the other ends for as long as it lives.
      setTimeout(() => {
        for (const output of outputs) void output.cancel();
      }, LAST_LINES_MS).unref();
    });
    return host;
  }

  get pid(): number {
    return this.#process.pid;
  }

  send(kind: number, worker = 0, argument = 0): void {
    this.#commands.send(encodeCommand(kind, worker, argument));
  }

  signal(number: number): void {
    try {
      // Bun's own kill() of a child knows no real-time signals.
      process.kill(this.pid, number);
    } catch (error) {
      if (!(error instanceof Error && "code" in error && error.code === "ESRCH")) throw error;
    }
  }

  /** Ends the host and, through it, its workers. */
  kill(): void {
    this.#process.kill("SIGKILL");
  }

  get exited(): Promise<number> {
    return this.#process.exited;
  }

  #receive(bytes: Uint8Array): void {
    for (const event of this.#reader.read(bytes)) this.#handlers.event(event);
  }
}

const LONGEST_LINE = 16 * 1024;

/** How long the lines a host has printed may take to arrive when it has ended. */
const LAST_LINES_MS = 200;

async function forEachLine(
  output: { read(): Promise<{ done: boolean; value?: Uint8Array | undefined }> },
  handle: (line: string) => void,
): Promise<void> {
  const decoder = new TextDecoder();
  let rest = "";
  for (let part = await output.read(); !part.done; part = await output.read()) {
    const lines = (rest + decoder.decode(part.value, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) if (line !== "") handle(line);
    if (rest.length > LONGEST_LINE) {
      handle(rest);
      rest = "";
    }
  }
  if (rest !== "") handle(rest);
}
