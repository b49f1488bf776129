import type { ArgsDef } from "citty";
import { PhprunError } from "../errors.ts";

/** The flag that every command which reads the configuration takes. */
export const configArg = {
  config: { type: "string", alias: "c", valueHint: "file", description: "Configuration file" },
} as const satisfies ArgsDef;

/** The flag that every command which talks to a running server takes. */
export const socketArg = {
  socket: {
    type: "string",
    valueHint: "file",
    description: "Control socket of the server, in place of the configuration's",
  },
} as const satisfies ArgsDef;

/** A flag's text; citty's own types let anything through. */
export function textFlag(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}

/** A flag's number; parseInt would take "80abc" as 80. */
export function wholeNumber(flag: string, text: string, min: number): number {
  if (/^\d{1,9}$/.test(text) && Number(text) >= min) return Number(text);
  throw new PhprunError(
    "USAGE_INVALID",
    `Cannot use ${flag}: must be a whole number, ${min} or more, received "${text}"`,
  );
}

/** A flag's seconds, with or without a fraction, as milliseconds. */
export function seconds(flag: string, text: string, min: number): number {
  if (/^\d{1,6}(\.\d{1,3})?$/.test(text) && Number(text) >= min) return Math.round(Number(text) * 1000);
  throw new PhprunError(
    "USAGE_INVALID",
    `Cannot use ${flag}: must be seconds, ${min} or more, received "${text}"`,
  );
}
