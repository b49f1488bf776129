import type { Field } from "./field.ts";
import { rootField } from "./schema.ts";

/** Keys and indexes from the root to a value. */
export type Path = readonly (string | number)[];
export type Tree = Record<string, unknown>;

/** How a path is written for people: `pools[0].queue.max`. */
export function pathText(path: Path): string {
  let text = "";
  for (const part of path) {
    if (typeof part === "number") text += `[${part}]`;
    else text += text === "" ? part : `.${part}`;
  }
  return text;
}

export const isTree = (value: unknown): value is Tree =>
  typeof value === "object" && value !== null && !Array.isArray(value);

export function valueAt(root: unknown, path: Path): unknown {
  let value = root;
  for (const part of path) {
    if (Array.isArray(value) && typeof part === "number") value = value[part];
    else if (isTree(value) && Object.hasOwn(value, part)) value = value[part];
    else return undefined;
  }
  return value;
}

/** Set a value, making the maps on the way; a list is only entered where the index exists. */
export function setAt(root: Tree, path: Path, value: unknown): void {
  let place: Tree | unknown[] = root;
  for (const [index, part] of path.entries()) {
    const last = index === path.length - 1;
    if (Array.isArray(place)) {
      if (typeof part !== "number") return;
      if (last) place[part] = value;
      const next: unknown = place[part];
      if (!isTree(next) && !Array.isArray(next)) return;
      place = next;
    } else if (last) {
      Object.defineProperty(place, part, { value, writable: true, enumerable: true, configurable: true });
    } else {
      const next: unknown = Object.hasOwn(place, part) ? place[part] : undefined;
      const entered: Tree | unknown[] = isTree(next) || Array.isArray(next) ? next : {};
      place[part] = entered;
      place = entered;
    }
  }
}

export function deleteAt(root: unknown, path: Path): void {
  const parent = valueAt(root, path.slice(0, -1));
  const key = path.at(-1);
  if (isTree(parent) && key !== undefined) delete parent[key];
}

/** The part of the schema that a path leads to. */
export function fieldAt(path: Path, root: Field = rootField): Field | undefined {
  let field: Field | undefined = root;
  for (const part of path) {
    field = field === undefined ? undefined : childField(field, part);
  }
  return field;
}

export function childField(field: Field, part: string | number): Field | undefined {
  if (typeof part === "number") return field.items ?? throughVariants(field, part);
  if (field.properties !== undefined)
    return Object.hasOwn(field.properties, part) ? field.properties[part] : undefined;
  if (field.patternProperties !== undefined) {
    const [pattern, value] = Object.entries(field.patternProperties)[0] ?? [];
    return pattern !== undefined && new RegExp(pattern).test(part) ? value : undefined;
  }
  return throughVariants(field, part);
}

function throughVariants(field: Field, part: string | number): Field | undefined {
  for (const variant of field.anyOf ?? []) {
    const found = childField(variant, part);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** Call back for every leaf value, with the schema that describes it. */
export function eachLeaf(
  value: unknown,
  visit: (path: Path, value: unknown, field: Field | undefined) => void,
  path: Path = [],
): void {
  if (Array.isArray(value)) {
    for (const [index, item] of value.entries()) eachLeaf(item, visit, [...path, index]);
  } else if (isTree(value)) {
    for (const [key, item] of Object.entries(value)) eachLeaf(item, visit, [...path, key]);
  } else {
    visit(path, value, fieldAt(path));
  }
}
