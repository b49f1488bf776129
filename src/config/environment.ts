import { coerce } from "./coerce.ts";
import { rootField } from "./schema.ts";
import { nearest } from "./nearest.ts";
import type { Field } from "./field.ts";
import { type Problem, received } from "./problem.ts";
import { isTree, type Path } from "./tree.ts";

/** A value that an environment variable or a flag puts over the file's. */
export interface Assignment {
  readonly path: Path;
  readonly value: unknown;
  /** `PHPRUN_SERVER__PORT` or `--port`. */
  readonly source: string;
}

const PREFIX = "PHPRUN_";

/**
 * Read `PHPRUN_SERVER__PORT=9000`: `__` goes down one level. A pool is named by its place or its name
 * (`PHPRUN_POOLS__DEFAULT__TIMEOUT_MS`); below `ini` the levels are joined with dots, below `env` names stay as they are.
 */
export function readEnvironment(
  env: Readonly<Record<string, string | undefined>>,
  pools: readonly unknown[],
): { assignments: Assignment[]; problems: Problem[] } {
  const assignments: Assignment[] = [];
  const problems: Problem[] = [];
  for (const source of Object.keys(env).sort()) {
    const text = env[source];
    if (text === undefined || !source.startsWith(PREFIX) || !source.includes("__")) continue;
    const found = resolveName(source.slice(PREFIX.length).split("__"), pools);
    if (typeof found === "string") problems.push({ where: source, message: found });
    else assignments.push({ path: found.path, value: coerce(text, found.field), source });
  }
  return { assignments, problems };
}

function resolveName(
  parts: readonly string[],
  pools: readonly unknown[],
): { path: Path; field: Field } | string {
  const path: (string | number)[] = [];
  let field: Field = rootField;
  for (const [index, part] of parts.entries()) {
    const rest = parts.slice(index);
    const map = field.patternProperties === undefined ? undefined : Object.values(field.patternProperties)[0];
    if (map !== undefined) {
      return { path: [...path, mapKey(field, rest)], field: map };
    }
    if (field.items !== undefined) {
      const place = field.items.properties === undefined ? undefined : placeOf(part, pools);
      if (place === undefined || path[0] !== "pools") return itemMessage(part, path, pools);
      path.push(place);
      field = field.items;
      continue;
    }
    const properties = propertiesOf(field);
    const key = part.toLowerCase();
    const next: Field | undefined = Object.hasOwn(properties, key) ? properties[key] : undefined;
    if (next === undefined) return unknownMessage(part, parts.slice(0, index), Object.keys(properties));
    path.push(key);
    field = next;
  }
  return { path, field };
}

function mapKey(field: Field, rest: readonly string[]): string {
  if (field["x-kind"] === "env") return rest.join("__");
  return rest.join(".").toLowerCase();
}

function placeOf(part: string, pools: readonly unknown[]): number | undefined {
  if (/^\d{1,3}$/.test(part)) return Number(part) < pools.length ? Number(part) : undefined;
  const wanted = part.toLowerCase();
  const place = pools.findIndex(
    (pool) =>
      isTree(pool) && String(pool["name"]).toLowerCase().replaceAll("-", "_") === wanted.replaceAll("-", "_"),
  );
  return place === -1 ? undefined : place;
}

function itemMessage(part: string, path: Path, pools: readonly unknown[]): string {
  if (path[0] !== "pools" || path.length > 1)
    return `Cannot set one item of '${path.join(".")}': give the whole list, separated by commas`;
  const names = pools.flatMap((pool) =>
    isTree(pool) && typeof pool["name"] === "string" ? [pool["name"]] : [],
  );
  return `Cannot use the pool ${received(part)}: must be its place in the list or one of ${[...new Set(names)].join(", ")}`;
}

function unknownMessage(part: string, above: readonly string[], keys: readonly string[]): string {
  const near = nearest(part, keys);
  const full = (key: string) => PREFIX + [...above, key.toUpperCase()].join("__");
  if (near !== undefined) return `Cannot use ${received(part)}: unknown key; did you mean ${full(near)}?`;
  if (keys.length === 0) return `Cannot use ${received(part)}: ${above.join("__")} holds no further keys`;
  return `Cannot use ${received(part)}: unknown key; valid here: ${keys.map((key) => key.toUpperCase()).join(", ")}`;
}

function propertiesOf(field: Field): Readonly<Record<string, Field>> {
  return (
    field.properties ??
    (field.anyOf ?? []).find((variant) => variant.properties !== undefined)?.properties ??
    {}
  );
}
