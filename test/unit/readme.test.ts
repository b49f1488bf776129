import { expect, test } from "bun:test";
import { join } from "node:path";
import { withReference } from "../../docs/reference.ts";

test("the configuration reference in README.md is that of the schema (npm run docs)", async () => {
  expect(await Bun.file(join(import.meta.dir, "../../README.md")).text()).toBe(await withReference());
});
