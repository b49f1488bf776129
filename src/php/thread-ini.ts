type Ini = Readonly<Record<string, string>>;

/**
 * Settings that workers in threads need, over those of the user.
 *
 * opcache would otherwise wait so many seconds for requests that are in its way and then kill their process, which
 * is the host: all of them. And it would write-protect its memory for all threads while one still writes.
 */
export function iniForThreads(given: Ini, version: string | undefined): Record<string, string> {
  return {
    ...(sharesTimer(version) && !("max_execution_time" in given) ? { max_execution_time: "0" } : {}),
    "opcache.force_restart_timeout": "0",
    "opcache.protect_memory": "0",
  };
}

/** What is wrong with the settings of a pool in threads, and what to do about it. */
export function threadIniWarnings(
  given: Ini,
  version: string | undefined,
): { readonly text: string; readonly remedy: string }[] {
  const seconds = given["max_execution_time"];
  if (!sharesTimer(version) || seconds === undefined || Number(seconds) === 0) return [];
  return [
    {
      text: `max_execution_time=${seconds} is one timer for all threads of PHP ${version}, so it ends any request`,
      remedy: "Leave it out (timeout_ms limits each request by itself), or use PHP 8.3 or newer",
    },
  ];
}

/** Before PHP 8.3 there is one timer in the process, which the last request to start has set. */
const sharesTimer = (version: string | undefined): boolean => version?.startsWith("8.2.") ?? false;
