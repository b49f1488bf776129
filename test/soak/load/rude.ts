import type { Socket } from "bun";
import { Answer } from "./answer.ts";
import { ask, type Ask, faultOf } from "./ask.ts";
import type { Place } from "./connection.ts";

export type Rudeness = "leaves an upload" | "leaves a download" | "leaves while it waits" | "reads slowly";

/** How long a slow reader lies down in the middle. */
const PAUSE_MS = 1500;
const MOST_MS = 30_000;

/** Clients with bad manners, each on a connection of its own, so many a second. */
export class RudeClients {
  readonly counts = new Map<Rudeness, number>();
  /** Slow readers that did not get what was theirs. */
  readonly faults: string[] = [];
  readonly #place: Place;
  readonly #pending = new Set<Promise<void>>();
  readonly #timer: Timer;
  #next = 0;

  constructor(place: Place, perSecond: number) {
    this.#place = place;
    this.#timer = setInterval(() => this.#one(), 1000 / perSecond);
  }

  /** Sends no more, and waits for those that are still at it. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await Promise.all(this.#pending);
  }

  #one(): void {
    const kinds = ["leaves an upload", "leaves a download", "leaves while it waits", "reads slowly"] as const;
    const kind = kinds[this.#next++ % kinds.length]!;
    this.counts.set(kind, (this.counts.get(kind) ?? 0) + 1);
    const done = (kind === "reads slowly" ? this.#readSlowly() : this.#leave(kind))
      .catch((error: Error) => void this.faults.push(`${kind}: ${error.message}`))
      .finally(() => this.#pending.delete(done));
    this.#pending.add(done);
  }

  async #leave(kind: Exclude<Rudeness, "reads slowly">): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const { head, body } =
      kind === "leaves an upload"
        ? ask(kind, "/upload.php", { body: new Uint8Array(500_000), asFile: true })
        : ask(kind, kind === "leaves a download" ? "/fill.php?bytes=2000000" : "/wait.php?us=150000");
    const timer = setTimeout(resolve, MOST_MS);
    await Bun.connect({
      ...this.#place,
      socket: {
        open(socket) {
          socket.write(head);
          if (body !== null) socket.write(body.subarray(0, 200_000));
          // Once the server has it, as far as can be told from here.
          if (kind !== "leaves a download") setTimeout(() => leave(socket), 60);
        },
        data: (socket) => leave(socket),
        close: () => resolve(),
        error: () => resolve(),
      },
    });
    await promise;
    clearTimeout(timer);

    function leave(socket: Socket): void {
      socket.terminate();
      resolve();
    }
  }

  async #readSlowly(): Promise<void> {
    const wanted: Ask = ask("reads slowly", "/fill.php?bytes=600000");
    const answer = new Answer();
    const { promise, resolve } = Promise.withResolvers<string>();
    const timer = setTimeout(() => resolve("not whole in time"), MOST_MS);
    let paused = false;
    const socket = await Bun.connect({
      ...this.#place,
      socket: {
        open: (opened) => void opened.write(wanted.head),
        data: (taking, bytes) => {
          answer.feed(bytes);
          if (answer.whole) return resolve("");
          if (paused) return;
          paused = true;
          taking.pause();
          setTimeout(() => taking.resume(), PAUSE_MS);
        },
        close: () => resolve("closed in the middle"),
        error: (_socket, error) => resolve(error.message),
      },
    });
    const why = await promise;
    clearTimeout(timer);
    socket.terminate();
    const fault =
      why !== ""
        ? why
        : answer.status !== 200
          ? `status ${answer.status}`
          : faultOf(wanted.expected, answer.body);
    if (fault !== null)
      this.faults.push(`reads slowly: ${fault}, ${answer.receivedBytes} bytes, status ${answer.status}`);
  }
}
