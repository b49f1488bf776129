/** What the contract cannot ask of worker mode, and why. */
export const NOT_IN_WORKER_MODE: ReadonlyMap<string, string> = new Map([
  [
    "nothing a script changes is seen by the next one in its worker",
    "settings, globals and functions are the application's and stay; see worker-mode-fresh.test.ts and worker-mode-reset.test.ts",
  ],
  [
    "exit in the middle keeps the output, and shutdown functions and destructors still speak",
    "what a handler has in local variables goes when it ends, before shutdown functions; see worker-mode-endings.test.ts",
  ],
  [
    "shutdown functions may still set the status and print, also nested ones",
    "what a handler has in local variables goes when it ends, before shutdown functions; see worker-mode-endings.test.ts",
  ],
]);
