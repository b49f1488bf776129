import type { Spool, SpoolRegion } from "../pool/spool.ts";

/** A request body that has been received whole. */
export type RequestBody =
  | { readonly kind: "memory"; readonly bytes: Uint8Array }
  | { readonly kind: "spooled"; readonly region: SpoolRegion; given: boolean };

export type Received =
  { body: RequestBody | null } | { error: "too-large" | "aborted" | "spool"; cause?: unknown };

/**
 * Receives a whole body before a worker is taken, so that a slow upload never holds one. Up to `inMemory` bytes
 * it stays in memory, beyond that it goes to the spool file as it comes.
 */
export async function receiveBody(
  request: Request,
  contentLength: number | null,
  spool: Spool,
  limits: { inMemory: number; most: number },
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
  return await receiveLarge(request, spool, limits);
}

async function receiveLarge(
  request: Request,
  spool: Spool,
  limits: { inMemory: number; most: number },
): Promise<Received> {
  if (request.body === null) return { body: null };
  const reader = request.body.getReader();
  const first: Uint8Array[] = [];
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
    total += piece.value.length;
    if (total > limits.most) return await fail("too-large");
    if (total <= limits.inMemory) {
      first.push(piece.value);
      continue;
    }
    try {
      if (region === undefined) {
        region = spool.take();
        for (const earlier of first.splice(0)) await spool.append(region, earlier);
      }
      await spool.append(region, piece.value);
    } catch (cause) {
      return await fail("spool", cause);
    }
  }
  if (region !== undefined) return { body: { kind: "spooled", region, given: false } };
  return { body: { kind: "memory", bytes: Buffer.concat(first) } };
}

/** Of a body whose client has gone there is nothing to cancel; that is no failure of ours. */
async function cancel(reader: { cancel(): Promise<void> }): Promise<void> {
  try {
    await reader.cancel();
  } catch {
    return;
  }
}
