import { expect, test } from "bun:test";
import fc from "fast-check";
import { Queue } from "../../src/pool/queue.ts";

test("what is put back comes first, in its order", () => {
  const queue = new Queue<number>();
  queue.push(1);
  queue.push(2);
  queue.putBack([3, 4]);
  queue.putBack([]);
  expect([queue.shift(), queue.shift(), queue.shift(), queue.shift(), queue.shift()]).toEqual([
    3,
    4,
    1,
    2,
    undefined,
  ]);
});

const operations = fc.array(
  fc.oneof(
    fc.record({ push: fc.integer({ min: 1, max: 700 }) }),
    fc.record({ shift: fc.integer({ min: 1, max: 900 }) }),
    fc.record({ putBack: fc.integer({ min: 0, max: 5 }) }),
    fc.record({ keepEvery: fc.integer({ min: 2, max: 5 }) }),
  ),
  { maxLength: 40 },
);

test("whatever is done to it, it does what a plain array would", () => {
  fc.assert(
    fc.property(operations, (all) => {
      const queue = new Queue<number>();
      let plain: number[] = [];
      let next = 0;
      for (const operation of all) {
        if ("push" in operation) {
          for (let i = 0; i < operation.push; i++) {
            queue.push(next);
            plain.push(next++);
          }
        } else if ("shift" in operation) {
          const gone = plain.splice(0, operation.shift);
          for (let i = 0; i < operation.shift; i++) expect(queue.shift()).toBe(gone[i] as number);
        } else if ("putBack" in operation) {
          const items = Array.from({ length: operation.putBack }, () => next++);
          queue.putBack(items);
          plain.unshift(...items);
        } else {
          queue.keep((item) => item % operation.keepEvery === 0);
          plain = plain.filter((item) => item % operation.keepEvery === 0);
        }
        expect(queue.length).toBe(plain.length);
        expect(queue.peek()).toBe(plain[0] as number);
      }
      expect([...queue]).toEqual(plain);
    }),
  );
});
