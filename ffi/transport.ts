import { dlopen } from "bun:ffi";
import { constants } from "node:os";
import { PhprunError } from "../src/errors.ts";
import { transportPath } from "./embedded.ts";
import { LAYOUT, type Layout } from "./layout.ts";
import { openable } from "./open.ts";
import { transportSymbols } from "./symbols.ts";

const TRANSPORT_ABI = 4;

type Symbols = ReturnType<typeof dlopen<typeof transportSymbols>>["symbols"];
let loaded: { symbols: Symbols; layout: Layout } | undefined;

/** The transport library, loaded at first use. */
export function transport(): { symbols: Symbols; layout: Layout } {
  if (loaded !== undefined) return loaded;
  const { symbols } = dlopen(openable(transportPath), transportSymbols);
  const abi = symbols.phprun_transport_abi();
  const offsets = new Uint32Array(LAYOUT.length);
  if (abi !== TRANSPORT_ABI || symbols.phprun_transport_layout(offsets, offsets.length) < 0) {
    throw new PhprunError(
      "TRANSPORT_ABI",
      `Cannot use ${transportPath}: it must have ABI ${TRANSPORT_ABI}, received ${abi}. Build it again with ./setup.sh.`,
    );
  }
  const layout = Object.fromEntries(LAYOUT.map((name, i) => [name, offsets[i] ?? 0])) as Layout;
  loaded = { symbols, layout };
  return loaded;
}

/** Returns a count, turns a negative errno into an error. */
export function check(result: number, doing: string): number {
  if (result >= 0) return result;
  const name = Object.entries(constants.errno).find(([, number]) => number === -result)?.[0];
  throw new PhprunError("SYSTEM", `Cannot ${doing}: ${name ?? `errno ${-result}`}`);
}
