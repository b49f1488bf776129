import { expect, test } from "bun:test";
import { Recycling } from "../../src/pool/recycling.ts";

/** Starts a worker and lets it serve. Returns after how many requests it was to be replaced. */
function tenure(maxRequests: number, served: number): number | undefined {
  const told: string[] = [];
  const recycling = new Recycling({ maxRequests }, (_worker, why) => told.push(why));
  recycling.started(0);
  for (let i = 0; i < served; i++) recycling.served(0);
  expect(told.length).toBeLessThanOrEqual(1);
  return told[0] === undefined ? undefined : Number(/served (\d+) requests/.exec(told[0])?.[1]);
}

test("a worker is replaced once, after max_requests less at most a tenth", () => {
  const tenures = Array.from({ length: 200 }, () => tenure(1000, 1500));
  for (const requests of tenures) expect(requests).toBeWithin(900, 1001);
  expect(new Set(tenures).size).toBeGreaterThan(1);
});

test("max_requests of 1 means one request, and of 0 any number", () => {
  expect(tenure(1, 1)).toBe(1);
  expect(tenure(0, 10_000)).toBeUndefined();
});

test("each worker has its own count, which begins anew with its successor", () => {
  const retired: number[] = [];
  const recycling = new Recycling({ maxRequests: 4 }, (worker) => retired.push(worker));
  recycling.started(0);
  recycling.started(1);
  for (let i = 0; i < 3; i++) recycling.served(0);
  recycling.ended(0);
  // What is reported late of one that is gone counts for nobody.
  recycling.served(0);
  recycling.started(0);
  for (let i = 0; i < 3; i++) recycling.served(0);
  for (let i = 0; i < 4; i++) recycling.served(1);
  expect(retired).toEqual([1]);
  recycling.served(0);
  expect(retired).toEqual([1, 0]);
});
