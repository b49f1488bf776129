import { version } from "../package.json";

declare const PHPRUN_COMMIT: string | undefined;

export const VERSION: string = version;

/** Git commit the executable was built from, "-dirty" behind it when files had changed; "dev" in a source tree. */
export const COMMIT: string = typeof PHPRUN_COMMIT === "string" ? PHPRUN_COMMIT : "dev";
