import { threadIniWarnings } from "./php/thread-ini.ts";
import { unsafeInThreads } from "./php/thread-safety.ts";
import type { Pool } from "./pool/pool.ts";

type Ini = Readonly<Record<string, string>>;

export interface ThreadWarning {
  readonly level: "warn" | "info";
  readonly text: string;
}

/** What should be known of pools whose workers are threads: each thing once, however many pools it is true of. */
export function threadWarnings(pools: readonly Pool[], phpIni: Ini): ThreadWarning[] {
  const warnings = new Map<string, ThreadWarning>();
  for (const { isolation, config, report } of pools) {
    if (isolation !== "thread" || report === undefined) continue;
    for (const { name, reason, crashes } of unsafeInThreads(report.extensions)) {
      const text = `The extension ${name} is not for workers in threads: ${reason}`;
      warnings.set(text, { level: crashes ? "warn" : "info", text });
    }
    const libphp = { path: report.libphp, version: report.version };
    for (const { text, remedy } of threadIniWarnings({ ...phpIni, ...config.ini }, libphp)) {
      warnings.set(text, { level: "warn", text: `${text}. ${remedy}.` });
    }
  }
  return [...warnings.values()];
}
