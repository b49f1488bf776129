import { parse } from "yaml";
import type { Field } from "./field.ts";

/** Commas, but for those of a glob such as `/{a,b}/*`. */
const BETWEEN_ITEMS = /,(?![^{}]*\})/;

/**
 * Turn the text of an environment variable or a flag into the value its key wants. What does not fit stays text,
 * so that validation names it.
 */
export function coerce(text: string, field: Field): unknown {
  const types = typesOf(field);
  const trimmed = text.trim();
  if ((types.has("object") && trimmed.startsWith("{")) || (types.has("array") && trimmed.startsWith("["))) {
    const value = parseFlow(trimmed);
    if (value !== undefined) return value;
  }
  if (types.has("null") && (trimmed === "" || trimmed === "null")) return null;
  if (types.has("boolean") && !takesAnyText(field)) {
    if (/^(true|1|yes|on)$/i.test(trimmed)) return true;
    if (/^(false|0|no|off)$/i.test(trimmed)) return false;
  }
  if (types.has("integer") && /^-?\d+(\.\d+)?$/.test(trimmed)) return Number(trimmed);
  const items = field.items ?? field.anyOf?.find((variant) => variant.items !== undefined)?.items;
  if (types.has("array") && !types.has("string") && typesOf(items ?? {}).has("string")) {
    return trimmed === "" ? [] : trimmed.split(BETWEEN_ITEMS).map((item) => item.trim());
  }
  return text;
}

/** A list or map in YAML's short form; `[::]:8080` starts like one and is none. */
function parseFlow(text: string): unknown {
  try {
    const value: unknown = parse(text);
    return Array.isArray(value) === text.startsWith("[") ? value : undefined;
  } catch {
    return undefined;
  }
}

/** `auto` beside true and false is one word, and no reason to take `false` for another. */
function takesAnyText(field: Field): boolean {
  if (field.anyOf !== undefined) return field.anyOf.some(takesAnyText);
  return field.type === "string" && field.const === undefined;
}

function typesOf(field: Field): Set<string> {
  const types = new Set((field.anyOf ?? []).flatMap((variant) => [...typesOf(variant)]));
  if (field.type !== undefined) types.add(field.type);
  return types;
}
