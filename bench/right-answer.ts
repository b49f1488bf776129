import type { Stack } from "./stacks/stack.ts";
import type { Workload } from "./workloads.ts";

/** What every answer of a server must be: these bytes, or this text in which `#` stands for a number. */
export type RightAnswer = { readonly bytes: Uint8Array } | { readonly template: string };

/** What can be said of an answer before the first. */
export function templateOf({ template, startsWith }: Workload, { mode }: Stack): RightAnswer | undefined {
  return template === true ? { template: startsWith.replace("@", mode) } : undefined;
}

export function isRight(right: RightAnswer, body: Uint8Array): boolean {
  if ("bytes" in right) return Buffer.compare(body, right.bytes) === 0;
  return patternOf(right.template).test(Buffer.from(body).toString("latin1"));
}

function patternOf(template: string): RegExp {
  const literal = template.replace(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`);
  return new RegExp(`^${literal.replace("#", String.raw`(\d+)`)}$`);
}

/** The number in it; NaN when it is not as it should be. */
export function numberIn(template: string, text: string): number {
  return Number(patternOf(template).exec(text)?.[1] ?? Number.NaN);
}

/** The same as a pattern of Lua's. */
export function luaPattern(template: string): string {
  return `^${template.replace(/[-^$()%.[\]*+?]/g, "%$&").replace("#", "%d+")}$`;
}
