/** What goes out on a socket: whole and in order, though the socket may take a part of it at a time. */
export class Outbox {
  #socket: Bun.Socket<undefined> | undefined;
  readonly #unsent: Uint8Array[] = [];

  /** What was sent before there was a socket goes out now. */
  set socket(socket: Bun.Socket<undefined>) {
    this.#socket = socket;
    this.flush();
  }

  send(bytes: Uint8Array): void {
    this.#unsent.push(bytes);
    this.flush();
  }

  /** The socket takes more again. */
  flush(): void {
    for (let next = this.#unsent[0]; next !== undefined; next = this.#unsent[0]) {
      const sent = this.#socket?.write(next) ?? 0;
      if (sent < next.length) {
        this.#unsent[0] = next.subarray(Math.max(sent, 0));
        return;
      }
      this.#unsent.shift();
    }
  }

  end(): void {
    this.#socket?.end();
  }
}
