/** What a libphp says about itself without being started. */
export interface LibphpInfo {
  readonly path: string;
  /** `8.2.35` */
  readonly version: string;
  /** Module API number, such as 20220829: extensions and the shim must be built for the same. */
  readonly zendApi: number;
  readonly zts: boolean;
  readonly debug: boolean;
}

/** What a shim was compiled against; a library of another kind must not be loaded under it. */
export type ShimBuild = Pick<LibphpInfo, "zendApi" | "zts" | "debug">;

/** Do a shim and a library fit together? */
export const isBuiltFor = (shim: ShimBuild, library: ShimBuild): boolean =>
  shim.zendApi === library.zendApi && shim.zts === library.zts && shim.debug === library.debug;

/** Why a file is no libphp that can be used. */
export interface LibphpFailure {
  readonly path: string;
  readonly error: string;
}

export const OLDEST_PHP = "8.2";
export const NEWEST_PHP = "8.5";

export const isSupported = ({ version }: Pick<LibphpInfo, "version">): boolean => /^8\.[2-5]\./.test(version);

/** `PHP 8.2.35 NTS API 20220829` */
export function describeLibphp(info: Omit<LibphpInfo, "path">): string {
  return `PHP ${info.version} ${info.zts ? "ZTS" : "NTS"}${info.debug ? " debug" : ""} API ${info.zendApi}`;
}
