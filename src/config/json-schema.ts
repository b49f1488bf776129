import { isTree } from "./tree.ts";
import { ConfigSchema } from "./schema.ts";

/** The JSON Schema of phprun.yaml for editors: plain draft-07 words, units and machine defaults told in the descriptions. */
export function editorSchema(): Record<string, unknown> {
  const { $id, title, ...rest } = plain(ConfigSchema) as Record<string, unknown>;
  return { $schema: "http://json-schema.org/draft-07/schema#", $id, title, ...rest };
}

function plain(node: unknown): unknown {
  if (Array.isArray(node)) return node.map(plain);
  if (!isTree(node)) return node;
  const literals = literalsOf(node["anyOf"]);
  const properties = node["properties"];
  const result: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(node)) {
    if (key.startsWith("x-") || (key === "anyOf" && literals !== undefined)) continue;
    if (key === "required") {
      const required = requiredWithoutDefault(value, properties);
      if (required.length > 0) result[key] = required;
    } else if (key === "properties" && isTree(value)) {
      result[key] = Object.fromEntries(Object.entries(value).map(([name, child]) => [name, plain(child)]));
    } else if (key === "default" && (typeof node["x-default"] === "string" || isTree(value))) {
      continue;
    } else {
      result[key] = key === "default" ? value : plain(value);
    }
  }
  if (literals !== undefined) result["enum"] = literals;
  if (typeof node["description"] === "string") result["description"] = describe(node["description"], node);
  return result;
}

function describe(description: string, node: Record<string, unknown>): string {
  const unit = typeof node["x-unit"] === "string" ? ` Unit: ${node["x-unit"]}.` : "";
  const fallback = typeof node["x-default"] === "string" ? ` Default: ${node["x-default"]}.` : "";
  return `${description}${unit}${fallback}`.trim();
}

/** TypeBox asks for every key, because defaults are filled in before it looks; an editor sees the file as written. */
function requiredWithoutDefault(required: unknown, properties: unknown): unknown[] {
  if (!Array.isArray(required) || !isTree(properties)) return [];
  return required.filter((name: unknown) => {
    const child = typeof name === "string" ? properties[name] : undefined;
    return isTree(child) && !Object.hasOwn(child, "default");
  });
}

function literalsOf(anyOf: unknown): unknown[] | undefined {
  if (!Array.isArray(anyOf) || !anyOf.every((variant) => isTree(variant) && Object.hasOwn(variant, "const")))
    return undefined;
  return anyOf.map((variant: { const: unknown }) => variant.const);
}
