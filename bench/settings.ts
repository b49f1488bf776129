import { dirname } from "node:path";
import type { Stack } from "./stacks/stack.ts";

export interface Settings {
  readonly version: string;
  readonly sapi: string;
  readonly iniFiles: readonly string[];
  readonly extensions: readonly string[];
  readonly opcache: boolean;
  readonly jit: boolean;
  readonly ini: Readonly<Record<string, string | null>>;
}

export async function settingsOf(stack: Stack): Promise<Settings> {
  const response = await fetch(`http://127.0.0.1:${stack.port}/settings.php`);
  if (response.status !== 200) throw new Error(`${stack.title} answers ${response.status} to /settings.php`);
  return (await response.json()) as Settings;
}

/** The php.ini and the folder of further ini files, to hand to another PHP. */
export function iniSources(settings: Settings): { ini: string; scanned: string } {
  const [ini, first] = settings.iniFiles;
  if (ini === undefined || first === undefined || first === "") {
    throw new Error("Cannot compare: phprun's PHP reads no php.ini, or no further ini files");
  }
  return { ini, scanned: dirname(first) };
}

/** Settings that only one of the two SAPIs has, and that say nothing about speed. */
export const ofOneSapi = /^(?:fastcgi|cgi|fpm|phprun)\./;

/** Extensions that Debian builds into one of the two and not into the other. */
const builtIn = /^(?:cgi-fcgi|phprun|pcntl)$/;

/** Throws unless both run the same PHP in the same way; `aside` are settings that may differ. */
export function compareSettings(ours: Settings, theirs: Settings, aside = ofOneSapi): void {
  const differences: string[] = [];
  for (const key of ["version", "opcache", "jit"] as const) {
    if (ours[key] !== theirs[key]) differences.push(`${key}: ${ours[key]} and ${theirs[key]}`);
  }
  const extensions = difference(ours.extensions, theirs.extensions).filter((name) => !builtIn.test(name));
  if (extensions.length > 0) differences.push(`extensions: ${extensions.join(", ")}`);
  for (const name of new Set([...Object.keys(ours.ini), ...Object.keys(theirs.ini)])) {
    if (aside.test(name) || ours.ini[name] === theirs.ini[name]) continue;
    differences.push(`${name}: ${ours.ini[name]} and ${theirs.ini[name]}`);
  }
  if (differences.length > 0)
    throw new Error(`Cannot compare: ${ours.sapi} and ${theirs.sapi} differ in ${differences.join("; ")}`);
}

function difference(a: readonly string[], b: readonly string[]): string[] {
  return [...a.filter((name) => !b.includes(name)), ...b.filter((name) => !a.includes(name))];
}
