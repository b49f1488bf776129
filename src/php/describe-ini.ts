import type { PhpReport } from "./report.ts";

/** `/etc/php/php.ini, 12 files in /etc/php/conf.d`; empty when none was read. */
export function describeIni({ iniFile, iniScanned }: Pick<PhpReport, "iniFile" | "iniScanned">): string {
  const folders = new Set(iniScanned.map((file) => file.slice(0, Math.max(1, file.lastIndexOf("/")))));
  const scanned = `${iniScanned.length} ${iniScanned.length === 1 ? "file" : "files"} in ${[...folders].join(", ")}`;
  return [iniFile, iniScanned.length === 0 ? "" : scanned].filter((part) => part !== "").join(", ");
}
