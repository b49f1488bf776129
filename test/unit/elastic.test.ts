import { expect, test } from "bun:test";
import fc from "fast-check";
import { Elastic, type ElasticLimits, type Load } from "../../src/pool/elastic.ts";

const TICK_MS = 50;
const usual = { min: 2, max: 32, idleTimeoutMs: 10_000 };

/** A pool whose workers start at once and end when told, under a demand: requests that want a worker each. */
class Simulation {
  readonly counts: number[] = [];
  readonly elastic: Elastic;
  nowMs = 0;
  count: number;
  readonly #cpuSaturated: boolean;
  #waitingSinceMs: number | undefined;

  constructor(limits: ElasticLimits, start = limits.min, cpuSaturated = false) {
    this.#cpuSaturated = cpuSaturated;
    this.elastic = new Elastic(limits, start);
    this.count = start;
  }

  run(forMs: number, demand: number | ((nowMs: number) => number)): this {
    for (const endMs = this.nowMs + forMs; this.nowMs < endMs; this.nowMs += TICK_MS) {
      this.#step(typeof demand === "number" ? demand : demand(this.nowMs));
    }
    return this;
  }

  /** How often the count rose or fell since the tick with this number. */
  changes(fromTick = 0): number {
    return this.counts.filter((count, i) => i > fromTick && count !== this.counts[i - 1]).length;
  }

  /** How often it rose again after it had fallen. */
  get reversals(): number {
    let falling = false;
    let reversals = 0;
    for (const [i, count] of this.counts.entries()) {
      const before = this.counts[i - 1] ?? count;
      if (count > before && falling) reversals++;
      if (count !== before) falling = count < before;
    }
    return reversals;
  }

  #step(demand: number): void {
    const waiting = Math.max(0, demand - this.count);
    this.#waitingSinceMs = waiting === 0 ? undefined : (this.#waitingSinceMs ?? this.nowMs - 10);
    const load: Load = {
      running: this.count,
      busy: Math.min(demand, this.count),
      waiting,
      longestWaitMs: this.nowMs - (this.#waitingSinceMs ?? this.nowMs),
      cpuSaturated: this.#cpuSaturated,
    };
    this.count = this.elastic.wanted(load, this.nowMs);
    this.counts.push(this.count);
  }
}

test("a pool begins with min workers, or with as many as it is told to, within its limits", () => {
  const idle: Load = { running: 0, busy: 0, waiting: 0, longestWaitMs: 0 };
  expect(new Elastic(usual).wanted(idle, 0)).toBe(2);
  expect(new Elastic(usual, 9).wanted(idle, 0)).toBe(9);
  expect(new Elastic(usual, 99).wanted(idle, 0)).toBe(32);
  expect(new Elastic(usual, 0).wanted(idle, 0)).toBe(2);
});

test("a queue that stands makes it grow by 1, 2, 4, 8 and so on, to max", () => {
  const { counts } = new Simulation(usual).run(1000, 100);
  const steps = counts.filter((count, i) => count !== counts[i - 1]);
  expect(steps).toEqual([2, 3, 5, 9, 17, 32]);
  expect(counts.indexOf(3) * TICK_MS).toBe(100);
  expect(counts.indexOf(32) * TICK_MS).toBeLessThanOrEqual(600);
});

test("it does not grow by more than wait", () => {
  expect(new Simulation(usual).run(3000, 5).count).toBe(5);
});

test("a single burst does not make it grow, nor do many of them", () => {
  const bursts = new Simulation(usual).run(60_000, (nowMs) => (nowMs % 1000 < 100 ? 40 : 0));
  expect(bursts.changes()).toBe(0);
});

test("a queue that moves quickly does not make it grow", () => {
  const elastic = new Elastic(usual);
  const load: Load = { running: 2, busy: 2, waiting: 40, longestWaitMs: 4 };
  for (let nowMs = 0; nowMs < 5000; nowMs += TICK_MS) expect(elastic.wanted(load, nowMs)).toBe(2);
});

test("workers that are still to come are waited for", () => {
  const elastic = new Elastic(usual);
  const load: Load = { running: 2, busy: 2, waiting: 40, longestWaitMs: 50 };
  let most = 0;
  for (let nowMs = 0; nowMs < 5000; nowMs += TICK_MS) most = Math.max(most, elastic.wanted(load, nowMs));
  expect(most).toBe(3);
});

test("requests that have waited for long bring eight workers at once", () => {
  const elastic = new Elastic(usual);
  const counts = [0, 50, 100].map((nowMs) =>
    elastic.wanted({ running: 2, busy: 2, waiting: 20, longestWaitMs: 600 + nowMs }, nowMs),
  );
  expect(counts).toEqual([2, 2, 10]);
});

test("a front that was held up does not take its next look for a long queue", () => {
  const elastic = new Elastic(usual);
  const queued: Load = { running: 2, busy: 2, waiting: 9, longestWaitMs: 3000 };
  expect([0, 3000, 3050].map((nowMs) => elastic.wanted(queued, nowMs))).toEqual([2, 2, 10]);
  expect(new Elastic(usual).wanted(queued, 3000)).toBe(2);
});

test("with the processors saturated it grows by one worker a second", () => {
  const slow = new Simulation(usual, 2, true).run(10_000, 100);
  expect(slow.count).toBeWithin(10, 13);
  expect(slow.run(60_000, 100).count).toBe(32);
});

