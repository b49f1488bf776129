import { readFileSync } from "node:fs";
import { phpShimPath } from "../../ffi/embedded.ts";
import type { LibphpInfo, ShimBuild } from "./libphp-info.ts";

/**
 * What a libphp file was built as, read from its bytes without loading it: every PHP carries its build id, such
 * as `API20220829,NTS`, and its `X-Powered-By` header as plain strings. null when it is no PHP.
 */
export function readBuild(path: string): Omit<LibphpInfo, "path"> | null {
  const bytes = readFileSync(path);
  const id = buildId(bytes);
  const version = /^X-Powered-By: PHP\/(\d+\.\d+\.\d+[\x21-\x7e]*)$/.exec(
    stringAt(bytes, "\0X-Powered-By: PHP/"),
  );
  return id === null || version?.[1] === undefined ? null : { version: version[1], ...id };
}

/** What our own shim was compiled against: its module entry carries the same build id. */
export function readShimBuild(): ShimBuild | null {
  return buildId(readFileSync(phpShimPath));
}

function buildId(bytes: Buffer): ShimBuild | null {
  const id = /^API(\d{8}),(N?TS)(,debug)?$/.exec(stringAt(bytes, "\0API20"));
  return id === null ? null : { zendApi: Number(id[1]), zts: id[2] === "TS", debug: id[3] !== undefined };
}

/** The C string behind the first NUL that `start` begins with. */
function stringAt(bytes: Buffer, start: string): string {
  const at = bytes.indexOf(start, 0, "latin1");
  return at < 0 ? "" : bytes.toString("latin1", at + 1, bytes.indexOf(0, at + 1));
}
