import type { LibphpInfo } from "./libphp-info.ts";
import { hasThreadTimers } from "./read-build.ts";

type Libphp = Pick<LibphpInfo, "path" | "version">;
type Ini = Readonly<Record<string, string>>;

/**
 * Settings that workers in threads need, over those of the user.
 *
 * opcache would otherwise wait so many seconds for requests that are in its way and then kill their process, which
 * is the host: all of them. And it would write-protect its memory for all threads while one still writes.
 */
export function iniForThreads(given: Ini, libphp: Libphp | null): Record<string, string> {
  return {
    ...(libphp !== null && !("max_execution_time" in given) && !hasThreadTimers(libphp)
      ? { max_execution_time: "0" }
      : {}),
    "opcache.force_restart_timeout": "0",
    "opcache.protect_memory": "0",
  };
}

/** What is wrong with the settings of a pool in threads, and what to do about it. */
export function threadIniWarnings(
  given: Ini,
  libphp: Libphp,
): { readonly text: string; readonly remedy: string }[] {
  const seconds = given["max_execution_time"];
  if (seconds === undefined || Number(seconds) === 0 || hasThreadTimers(libphp)) return [];
  return [
    {
      text: `max_execution_time=${seconds} is one timer for all threads of PHP ${libphp.version}, so it ends any request`,
      remedy:
        "Leave it out (timeout_ms limits each request by itself), use PHP 8.3 or newer, or PHP 8.2 configured with --enable-zend-max-execution-timers",
    },
  ];
}
