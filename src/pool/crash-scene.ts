import { Phase } from "../../ffi/layout.ts";
import type { Running, Slots } from "./slots.ts";
import type { Workers } from "./workers.ts";

/** What a host of threads left behind when it died. */
export interface CrashScene {
  /** The worker that brought it about, and the PHP code it was in; null when none has said so in its record. */
  readonly culprit: { readonly worker: number; readonly place: string } | null;
  /** What each worker was running. */
  readonly requests: ReadonlyMap<number, Running>;
  /** The threads that did nothing wrong. */
  readonly others: readonly number[];
}

/** To be called before the workers are buried. */
export function crashScene(workers: Workers, slots: Slots): CrashScene {
  const { memory } = slots;
  const requests = new Map<number, Running>();
  for (const [slot, running] of slots.running()) {
    const phase = memory.phase(slot);
    if (phase === Phase.running || phase === Phase.responded) requests.set(memory.owner(slot), running);
  }
  const alive = workers.all.filter(({ state }) => state !== "absent").map(({ number }) => number);
  const worker = alive.find((number) => memory.worker(number).lastFunction !== "");
  return {
    culprit: worker === undefined ? null : { worker, place: memory.worker(worker).lastFunction },
    requests,
    others: alive.filter((number) => number !== worker),
  };
}
