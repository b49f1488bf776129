import { readFileSync } from "node:fs";
import type { LibphpInfo } from "./libphp-info.ts";

/**
 * What a libphp file was built as, read from its bytes without loading it: every PHP carries its build id, such
 * as `API20220829,NTS`, and its `X-Powered-By` header as plain strings. null when it is no PHP.
 */
export function readBuild(path: string): Omit<LibphpInfo, "path"> | null {
  const bytes = readFileSync(path);
  const id = /^API(\d{8}),(N?TS)(,debug)?$/.exec(stringAt(bytes, "\0API20"));
  const version = /^X-Powered-By: PHP\/(\d+\.\d+\.\d+[\x21-\x7e]*)$/.exec(stringAt(bytes, "\0X-Powered-By: PHP/"));
  if (id?.[1] === undefined || version?.[1] === undefined) return null;
  return { version: version[1], zendApi: Number(id[1]), zts: id[2] === "TS", debug: id[3] !== undefined };
}

/** The C string behind the first NUL that `start` begins with. */
function stringAt(bytes: Buffer, start: string): string {
  const at = bytes.indexOf(start, 0, "latin1");
  return at < 0 ? "" : bytes.toString("latin1", at + 1, bytes.indexOf(0, at + 1));
}
