import type { Folder } from "./folder.ts";

/** What Composer's files say of an application. */
export interface Composer {
  /** Is there a composer.json at all? */
  readonly present: boolean;
  /** Why composer.json is of no use, for the person who wrote it. */
  readonly fault: string | null;
  /** Does the application itself ask for one of these packages? Those for development do not count. */
  requires(...packages: readonly string[]): string | undefined;
  /** The installed version, without its `v`, from composer.lock. */
  version(name: string): string | undefined;
}

export function readComposer(folder: Folder): Composer {
  const text = folder.read("composer.json");
  const parsed = text === null ? {} : parse(text);
  const required = mapOf(mapOf(parsed)?.["require"]) ?? {};
  const versions = lockedVersions(parse(folder.read("composer.lock") ?? "{}"));
  return {
    present: text !== null,
    fault:
      mapOf(parsed) === undefined ? "composer.json is no JSON object: what it requires is not known" : null,
    requires: (...packages) => packages.find((name) => Object.hasOwn(required, name)),
    version: (name) => versions.get(name),
  };
}

function lockedVersions(lock: unknown): Map<string, string> {
  const packages = mapOf(lock)?.["packages"];
  const versions = new Map<string, string>();
  for (const entry of Array.isArray(packages) ? packages : []) {
    const { name, version } = mapOf(entry) ?? {};
    if (typeof name === "string" && typeof version === "string" && /^[\w.+-]+$/.test(version))
      versions.set(name, version.replace(/^v(?=\d)/, ""));
  }
  return versions;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

function mapOf(value: unknown): Readonly<Record<string, unknown>> | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : undefined;
}
