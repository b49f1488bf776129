import { expect } from "bun:test";
import { join } from "node:path";
import { start, test } from "../harness.ts";

test("php/phprun.stub.php has the functions and constants that phprun has", async () => {
  await using server = await start({ docroot: join(import.meta.dir, "../fixtures/apps") });
  const response = await fetch(`${server.url}/stubs.php`);
  expect(await response.json()).toEqual({ functions: 15, constants: 8, wrong: [] });
});
