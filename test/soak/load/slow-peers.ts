/**
 * Clients that take their time, in a process of their own so that they do not slow down who measures:
 *
 *   bun test/soak/load/slow-peers.ts headers|bodies|readers PORT COUNT PATH
 *
 * Prints `ready` when all are connected and have begun. Ends when its input does, and tells what became of them.
 */
import type { Socket } from "bun";

export type Slowness = "headers" | "bodies" | "readers";

export interface SlowReport {
  readonly connections: number;
  /** Bytes, or pieces of an answer, one by one. */
  readonly steps: number;
  /** Closed by the server before its time. */
  readonly closed: number;
  /** Answered before the request was whole. */
  readonly answered: number;
  readonly receivedBytes: number;
  /** Readers that have got all there was. */
  readonly finished: number;
  readonly firstAnswer: string;
}

/** Between two bytes of a sender. */
const SEND_MS = 1000;
/** Between two looks of a reader at what has come: a look takes all that the system holds, 64 KiB and more. */
const READ_MS = 10_000;
/** The steps of all are spread over the time. */
const GROUPS = 50;
const BODY_BYTES = [10_000, 1_000_000];

interface Peer {
  socket: Socket;
  closed: boolean;
  received: number;
  expected: number;
}

if (import.meta.main) await main();

async function main(): Promise<void> {
  const [mode, port, count, path] = process.argv.slice(2) as [Slowness, string, string, string];
  const peers: Peer[] = [];
  const told = { steps: 0, closed: 0, answered: 0, receivedBytes: 0, finished: 0, firstAnswer: "" };
  const begun = Array.from({ length: Number(count) }, () => Promise.withResolvers<void>());
  for (let i = 0; i < Number(count); i++) peers.push(await connect(i));
  let group = 0;
  const timer = setInterval(
    () => {
      for (let i = group++ % GROUPS; i < peers.length; i += GROUPS) step(peers[i]!);
    },
    (mode === "readers" ? READ_MS : SEND_MS) / GROUPS,
  );
  if (mode === "readers") await Promise.all(begun.map(({ promise }) => promise));
  process.stdout.write("ready\n");
  for await (const _ of process.stdin);
  clearInterval(timer);
  process.stdout.write(`${JSON.stringify({ connections: peers.length, ...told } satisfies SlowReport)}\n`);
  process.exit(0);

  async function connect(i: number): Promise<Peer> {
    const { promise, resolve } = Promise.withResolvers<Peer>();
    const peer: Partial<Peer> & { closed: boolean; received: number; expected: number } = {
      closed: false,
      received: 0,
      expected: 0,
    };
    const gone = (): void => {
      if (!peer.closed && (mode !== "readers" || peer.received < peer.expected)) told.closed++;
      peer.closed = true;
      begun[i]!.resolve();
    };
    await Bun.connect({
      hostname: "127.0.0.1",
      port: Number(port),
      socket: {
        open(socket) {
          peer.socket = socket;
          const head = `${mode === "bodies" ? "POST" : "GET"} ${path} HTTP/1.1\r\nHost: localhost\r\n`;
          const length = `Content-Length: ${BODY_BYTES[i % BODY_BYTES.length]}\r\n`;
          socket.write(
            mode === "headers"
              ? `${head}X-Slow: `
              : mode === "bodies"
                ? `${head}${length}\r\n`
                : `${head}\r\n`,
          );
          resolve(peer as Peer);
        },
        data(socket, bytes) {
          if (peer.received === 0) {
            if (told.firstAnswer === "") told.firstAnswer = bytes.toString("latin1", 0, 60);
            const head = bytes.indexOf("\r\n\r\n");
            const length = /content-length: *(\d+)/i.exec(bytes.toString("latin1", 0, head))?.[1];
            peer.expected = length === undefined ? Number.POSITIVE_INFINITY : head + 4 + Number(length);
            if (mode !== "readers") told.answered++;
            begun[i]!.resolve();
          }
          peer.received += bytes.length;
          told.receivedBytes += bytes.length;
          if (mode !== "readers") return;
          told.steps++;
          if (peer.received >= peer.expected || bytes.toString("latin1").endsWith("\r\n0\r\n\r\n")) {
            told.finished++;
            peer.expected = 0;
          } else socket.pause();
        },
        close: gone,
        end: gone,
        error: gone,
      },
    });
    return await promise;
  }

  function step(peer: Peer): void {
    if (peer.closed) return;
    if (mode === "readers") return void peer.socket.resume();
    told.steps++;
    peer.socket.write("a");
  }
}
