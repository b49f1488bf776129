/** Says where the transport library is opened from, and that it works. Compiled by open.test.ts. */
import { dlopen } from "bun:ffi";

import { transportPath } from "../../../ffi/embedded.ts";
import { openable } from "../../../ffi/open.ts";
import { PhprunError } from "../../../src/errors.ts";

try {
  const path = openable(transportPath);
  const { symbols } = dlopen(path, { phprun_transport_abi: { args: [], returns: "u32" } });
  console.log(JSON.stringify({ embedded: transportPath, path, abi: symbols.phprun_transport_abi() }));
} catch (error) {
  if (!(error instanceof PhprunError)) throw error;
  console.log(JSON.stringify({ code: error.code, message: error.message }));
}
