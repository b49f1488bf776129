import { type ValueError, ValueErrorType, Value } from "@sinclair/typebox/value";
import type { Field } from "./field.ts";
import type { Layers } from "./layers.ts";
import { nearest } from "./nearest.ts";
import { type Problem, received } from "./problem.ts";
import { ConfigSchema, type ConfigTree, rootField } from "./schema.ts";
import { deleteAt, fieldAt, isTree, type Path, pathText, setAt, type Tree, valueAt } from "./tree.ts";

/** More rounds than there are levels: each removes what is wrong and shows what it hid. */
const MAX_ROUNDS = 8;

export interface Validated {
  readonly tree: ConfigTree;
  readonly problems: Problem[];
  /** What was wrong, and holds its default now: nothing to build another complaint on. */
  readonly healed: readonly Path[];
}

/**
 * Check the types and names of a configuration and fill in its defaults. Wrong values are reported, then replaced by
 * their defaults, so that the checks that follow see a whole tree and all errors come out at once.
 */
export function validate(layers: Layers): Validated {
  let tree = layers.tree;
  const problems: Problem[] = [];
  const healed: Path[] = [];
  unsetEmptySections(tree, rootField);
  for (let round = 0; round < MAX_ROUNDS; round++) {
    const filled = withDefaults(tree);
    tree = filled;
    const errors = firstPerPlace(
      [...Value.Errors(ConfigSchema, filled)].flatMap((error) => intoVariant(error, filled)),
    );
    if (errors.length === 0 && Value.Check(ConfigSchema, filled)) return { tree: filled, problems, healed };
    for (const { path, error } of errors) {
      problems.push({ where: layers.origin(path).where, message: describe(path, error, filled) });
      heal(filled, path);
      healed.push(path);
    }
  }
  throw new Error("the configuration schema has a default that it does not accept");
}

function withDefaults(tree: Tree): Tree {
  const filled = Value.Default(ConfigSchema, tree);
  return isTree(filled) ? filled : {};
}

/** `php:` with every line below it commented out is null in YAML, and means nothing is set. */
function unsetEmptySections(tree: Tree, field: Field): void {
  for (const [key, child] of Object.entries(field.properties ?? {})) {
    const value = tree[key];
    const isSection = child.type === "object" || child.type === "array";
    if (value === null && isSection) delete tree[key];
    else if (isTree(value)) unsetEmptySections(value, child);
    else if (Array.isArray(value) && child.items !== undefined) {
      for (const item of value) if (isTree(item)) unsetEmptySections(item, child.items);
    }
  }
}

/** Of "a number, or a map with min and max", a map is measured by the rules for maps. */
function intoVariant(error: ValueError, tree: Tree): ValueError[] {
  if (error.type !== ValueErrorType.Union) return [error];
  const value = valueAt(tree, toPath(error.path));
  if (!isTree(value)) return [error];
  const variants: readonly Field[] = error.schema["anyOf"] as readonly Field[];
  const index = variants.findIndex((variant) => variant.type === "object");
  const inner = error.errors[index];
  return inner === undefined ? [error] : [...inner];
}

function firstPerPlace(errors: readonly ValueError[]): { path: Path; error: ValueError }[] {
  const seen = new Set<string>();
  return errors
    .filter(({ path }) => !seen.has(path) && seen.add(path))
    .map((error) => ({ path: toPath(error.path), error }));
}

function toPath(pointer: string): Path {
  let field: Field | undefined = rootField;
  return pointer
    .split("/")
    .slice(1)
    .map((raw) => {
      const part = raw.replaceAll("~1", "/").replaceAll("~0", "~");
      const index = field?.items !== undefined && /^\d+$/.test(part) ? Number(part) : part;
      field = field === undefined ? undefined : fieldAt([index], field);
      return index;
    });
}

function describe(path: Path, error: ValueError, tree: Tree): string {
  const name = pathText(path);
  if (error.type === ValueErrorType.ObjectAdditionalProperties) return describeUnknown(path);
  if (error.type === ValueErrorType.ObjectRequiredProperty) {
    return `Cannot use '${pathText(path.slice(0, -1))}': '${String(path.at(-1))}' is missing`;
  }
  const expects = fieldAt(path)?.["x-expects"] ?? error.message;
  return `Cannot use '${name}': must be ${expects}, received ${received(valueAt(tree, path))}`;
}

function describeUnknown(path: Path): string {
  const name = pathText(path);
  const key = String(path.at(-1));
  const parent = fieldAt(path.slice(0, -1));
  if (parent?.patternProperties !== undefined) {
    return `Cannot use '${name}': the key must be ${parent["x-names"] ?? "a name"}, received ${received(key)}`;
  }
  const properties =
    parent?.properties ??
    parent?.anyOf?.find((variant) => variant.properties !== undefined)?.properties ??
    {};
  const keys = Object.keys(properties);
  const near = nearest(key, keys);
  if (near !== undefined)
    return `Cannot use '${name}': unknown key; did you mean '${pathText([...path.slice(0, -1), near])}'?`;
  const elsewhere = Object.entries(rootField.properties ?? {}).find(([, section]) =>
    Object.hasOwn(section.properties ?? {}, key),
  );
  if (elsewhere !== undefined)
    return `Cannot use '${name}': unknown key; did you mean '${elsewhere[0]}.${key}'?`;
  return `Cannot use '${name}': unknown key; valid here: ${keys.join(", ")}`;
}

/** Take out what is wrong, at the nearest place above it that has a default. */
function heal(tree: Tree, path: Path): void {
  const [first, index, key] = path;
  if (path.length === 3 && first === "pools" && key === "name") {
    setAt(tree, path, `pool-${String(index)}`);
    return;
  }
  let place = path;
  while (
    place.length > 1 &&
    fieldAt(place) !== undefined &&
    (typeof place.at(-1) === "number" || fieldAt(place)?.default === undefined)
  ) {
    if (isMapEntry(place)) break;
    place = place.slice(0, -1);
  }
  deleteAt(tree, place);
}

const isMapEntry = (path: Path): boolean => fieldAt(path.slice(0, -1))?.patternProperties !== undefined;
