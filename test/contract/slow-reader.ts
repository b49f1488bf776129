import { createConnection, type Socket } from "node:net";
import { getBytes } from "../process/support.ts";

/** A client that reads nothing until it is told to, and then keeps only a checksum of the body. */
export class SlowReader implements Disposable {
  /** Bytes of the body so far. */
  bytes = 0;
  /** Did the answer end where its framing says it does? */
  isWhole = false;
  readonly ended: Promise<void>;
  readonly #socket: Socket;
  readonly #hash = new Bun.CryptoHasher("md5");
  #head = Buffer.alloc(0);
  #stage: "head" | "length" | "size" | "data" | "data-end" | "over" = "head";
  #left = 0;
  #line = "";

  private constructor(socket: Socket) {
    this.#socket = socket;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.ended = promise;
    socket.on("data", (bytes: Buffer) => this.#take(bytes));
    for (const event of ["end", "close", "error"]) socket.on(event, () => resolve());
    socket.pause();
  }

  static async open(url: string, path: string): Promise<SlowReader> {
    const { port } = new URL(url);
    const socket = createConnection({ host: "127.0.0.1", port: Number(port) });
    await new Promise<void>((resolve, reject) => {
      socket.once("connect", resolve);
      socket.once("error", reject);
    });
    const reader = new SlowReader(socket);
    socket.write(getBytes(path));
    return reader;
  }

  get md5(): string {
    return this.#hash.copy().digest("hex");
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  /** Leaves without a word. */
  close(): void {
    this.#socket.destroy();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #take(bytes: Buffer): void {
    for (let at = 0; at < bytes.length && this.#stage !== "over";) at = this.#step(bytes, at);
  }

  #step(bytes: Buffer, at: number): number {
    switch (this.#stage) {
      case "head":
        return this.#readHead(bytes);
      case "length":
      case "data":
        return this.#readData(bytes, at);
      default:
        return this.#readLine(bytes, at);
    }
  }

  #readHead(bytes: Buffer): number {
    const before = this.#head.length;
    this.#head = Buffer.concat([this.#head, bytes]);
    const end = this.#head.indexOf("\r\n\r\n");
    if (end < 0) return bytes.length;
    const length = /\r\ncontent-length: (\d+)\r/i.exec(this.#head.toString("latin1", 0, end + 2))?.[1];
    this.#stage = length === undefined ? "size" : "length";
    this.#left = Number(length ?? 0);
    return end + 4 - before;
  }

  #readData(bytes: Buffer, at: number): number {
    const end = Math.min(bytes.length, at + this.#left);
    this.#hash.update(bytes.subarray(at, end));
    this.bytes += end - at;
    this.#left -= end - at;
    if (this.#left === 0) {
      if (this.#stage === "length") this.#over();
      else this.#stage = "data-end";
    }
    return end;
  }

  /** The size of a chunk, or what ends one. */
  #readLine(bytes: Buffer, at: number): number {
    const end = bytes.indexOf("\n", at);
    this.#line += bytes.toString("latin1", at, end < 0 ? bytes.length : end);
    if (end < 0) return bytes.length;
    const line = this.#line;
    this.#line = "";
    if (this.#stage === "data-end") {
      this.#stage = "size";
    } else {
      this.#left = Number.parseInt(line, 16);
      this.#stage = "data";
      if (this.#left === 0) this.#over();
    }
    return end + 1;
  }

  #over(): void {
    this.isWhole = true;
    this.#stage = "over";
  }
}
