import { type TSchema, Type } from "@sinclair/typebox";
import { SIZE_PATTERN } from "./size.ts";

/** What a value is beyond its JSON type; drives path resolution, messages and the reference table. */
export type FieldKind = "size" | "path" | "text" | "listen" | "ini" | "env";

/** The part of a JSON Schema that phprun itself reads. */
export interface Field {
  readonly type?: string;
  readonly description?: string;
  readonly default?: unknown;
  readonly const?: unknown;
  readonly anyOf?: readonly Field[];
  readonly items?: Field;
  readonly properties?: Readonly<Record<string, Field>>;
  readonly patternProperties?: Readonly<Record<string, Field>>;
  readonly required?: readonly string[];
  /** What a right value looks like, in words: "must be <this>". */
  readonly "x-expects"?: string;
  /** For maps with free names: what a right name looks like. */
  readonly "x-names"?: string;
  readonly "x-kind"?: FieldKind;
  readonly "x-unit"?: string;
  /** The type in words, where the schema's own would not do. */
  readonly "x-type"?: string;
  /** The default in words, where it depends on the machine. */
  readonly "x-default"?: string;
}

interface Options<T> {
  readonly default?: T;
  readonly "x-default"?: string;
  readonly "x-expects"?: string;
}

const MAX_TIMER_MS = 2 ** 31 - 1;

export function count(
  description: string,
  options: Options<number> & { minimum?: number; maximum?: number; unit?: string },
) {
  const { minimum = 0, maximum = 1_000_000_000, unit, ...rest } = options;
  const top = maximum === 1_000_000_000 ? "or more" : `to ${maximum}`;
  return Type.Integer({
    description,
    minimum,
    maximum,
    "x-expects": `a whole number, ${minimum} ${top}`,
    ...(unit === undefined ? {} : { "x-unit": unit }),
    ...rest,
  });
}

export function milliseconds(
  description: string,
  options: Options<number> & { minimum?: number; maximum?: number },
) {
  return count(description, { maximum: MAX_TIMER_MS, unit: "ms", ...options });
}

export function size(description: string, options: Options<string>) {
  return Type.Union([Type.Integer({ minimum: 0 }), Type.String({ pattern: SIZE_PATTERN })], {
    description,
    "x-kind": "size",
    "x-unit": "bytes",
    "x-expects": "a size such as 32MiB, 512k or a number of bytes",
    ...options,
  });
}

export function flag(description: string, options: Options<boolean>) {
  return Type.Boolean({ description, "x-expects": "true or false", ...options });
}

export function choice<const T extends readonly string[]>(
  description: string,
  values: T,
  options: Options<T[number]>,
) {
  return Type.Union(
    values.map((value: T[number]) => Type.Literal(value)),
    { description, "x-expects": `one of ${values.join(", ")}`, ...options },
  );
}

export function text(
  description: string,
  options: Options<string> & { pattern?: string; minLength?: number },
) {
  return Type.String({ description, "x-expects": "text", ...options });
}

export function optionalText(description: string, options: Options<string | null> & { pattern?: string }) {
  const { pattern, ...rest } = options;
  const line = Type.String({ minLength: 1, ...(pattern === undefined ? {} : { pattern }) });
  return Type.Union([line, Type.Null()], { description, "x-expects": "text, or null", ...rest });
}

export function optionalPath(description: string, options: Options<string | null>) {
  return Type.Union([Type.String({ minLength: 1 }), Type.Null()], {
    description,
    "x-kind": "path",
    "x-expects": "a path, or null",
    ...options,
  });
}

/** A path, `auto` for one that phprun chooses, or `off`. */
export function switchablePath(description: string, options: Options<string>) {
  return Type.Union([Type.Literal("auto"), Type.Literal("off"), Type.String({ minLength: 1 })], {
    description,
    "x-kind": "path",
    "x-type": "path, `auto` or `off`",
    "x-expects": "a path, auto or off",
    ...options,
  });
}

export function list<T extends TSchema>(description: string, items: T, options: Options<unknown[]>) {
  return Type.Array(items, { description, "x-expects": "a list", ...options });
}

/** A map of free names to text; numbers and booleans are taken as they are written. */
export function textMap(kind: "ini" | "env", description: string, names: string) {
  const scalar = Type.Union([Type.String(), Type.Number(), Type.Boolean()], {
    "x-expects": "text, a number or true/false",
  });
  return Type.Record(Type.String({ pattern: names }), scalar, {
    description,
    default: {},
    additionalProperties: false,
    "x-kind": kind,
    "x-names":
      kind === "ini"
        ? "a php.ini name (letters, digits, . _ and -)"
        : "a name without = and control characters",
    "x-expects": "a map of names to values",
  });
}

/** The same field where it may be left to another: null, which is the default, says nothing. */
export function orNull<T extends TSchema>(field: T, elsewhere: string) {
  const { description, default: _, ...rest } = field;
  const known = rest as unknown as Field;
  return Type.Union([field, Type.Null()], {
    description,
    default: null,
    "x-default": elsewhere,
    "x-expects": `${known["x-expects"]}, or null`,
    ...(known["x-type"] === undefined ? {} : { "x-type": known["x-type"] }),
    ...(known["x-unit"] === undefined ? {} : { "x-unit": known["x-unit"] }),
  });
}

export function section<T extends Record<string, TSchema>>(description: string, properties: T) {
  return Type.Object(properties, {
    description,
    default: {},
    additionalProperties: false,
    "x-expects": "a map of keys",
  });
}
