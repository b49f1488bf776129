/** The tests of the contract, less those that a way of serving cannot have; these are skipped with the reason. */
import { test as harnessTest } from "../harness.ts";

/** What is not asked of the way that is being described: names of tests, and why. */
let excluded: ReadonlyMap<string, string> = new Map();

export function test(name: string, body: () => Promise<void> | void): void {
  const reason = excluded.get(name);
  if (reason === undefined) harnessTest(name, body);
  else harnessTest.skip(`${name} (not so: ${reason})`, body);
}

test.skipIf = (condition: boolean) => (condition ? harnessTest.skip : test);

/** From here on, these are skipped. A file describes one way of serving: its groups are looked at later, one by one. */
export function exclude(names: ReadonlyMap<string, string>): void {
  excluded = names;
}
