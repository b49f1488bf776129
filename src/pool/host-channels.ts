import { closeSync } from "node:fs";
import { socketPair } from "../../ffi/system.ts";
import { connectFd } from "./connect-fd.ts";
import { LogChannel, type LogRecord } from "./log-channel.ts";

export interface ChannelHandlers {
  /** A worker has completed something. */
  woken(): void;
  record(record: LogRecord): void;
}

/** What a host and its workers wake the front by, and what they log on. */
export class HostChannels {
  readonly #sockets: Bun.Socket<undefined>[] = [];
  readonly #logEnded = Promise.withResolvers<void>();
  #wake = -1;
  #log = -1;

  private constructor() {}

  static async open(handlers: ChannelHandlers): Promise<HostChannels> {
    const channels = new HostChannels();
    const reader = new LogChannel();
    try {
      const [wakeOurs, wake] = socketPair();
      channels.#wake = wake;
      channels.#sockets.push(await connectFd(wakeOurs, { data: () => handlers.woken() }));
      const [logOurs, log] = socketPair();
      channels.#log = log;
      channels.#sockets.push(
        await connectFd(logOurs, {
          data: (_socket, bytes) => {
            for (const record of reader.read(bytes)) handlers.record(record);
          },
          close: () => channels.#logEnded.resolve(),
        }),
      );
      return channels;
    } catch (error) {
      channels.closeTheirs();
      channels.end();
      throw error;
    }
  }

  /** The ends a host inherits. */
  get theirs(): { readonly wake: number; readonly log: number } {
    return { wake: this.#wake, log: this.#log };
  }

  /** The host has its ends, or will never have them. */
  closeTheirs(): void {
    for (const fd of [this.#wake, this.#log]) if (fd >= 0) closeSync(fd);
    this.#wake = -1;
    this.#log = -1;
  }

  /** Resolves when nobody is left who could log, and all of it has been read; at the latest after `mostMs`. */
  async drained(mostMs: number): Promise<void> {
    await Promise.race([this.#logEnded.promise, Bun.sleep(mostMs)]);
  }

  end(): void {
    for (const socket of this.#sockets.splice(0)) socket.end();
  }
}
