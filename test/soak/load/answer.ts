/** Taking one HTTP/1.1 answer apart as its bytes come. */
export class Answer {
  status = 0;
  /** Will the server close the connection after it? */
  closes = false;
  /** Has the head come whole? */
  begun = false;
  whole = false;
  /** Status line and headers, once they have come. */
  head = "";
  #head: Buffer | undefined;
  #pieces: Buffer[] = [];
  /** Bytes of the body, or of the current chunk, that are still to come; -1: all until the end. */
  #left = 0;
  #chunked = false;
  #line = "";
  #stage: "size" | "data" | "data-end" | "trailer" = "size";

  get body(): Buffer {
    const [first] = this.#pieces;
    if (first === undefined) return Buffer.alloc(0);
    return this.#pieces.length === 1 ? first : Buffer.concat(this.#pieces);
  }

  get receivedBytes(): number {
    return this.#pieces.reduce((sum, { length }) => sum + length, 0);
  }

  /** Takes bytes; returns those behind the end of the answer. Throws on what is not HTTP. */
  feed(bytes: Buffer): Buffer {
    let at = 0;
    if (!this.begun) {
      const all = this.#head === undefined ? bytes : Buffer.concat([this.#head, bytes]);
      const end = all.indexOf("\r\n\r\n");
      if (end < 0) {
        this.#head = Buffer.from(all);
        return all.subarray(all.length);
      }
      this.#readHead(all.toString("latin1", 0, end + 2));
      this.#head = undefined;
      bytes = all;
      at = end + 4;
    }
    if (this.#chunked) at = this.#readChunks(bytes, at);
    else at = this.#readFixed(bytes, at);
    return bytes.subarray(at);
  }

  /** The connection has been closed, which ends an answer without a length. */
  end(): void {
    if (this.begun && this.#left < 0) this.whole = true;
  }

  #readHead(head: string): void {
    this.status = Number(/^HTTP\/1\.1 (\d{3})[ \r]/.exec(head)?.[1] ?? Number.NaN);
    if (Number.isNaN(this.status)) throw new Error(`not an answer: ${JSON.stringify(head.slice(0, 80))}`);
    this.begun = true;
    this.head = head;
    this.closes = /\r\nconnection: *close\r/i.test(head);
    this.#chunked = /\r\ntransfer-encoding: *chunked\r/i.test(head);
    if (this.#chunked) return;
    const length = /\r\ncontent-length: *(\d+)\r/i.exec(head)?.[1];
    const bodiless = this.status === 204 || this.status === 304;
    this.#left = bodiless ? 0 : length === undefined ? -1 : Number(length);
  }

  #readFixed(bytes: Buffer, at: number): number {
    const end = this.#left < 0 ? bytes.length : Math.min(bytes.length, at + this.#left);
    if (end > at) this.#pieces.push(Buffer.from(bytes.subarray(at, end)));
    if (this.#left >= 0) this.#left -= end - at;
    this.whole = this.#left === 0;
    return end;
  }

  #readChunks(bytes: Buffer, from: number): number {
    let at = from;
    while (at < bytes.length && !this.whole) {
      if (this.#stage === "data") {
        const end = Math.min(bytes.length, at + this.#left);
        this.#pieces.push(Buffer.from(bytes.subarray(at, end)));
        this.#left -= end - at;
        at = end;
        if (this.#left === 0) this.#stage = "data-end";
        continue;
      }
      const newline = bytes.indexOf(10, at);
      const end = newline < 0 ? bytes.length : newline + 1;
      this.#line += bytes.toString("latin1", at, end);
      at = end;
      if (newline < 0) break;
      this.#chunkLine(this.#line.trimEnd());
      this.#line = "";
    }
    return at;
  }

  #chunkLine(line: string): void {
    if (this.#stage === "trailer") {
      if (line === "") this.whole = true;
    } else if (this.#stage === "data-end") {
      if (line !== "")
        throw new Error(`a chunk is longer than it said: ${JSON.stringify(line.slice(0, 80))}`);
      this.#stage = "size";
    } else {
      this.#left = /^[0-9a-f]+$/i.test(line) ? Number.parseInt(line, 16) : Number.NaN;
      if (Number.isNaN(this.#left))
        throw new Error(`not the size of a chunk: ${JSON.stringify(line.slice(0, 80))}`);
      this.#stage = this.#left === 0 ? "trailer" : "data";
    }
  }
}
