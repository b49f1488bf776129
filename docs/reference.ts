/** `npm run docs`: writes the configuration reference, made from the schema, into README.md. */
import { join } from "node:path";
import { configReference } from "../src/config/reference.ts";

const START = "<!-- config-reference:start -->";
const END = "<!-- config-reference:end -->";
const readme = join(import.meta.dir, "../README.md");

/** README.md with the reference that the schema gives now. */
export async function withReference(): Promise<string> {
  const text = await Bun.file(readme).text();
  const start = text.indexOf(START);
  const end = text.indexOf(END);
  if (start < 0 || end < start)
    throw new Error(`Cannot write the reference: README.md must hold ${START} and ${END}`);
  return `${text.slice(0, start + START.length)}\n\n${configReference().trim()}\n\n${text.slice(end)}`;
}

if (import.meta.main) await Bun.write(readme, await withReference());
