import type { Spool, SpoolRegion } from "../pool/spool.ts";

/** A request body that has been received whole. */
export type RequestBody =
  | { readonly kind: "memory"; readonly bytes: Uint8Array }
  | { readonly kind: "spooled"; readonly region: SpoolRegion; given: boolean };

export type Received =
  { body: RequestBody | null } | { error: "too-large" | "aborted" | "spool"; cause?: unknown };

/**
 * Receives a whole body before a worker is taken, so that a slow upload never holds one. Up to `inMemory` bytes
 * it stays in memory, beyond that it goes to the spool file as it comes. `onPiece` hears of the pieces of a
 * larger one: Bun does not begin its timeout anew for a client that sends little at a time.
 */
export async function receiveBody(
  request: Request,
  contentLength: number | null,
  spool: Spool,
  limits: { inMemory: number; most: number },
  onPiece: () => void = () => undefined,
): Promise<Received> {
  if (contentLength !== null && contentLength > limits.most) return { error: "too-large" };
  if (contentLength !== null && contentLength <= limits.inMemory) {
    try {
      const bytes = new Uint8Array(await request.arrayBuffer());
      return { body: { kind: "memory", bytes } };
    } catch (cause) {
      return { error: "aborted", cause };
    }
  }
  return await receiveLarge(request, spool, limits, onPiece);
}

/** Once a body goes to the spool file, pieces smaller than this are put together before they are written. */
const WORTH_WRITING_BYTES = 16 * 1024;

async function receiveLarge(
  request: Request,
  spool: Spool,
  limits: { inMemory: number; most: number },
  onPiece: () => void,
): Promise<Received> {
  if (request.body === null) return { body: null };
  const reader = request.body.getReader();
  const gathered = new Gathered();
  let total = 0;
  let region: SpoolRegion | undefined;
  const fail = async (error: "too-large" | "aborted" | "spool", cause?: unknown): Promise<Received> => {
    if (region !== undefined) spool.give(region);
    await cancel(reader);
    return { error, cause };
  };
  for (;;) {
    let piece: Awaited<ReturnType<typeof reader.read>>;
    try {
      piece = await reader.read();
    } catch (cause) {
      return await fail("aborted", cause);
    }
    if (piece.done) break;
    onPiece();
    const { value } = piece;
    total += value.length;
    if (total > limits.most) return await fail("too-large");
    const most = total <= limits.inMemory ? limits.inMemory : WORTH_WRITING_BYTES;
    if (gathered.length + value.length <= most) {
      gathered.add(value);
      continue;
    }
    try {
      region ??= spool.take();
      if (gathered.length > 0) await spool.append(region, gathered.take());
      await spool.append(region, value);
    } catch (cause) {
      return await fail("spool", cause);
    }
  }
  if (region === undefined) return { body: { kind: "memory", bytes: gathered.take() } };
  try {
    if (gathered.length > 0) await spool.append(region, gathered.take());
  } catch (cause) {
    return await fail("spool", cause);
  }
  return { body: { kind: "spooled", region, given: false } };
}

/** Pieces put together: a client that sends a byte at a time must not cost an object for each. */
class Gathered {
  length = 0;
  #buffer = Buffer.alloc(0);

  add(piece: Uint8Array): void {
    const needed = this.length + piece.length;
    if (needed > this.#buffer.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(needed, 2 * this.#buffer.length));
      larger.set(this.take());
      this.#buffer = larger;
      this.length = needed - piece.length;
    }
    this.#buffer.set(piece, this.length);
    this.length = needed;
  }

  /** What there is. It is overwritten by what is added next. */
  take(): Uint8Array {
    const bytes = this.#buffer.subarray(0, this.length);
    this.length = 0;
    return bytes;
  }
}

/** Of a body whose client has gone there is nothing to cancel; that is no failure of ours. */
async function cancel(reader: { cancel(): Promise<void> }): Promise<void> {
  try {
    await reader.cancel();
  } catch {
    return;
  }
}
