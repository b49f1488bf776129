import {
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { basename, join } from "node:path";
import { dlopen } from "bun:ffi";
import { PhprunError } from "../src/errors.ts";

/** Where the embedded libraries are written, when the anonymous file in memory is not wanted. */
export const LIBRARY_DIR_VARIABLE = "PHPRUN_LIBRARY_DIR";

const MFD_CLOEXEC = 1;

/**
 * A path that dlopen() can open. A file inside the executable has none, so its bytes go to an anonymous file
 * in memory, which needs no writable folder and no /tmp without `noexec`; or to PHPRUN_LIBRARY_DIR.
 */
export function openable(path: string): string {
  if (!path.startsWith("/$bunfs/")) return path;
  const bytes = readFileSync(path);
  const folder = process.env[LIBRARY_DIR_VARIABLE];
  return folder === undefined || folder === "" ? inMemory(path, bytes) : inFolder(folder, path, bytes);
}

function inMemory(path: string, bytes: Uint8Array): string {
  const libc = dlopen("libc.so.6", { memfd_create: { args: ["ptr", "u32"], returns: "i32" } });
  const name = Buffer.from(`${basename(path)}\0`);
  const fd = libc.symbols.memfd_create(name, MFD_CLOEXEC);
  if (fd < 0) {
    throw new PhprunError(
      "LIBRARY",
      `Cannot load ${basename(path)}: this system allows no anonymous files. Set ${LIBRARY_DIR_VARIABLE} to a folder that may hold libraries (writable, not mounted noexec).`,
    );
  }
  for (let written = 0; written < bytes.length;) written += writeSync(fd, bytes, written);
  // Stays open: the loader names the library by this path for as long as the process lives.
  return `/proc/self/fd/${fd}`;
}

function inFolder(folder: string, path: string, bytes: Uint8Array): string {
  const hash = Bun.hash(bytes).toString(16);
  const target = join(folder, `${basename(path, ".so")}-${hash}.so`);
  try {
    if (statSync(target, { throwIfNoEntry: false })?.size === bytes.length) return target;
    mkdirSync(folder, { recursive: true, mode: 0o755 });
    // Written beside and renamed, so that two processes starting at once never see half a file.
    const part = `${target}.${process.pid}`;
    writeFileSync(part, bytes, { mode: 0o755 });
    renameSync(part, target);
    closeSync(openSync(target, "r"));
    return target;
  } catch (cause) {
    throw new PhprunError(
      "LIBRARY",
      `Cannot write ${target}: ${LIBRARY_DIR_VARIABLE} must name a writable folder`,
      {
        cause,
      },
    );
  }
}
