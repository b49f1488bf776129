/*
 * What runs inside a Bun Worker: it starts one PHP worker on a thread of the shim's, with a real stack, and waits for
 * its end without blocking.
 */
import { dlopen } from "bun:ffi";
import { phpThreadSymbols } from "../ffi/symbols.ts";
import { connectFd } from "../src/pool/connect-fd.ts";

export interface ToThread {
  /** The library that the host has opened, by the same path. */
  readonly shim: string;
  readonly worker: number;
  readonly generation: number;
}

export type FromThread =
  | { readonly kind: "started"; readonly thread: number }
  | { readonly kind: "ended" }
  | { readonly kind: "failed"; readonly message: string; readonly errno: number };

declare const self: Worker;

type Shim = ReturnType<typeof dlopen<typeof phpThreadSymbols>>["symbols"];
let opened: Shim | undefined;

self.addEventListener("message", ({ data }: MessageEvent<ToThread>) => {
  live(data).then(
    () => tell({ kind: "ended" }),
    (error: unknown) => {
      const { message, errno = 0 } = error as Error & { errno?: number };
      tell({ kind: "failed", message, errno });
    },
  );
});

async function live({ shim, worker, generation }: ToThread): Promise<void> {
  opened ??= dlopen(shim, phpThreadSymbols).symbols;
  const symbols = opened;
  const pair = new Int32Array(2);
  check(symbols.phprun_socketpair(pair), "make a socket pair for a worker");
  const { promise: ended, resolve } = Promise.withResolvers<void>();
  // Closed by the thread, and then by Bun.
  await connectFd(pair[0] ?? -1, { data: () => undefined, close: () => resolve() });
  const thread = check(
    symbols.phprun_thread_start(worker, generation, pair[1] ?? -1),
    "start the thread of a worker",
  );
  tell({ kind: "started", thread });
  await ended;
  symbols.phprun_thread_join(worker);
}

function check(result: number, doing: string): number {
  if (result >= 0) return result;
  throw Object.assign(new Error(`Cannot ${doing}: errno ${-result}`), { errno: -result });
}

function tell(message: FromThread): void {
  postMessage(message);
}