test("an idle pool shrinks to min, one worker at a time", () => {
  const pool = new Simulation(usual).run(2000, 100).run(9000, 0);
  expect(pool.count).toBe(32);
  const at = pool.counts.length;
  pool.run(120_000, 0);
  const { counts } = pool;
  expect(pool.count).toBe(2);
  for (let i = at; i < counts.length; i++) expect(counts[i - 1]! - counts[i]!).toBeWithin(0, 2);
});

test("it keeps what the busiest moment of the last time needed, and a reserve", () => {
  const pool = new Simulation(usual, 32).run(200_000, (nowMs) => (nowMs % 8000 === 0 ? 16 : 1));
  expect(pool.count).toBe(18);
});

test("after a calm second growth begins with one worker again", () => {
  const pool = new Simulation(usual, 8).run(500, 12).run(500, 0);
  expect(pool.count).toBe(12);
  const soon = pool.run(150, 30).count;
  const later = new Simulation(usual, 8).run(1000, 12).run(1200, 0).run(150, 30).count;
  expect([soon, later]).toEqual([20, 13]);
});

test("workers that were ended and not missed for long win back the pool's first patience", () => {
  const pool = new Simulation({ ...usual, idleTimeoutMs: 1000 }, 10);
  // Ended too early, which doubles the patience.
  pool.run(1500, 0).run(500, 10);
  const idle = (forMs: number) => {
    const from = pool.counts.length;
    pool.run(forMs, 0);
    return pool.counts.slice(from).findIndex((count) => count < pool.counts[from]!) * TICK_MS;
  };
  expect(idle(30_000)).toBeWithin(1500, 2100);
  // Long after a fall: not taken for an error.
  pool.run(2000, 10);
  expect(idle(5000)).toBeWithin(800, 1100);
});

test("min equal to max never changes", () => {
  const pool = new Simulation({ min: 4, max: 4, idleTimeoutMs: 1000 });
  pool.run(5000, 100).run(60_000, 0).run(5000, 100);
  expect(pool.changes()).toBe(0);
});

const anyLimits = fc
  .record({
    min: fc.integer({ min: 1, max: 20 }),
    more: fc.nat(60),
    idleTimeoutMs: fc.integer({ min: 500, max: 20_000 }),
  })
  .map(({ min, more, idleTimeoutMs }) => ({ min, max: min + more, idleTimeoutMs }));
const anyLoad = fc.record({
  running: fc.nat(100),
  busy: fc.nat(100),
  waiting: fc.nat(1000),
  longestWaitMs: fc.oneof(fc.nat(20), fc.nat(100_000)),
  cpuSaturated: fc.boolean(),
  afterMs: fc.oneof(fc.constant(TICK_MS), fc.nat(100), fc.nat(100_000)),
});

test("whatever the load, the count is within the limits, and the same for the same inputs", () => {
  fc.assert(
    fc.property(anyLimits, fc.nat(100), fc.array(anyLoad, { maxLength: 300 }), (bounds, start, loads) => {
      const run = () => {
        const elastic = new Elastic(bounds, start);
        let nowMs = 0;
        return loads.map((load) => elastic.wanted(load, (nowMs += load.afterMs)));
      };
      const counts = run();
      for (const count of counts) expect(count).toBeWithin(bounds.min, bounds.max + 1);
      expect(run()).toEqual(counts);
    }),
  );
});

test("whatever the load, it does not rise after a fall more often than once per idle timeout", () => {
  const demands = fc.array(fc.tuple(fc.nat(50), fc.nat(30_000)), { maxLength: 20 });
  fc.assert(
    fc.property(anyLimits, demands, (bounds, phases) => {
      const pool = new Simulation(bounds);
      for (const [demand, forMs] of phases) pool.run(forMs, demand);
      expect(pool.reversals).toBeLessThanOrEqual(pool.nowMs / bounds.idleTimeoutMs);
    }),
    { numRuns: 60 },
  );
});

test("with a steady load it settles, on what the load needs and little more", () => {
  fc.assert(
    fc.property(anyLimits, fc.nat(80), fc.nat(80), (bounds, start, demand) => {
      const pool = new Simulation(bounds, Math.min(bounds.max, Math.max(bounds.min, start)));
      pool.run(bounds.idleTimeoutMs * 25 + 10_000, demand);
      const settledAt = pool.counts.length;
      pool.run(60_000, demand);
      expect(pool.changes(settledAt - 1)).toBe(0);
      const needed = Math.min(bounds.max, Math.max(bounds.min, demand));
      expect(pool.count).toBeWithin(needed, needed + Math.ceil(needed / 8) + 2);
    }),
    { numRuns: 60 },
  );
});

test("of a load that comes and goes, however long, three times at most its workers are ended too early", () => {
  const oscillation = fc.record({
    // From twice a second to once in six idle timeouts.
    periodMs: fc.integer({ min: 500, max: 6000 }),
    busyShare: fc.double({ min: 0.1, max: 0.9, noNaN: true }),
    high: fc.integer({ min: 3, max: 40 }),
    low: fc.nat(5),
    periods: fc.integer({ min: 1, max: 150 }),
  });
  const bounds = { min: 2, max: 32, idleTimeoutMs: 1000 };
  fc.assert(
    fc.property(oscillation, ({ periodMs, busyShare, high, low, periods }) => {
      const pool = new Simulation(bounds);
      pool.run(periods * periodMs, (nowMs) => (nowMs % periodMs < periodMs * busyShare ? high : low));
      expect(pool.reversals).toBeLessThanOrEqual(3);
      // To the top, and three times all the way down and up.
      expect(pool.changes()).toBeLessThanOrEqual(7 * (bounds.max - bounds.min));
    }),
    { numRuns: 60 },
  );
});
