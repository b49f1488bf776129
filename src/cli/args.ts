import type { ArgsDef } from "citty";

/** The flag that every command which reads the configuration takes. */
export const configArg = {
  config: { type: "string", alias: "c", valueHint: "file", description: "Configuration file" },
} as const satisfies ArgsDef;

/** A flag's text; citty's own types let anything through. */
export function textFlag(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}
