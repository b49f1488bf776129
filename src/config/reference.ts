import type { Field } from "./field.ts";
import { rootField } from "./schema.ts";

/** The reference of every key, in markdown: one table per section. */
export function configReference(): string {
  const parts = Object.entries(rootField.properties ?? {}).map(([name, field]) => sectionText(name, field));
  return `${parts.join("\n\n")}\n`;
}

function sectionText(name: string, field: Field): string {
  const item = field.items;
  const heading = `### \`${name}\`${item === undefined ? "" : " (a list)"}\n\n${field.description ?? ""}`;
  const rows = item === undefined ? rowsOf(field, "") : rowsOf(item, "");
  if (rows.length === 0) return heading;
  return [heading, "", "| key | type | default | what it does |", "|---|---|---|---|", ...rows].join("\n");
}

function rowsOf(field: Field, prefix: string): string[] {
  return Object.entries(field.properties ?? {}).flatMap(([name, child]) => {
    if (child.type === "object" && child.properties !== undefined) return rowsOf(child, `${prefix}${name}.`);
    const cells = [
      `\`${prefix}${name}\``,
      typeText(child),
      defaultText(child, field, name),
      child.description ?? "",
    ];
    return [`| ${cells.map(cell).join(" | ")} |`];
  });
}

function typeText(field: Field): string {
  if (field["x-type"] !== undefined) return field["x-type"];
  const literals = (field.anyOf ?? []).map((variant) => variant.const);
  if (literals.length > 0 && literals.every((literal) => literal !== undefined))
    return literals.map((literal) => `\`${String(literal)}\``).join(", ");
  if (field["x-kind"] === "size") return "size";
  if (field["x-kind"] === "path") return field.default === "auto" ? "path or `auto`" : "path";
  if (field["x-unit"] !== undefined) return field["x-unit"];
  const [known, ...others] = field.anyOf?.filter((variant) => variant.type !== "null") ?? [];
  if (known !== undefined && others.length === 0) return typeText(known);
  if (field.items !== undefined)
    return field.items.properties === undefined
      ? "list"
      : `list of ${Object.keys(field.items.properties)
          .map((key) => `\`${key}\``)
          .join(", ")}`;
  if (field.patternProperties !== undefined) return "map";
  if (field.anyOf?.some((variant) => variant.properties !== undefined)) return "number, range or `auto`";
  if (field.type === "integer") return "number";
  return field.type === "boolean" ? "boolean" : "text";
}

function defaultText(field: Field, parent: Field, name: string): string {
  if (field["x-default"] !== undefined) return field["x-default"];
  if (field.default === undefined) return parent.required?.includes(name) ? "(required)" : "";
  if (field.patternProperties !== undefined) return "none";
  if (Array.isArray(field.default)) return field.default.map((item) => `\`${String(item)}\``).join(", ");
  return `\`${String(field.default)}\``;
}

const cell = (text: string): string => text.replaceAll("|", "\\|");
