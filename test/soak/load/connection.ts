import type { Socket } from "bun";
import { Answer } from "./answer.ts";
import { type Ask, faultOf } from "./ask.ts";
import type { Ending, Result } from "./tally.ts";

export interface Place {
  readonly hostname: string;
  readonly port: number;
}

type Settle = (result: Result) => void;

/**
 * A keep-alive connection with one request at a time. Opened when it is first needed, and again after it has been
 * closed; a request is sent once, whatever happens to it. `Bun.connect` because fetch() tries again in silence.
 */
export class LoadConnection {
  /** Hears of bytes that come while nothing has been asked. */
  onStray: ((bytes: Buffer) => void) | undefined;
  readonly #place: Place;
  #socket: Socket | undefined;
  #current: { ask: Ask; dueMs: number; sentMs: number; settle: Settle; answer: Answer } | undefined;
  #unsent: Uint8Array | undefined;

  constructor(place: Place) {
    this.#place = place;
  }

  get busy(): boolean {
    return this.#current !== undefined;
  }

  send(ask: Ask, dueMs: number, settle: Settle): void {
    this.#current = { ask, dueMs, sentMs: performance.now(), settle, answer: new Answer() };
    if (this.#socket === undefined) void this.#open();
    else this.#put(this.#socket);
  }

  /** Gives up a request that has been without an answer for too long. */
  giveUpBefore(sentMs: number): void {
    if (this.#current === undefined || this.#current.sentMs > sentMs) return;
    this.close();
    this.#settle("hang", `${this.#current.answer.receivedBytes} bytes of a body`);
  }

  close(): void {
    const socket = this.#socket;
    this.#socket = undefined;
    socket?.terminate();
  }

  async #open(): Promise<void> {
    try {
      // Everything else is told to the handlers.
      await Bun.connect({
        ...this.#place,
        socket: {
          open: (socket) => {
            // Given up while it was being made, and another one has come since.
            if (this.#socket !== undefined) return void socket.terminate();
            this.#socket = socket;
            socket.setNoDelay(true);
            if (this.#current !== undefined) this.#put(socket);
          },
          data: (socket, bytes) => this.#take(socket, bytes),
          drain: (socket) => this.#drain(socket),
          close: (socket) => this.#closed(socket),
          end: (socket) => this.#closed(socket),
          error: (socket, error) => this.#closed(socket, error.message),
        },
      });
    } catch (error) {
      this.#settle("refused", error instanceof Error ? error.message : String(error));
    }
  }

  #put(socket: Socket): void {
    const { head, body } = this.#current!.ask;
    if (body === null) {
      const written = socket.write(head);
      if (written < head.length) this.#unsent = Buffer.from(head).subarray(Math.max(0, written));
      return;
    }
    this.#unsent = Buffer.concat([Buffer.from(head), body]);
    this.#drain(socket);
  }

  #drain(socket: Socket): void {
    if (this.#unsent === undefined || socket !== this.#socket) return;
    const written = socket.write(this.#unsent);
    this.#unsent = written < this.#unsent.length ? this.#unsent.subarray(Math.max(0, written)) : undefined;
  }

  #take(socket: Socket, bytes: Buffer): void {
    if (socket !== this.#socket) return;
    const current = this.#current;
    if (current === undefined) {
      this.close();
      return this.onStray?.(bytes);
    }
    const { answer, ask } = current;
    let rest: Buffer;
    try {
      rest = answer.feed(bytes);
    } catch (error) {
      this.close();
      return this.#settle("wrong", (error as Error).message);
    }
    if (ask.leaveAfter !== undefined && answer.receivedBytes >= ask.leaveAfter) {
      this.close();
      return this.#settleUnlessSeen(answer, ask, "ok", "");
    }
    if (!answer.whole) return;
    // Answered before it was all sent: what is left must not be taken for the next request.
    const sentAll = this.#unsent === undefined;
    if (answer.closes || !sentAll || rest.length > 0) this.close();
    if (rest.length > 0) {
      const more = JSON.stringify(rest.toString("latin1", 0, 80));
      return this.#settle("wrong", `${rest.length} bytes follow its end: ${more}`);
    }
    this.#judge(answer, ask);
  }

  #judge(answer: Answer, ask: Ask): void {
    const { expected } = ask;
    if (answer.status !== expected.status) {
      const body = JSON.stringify(answer.body.toString("latin1", 0, 80));
      return this.#settleUnlessSeen(answer, ask, endingOf(answer.status), body);
    }
    const fault = faultOf(expected, answer.body);
    this.#settleUnlessSeen(answer, ask, fault === null ? "ok" : "wrong", fault ?? "");
  }

  /** What must not be in an answer is worse than whatever else is wrong with it. */
  #settleUnlessSeen(answer: Answer, { look }: Ask, ending: Ending, note: string): void {
    const seen = look?.(answer) ?? null;
    this.#settle(seen === null ? ending : "wrong", seen ?? note);
  }

  #closed(socket: Socket, why = "closed"): void {
    if (socket !== this.#socket) return;
    this.#socket = undefined;
    const current = this.#current;
    // While nothing is asked of it the server may close it.
    if (current === undefined) return;
    current.answer.end();
    if (current.answer.whole) return this.#judge(current.answer, current.ask);
    if (!current.answer.begun) return this.#settle("cut before the head", why);
    const ending = current.ask.cut === true ? "ok" : "cut in the body";
    const note = `${why} after ${current.answer.receivedBytes} bytes of a body`;
    this.#settleUnlessSeen(current.answer, current.ask, ending, note);
  }

  #settle(ending: Ending, note: string): void {
    const current = this.#current;
    if (current === undefined) return;
    this.#current = undefined;
    this.#unsent = undefined;
    const { ask, dueMs, settle, answer } = current;
    settle({ ask, ending, status: answer.status, dueMs, endedMs: performance.now(), note });
  }
}

function endingOf(status: number): Ending {
  return status === 502 || status === 503 || status === 504 ? `${status}` : "status";
}
