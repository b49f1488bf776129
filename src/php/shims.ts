import { type Shim, shims } from "../../ffi/embedded.ts";
import { PhprunError } from "../errors.ts";
import { readBuild } from "./read-build.ts";
import { isBuiltFor, type LibphpInfo, type ShimBuild } from "./libphp-info.ts";

/** The shim for a libphp of this kind; undefined when this build carries none. */
export function shimFor(build: ShimBuild, carried: readonly Shim[] = shims): Shim | undefined {
  return carried.find((shim) => isBuiltFor(shim, build));
}

/** The same of a file; undefined too when it is no libphp. */
export function shimOf(libphp: string): Shim | undefined {
  const build = readBuildIfAny(libphp);
  return build === null ? undefined : shimFor(build);
}

/** What the file was built as; null when it is no libphp, or cannot be read. */
export function readBuildIfAny(path: string): LibphpInfo | null {
  try {
    const build = readBuild(path);
    return build === null ? null : { path, ...build };
  } catch {
    return null;
  }
}

/** `API 20220829 NTS (PHP 8.2.35) or API 20240924 ZTS (PHP 8.4.24)` */
export function describeShims(carried: readonly Shim[] = shims): string {
  return carried.map(describeKind).join(" or ");
}

/** The kind first, since it decides; `API 20220829 NTS (PHP 8.2.35)`. */
export function describeKind({ zendApi, zts, debug, version }: ShimBuild & { version: string }): string {
  return `API ${zendApi} ${zts ? "ZTS" : "NTS"}${debug ? " debug" : ""} (PHP ${version})`;
}

/** How a libphp gets a shim. */
export const SHIM_REMEDY =
  "Install that PHP's headers and run ./setup.sh to build phprun for it too (./setup.sh --zts provides a thread-safe PHP), or set php.libphp to another one";

/** The shim for this libphp. Another API or thread safety means other structures: starting that PHP would be a crash at best. */
export function requireShim(libphp: LibphpInfo, carried: readonly Shim[] = shims): Shim {
  const shim = shimFor(libphp, carried);
  if (shim !== undefined) return shim;
  throw new PhprunError(
    "LIBPHP_API",
    `Cannot use ${libphp.path}: it must have ${describeShims(carried)}, which phprun was built for, received ${describeKind(libphp)}. ${SHIM_REMEDY}.`,
  );
}
