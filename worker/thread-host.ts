import type { Php } from "../ffi/php.ts";
import { connectFd } from "../src/pool/connect-fd.ts";
import {
  Command,
  CommandReader,
  encodeEvent,
  HOST_FDS,
  type HostCommand,
  type HostOptions,
} from "../src/pool/messages.ts";
import { Outbox } from "../src/pool/outbox.ts";
import { ThreadKeeper } from "./thread-keeper.ts";

/** How often the workers look at what they hold, as often as the front looks at processes. */
const MEASURE_MS = 250;

/** A host whose workers are threads: carries out what the front tells it, and reports what became of them. */
export class ThreadHost {
  readonly #php: Php;
  readonly #options: HostOptions;
  readonly #keeper: ThreadKeeper;
  readonly #events = new Outbox();

  constructor(php: Php, options: HostOptions) {
    this.#php = php;
    this.#options = options;
    this.#keeper = new ThreadKeeper(php.path);
  }

  /** Never settles: the process ends when the front says so, or is gone. */
  async run(): Promise<never> {
    const { slowLog, threadStackBytes } = this.#options;
    this.#php.openThreads(HOST_FDS, { slowLog, stackBytes: threadStackBytes });
    const reader = new CommandReader();
    this.#events.socket = await connectFd(HOST_FDS.control, {
      data: (_socket, bytes) => {
        for (const command of reader.read(bytes)) this.#carryOut(command);
      },
      drain: () => this.#events.flush(),
      close: () => this.#php.exitNow(0),
    });
    setInterval(() => this.#php.measureThreads(), MEASURE_MS);
    return await new Promise<never>(() => undefined);
  }

  #carryOut({ kind, worker, argument }: HostCommand): void {
    switch (kind) {
      case Command.spawn:
        return this.#spawn(worker, argument);
      case Command.deadline:
        return this.#php.threadDeadline(worker);
      default:
        // The end; or a command that nobody knows, from a front that cannot be ours.
        this.#php.exitNow(kind === Command.end ? 0 : 1);
    }
  }

  #spawn(worker: number, generation: number): void {
    let thread = 0;
    this.#keeper
      .run(worker, generation, (id) => {
        thread = id;
        this.#tell({ kind: "spawned", worker, pid: id, generation });
      })
      .then(() => this.#tell({ kind: "exited", worker, pid: thread, exit: { code: 0 } }))
      .catch((error: unknown) => {
        const errno = error instanceof Error && "errno" in error ? Number(error.errno) : 0;
        // The front says the rest, with the number.
        if (errno === 0) console.error(error instanceof Error ? error.message : String(error));
        // One that had started is not known to have ended: its host cannot be trusted any more.
        if (thread !== 0) this.#php.exitNow(1);
        this.#tell({ kind: "spawn-failed", worker, errno });
      });
  }

  #tell(event: Parameters<typeof encodeEvent>[0]): void {
    this.#events.send(encodeEvent(event));
  }
}
