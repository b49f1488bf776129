import { shims as compiled } from "../build/lib/shims.ts";

/** The compiled C, as files: beside the source tree in development, inside the executable otherwise. */
export { default as transportPath } from "../build/lib/libphprun-transport.so" with { type: "file" };

/** The part that speaks to PHP, compiled against one PHP; it serves every libphp of the same kind. */
export interface Shim {
  readonly path: string;
  /** Module API number, such as 20220829. */
  readonly zendApi: number;
  readonly zts: boolean;
  readonly debug: boolean;
  /** `8.2.35`: the PHP it was compiled against. */
  readonly version: string;
}

/** The shims that this build carries; the first is that of the machine's own PHP. */
export const shims: readonly Shim[] = compiled;
