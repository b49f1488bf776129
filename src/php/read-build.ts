import { closeSync, openSync, readSync } from "node:fs";
import type { LibphpInfo, ShimBuild } from "./libphp-info.ts";

const CHUNK_BYTES = 1 << 20;
/** Longest of the strings that are looked for; chunks overlap by that much. */
const LONGEST = 4096;

const VERSION_HEADER = "\0X-Powered-By: PHP/";

/**
 * What a libphp file was built as, read from its bytes without loading it: every PHP carries its build id, such
 * as `API20220829,NTS`, and its `X-Powered-By` header as plain strings. null when it is no PHP.
 *
 * Reads no further than it must: with its debug information a libphp has 65 MB, of which this needs the first 20
 * (4 ms once they are in memory, where reading the whole file takes over 100).
 */
export function readBuild(path: string): Omit<LibphpInfo, "path"> | null {
  const [id = "", header = ""] = findStrings(path, ["\0API20", VERSION_HEADER]);
  const build = parseBuildId(id);
  const version = /^X-Powered-By: PHP\/(\d+\.\d+\.\d+[\x21-\x7e]*)$/.exec(header)?.[1];
  return build === null || version === undefined ? null : { version, ...build };
}

/** Where that PHP looks for extensions: a folder which most builds name after the API number; null when this one does not. */
export function readExtensionDir(path: string, zendApi: number): string | null {
  const [found = ""] = findStrings(path, [`${zendApi}\0`]);
  return found.startsWith("/") ? found : null;
}

/** A function that a PHP exports whose threads have timers. */
const TIMER = "\0zend_max_execution_timer_init\0";

/**
 * Has each thread a timer of its own for max_execution_time? From 8.3 on always; PHP 8.2 when it was configured with
 * --enable-zend-max-execution-timers. The names of a library's functions lie before its other strings.
 */
export function hasThreadTimers({ path, version }: Pick<LibphpInfo, "path" | "version">): boolean {
  if (!version.startsWith("8.2.")) return true;
  try {
    return findStrings(path, [VERSION_HEADER], [TIMER])[1] !== "";
  } catch {
    return false;
  }
}

function parseBuildId(text: string): ShimBuild | null {
  const id = /^API(\d{8}),(N?TS)(,debug)?$/.exec(text);
  return id === null ? null : { zendApi: Number(id[1]), zts: id[2] === "TS", debug: id[3] !== undefined };
}

/**
 * The first C string of the file that holds each of `wanted`; the NUL on either side of it may be asked for too. Behind
 * them those of `others` that have been met by then.
 */
function findStrings(path: string, wanted: readonly string[], others: readonly string[] = []): string[] {
  const texts = [...wanted, ...others];
  const found = texts.map(() => "");
  const chunk = Buffer.allocUnsafe(CHUNK_BYTES);
  const file = openSync(path, "r");
  try {
    for (let position = 0; found.slice(0, wanted.length).includes("");) {
      const bytes = chunk.subarray(0, readSync(file, chunk, 0, CHUNK_BYTES, position));
      for (const [index, text] of texts.entries()) found[index] ||= stringIn(bytes, text);
      if (bytes.length <= LONGEST) break;
      position += bytes.length - LONGEST;
    }
  } finally {
    closeSync(file);
  }
  return found;
}

/** A string that the end of the chunk cuts is left for the next one, which holds all of it. */
function stringIn(bytes: Buffer, text: string): string {
  const at = bytes.indexOf(text, 0, "latin1");
  if (at < 0) return "";
  const start = text.startsWith("\0") ? at + 1 : bytes.lastIndexOf(0, at) + 1;
  const end = bytes.indexOf(0, at + 1);
  return end < 0 ? "" : bytes.toString("latin1", start, end);
}
