import fc from "fast-check";
import type { ModelPool } from "./pool-model-pool.ts";

type Command = fc.Command<object, ModelPool>;

function command(name: string, run: (pool: ModelPool) => void): Command {
  return {
    check: () => true,
    run(_model, pool) {
      run(pool);
      pool.check();
    },
    toString: () => name,
  };
}

const pick = fc.nat(2);
const worker = fc.nat(2);
const steps = fc.oneof(fc.integer({ min: 1, max: 4 }), fc.constantFrom(8, 25, 60));
const kind = fc.constantFrom("w", "e", "s");
const often = (weight: number, arbitrary: fc.Arbitrary<Command>) =>
  Array.from({ length: weight }, () => arbitrary);
const constant = (name: string, run: (pool: ModelPool) => void) => fc.constant(command(name, run));

/** All that can happen to a pool, what happens all the time more often than what is rare. */
export const anything: fc.Arbitrary<Command>[] = [
  ...often(
    7,
    fc
      .tuple(kind, fc.boolean(), fc.boolean())
      .map(([script, safe, eager]) =>
        command(`dispatch(${script}${safe ? ", safe" : ""}${eager ? ", eager" : ""})`, (pool) =>
          pool.dispatch(script, safe, eager),
        ),
      ),
  ),
  ...often(
    9,
    fc
      .tuple(pick, worker, steps)
      .map(([g, w, n]) =>
        command(`step(gen -${g}, worker ${w}, ${n} times)`, (pool) => pool.generation(g).step(w, n)),
      ),
  ),
  ...often(
    3,
    fc
      .tuple(pick, worker, fc.constantFrom(9, 11))
      .map(([g, w, signal]) =>
        command(`kill(gen -${g}, worker ${w})`, (pool) => pool.generation(g).die(w, { signal })),
      ),
  ),
  ...often(
    4,
    fc.tuple(pick).map(([g]) => command(`hear(gen -${g})`, (pool) => pool.generation(g).hear())),
  ),
  ...often(
    2,
    fc.tuple(pick).map(([g]) => command(`hearAll(gen -${g})`, (pool) => pool.generation(g).hearAll())),
  ),
  ...often(
    5,
    fc.tuple(pick).map(([g]) =>
      command(`drainSlots(gen -${g})`, (pool) => {
        if (!pool.generation(g).closed) pool.generation(g).slots.drain();
      }),
    ),
  ),
  ...often(
    3,
    constant("turnEventLoop", (pool) => pool.turnEventLoop()),
  ),
  ...often(
    3,
    fc
      .constantFrom(50, 150, 600, 2100)
      .map((ms) => command(`sweep(after ${ms} ms)`, (pool) => pool.sweep(ms))),
  ),
  ...often(
    3,
    fc
      .tuple(fc.nat(9), fc.constantFrom(1, 7, 100))
      .map(([back, bytes]) =>
        command(`read(job -${back}, ${bytes} bytes)`, (pool) => pool.jobs.at(-1 - back)?.read(bytes)),
      ),
  ),
  fc
    .nat(9)
    .map((back) => command(`changeMind(job -${back})`, (pool) => pool.jobs.at(-1 - back)?.changeMind())),
  ...often(
    4,
    fc.tuple(worker, steps).map(([w, n]) =>
      command(`work(worker ${w}, ${n} times)`, (pool) => {
        pool.turnEventLoop();
        pool.current?.hearAll();
        pool.current?.step(w, n);
      }),
    ),
  ),
  ...often(
    2,
    fc.nat(9).map((back) => command(`leave(job -${back})`, (pool) => pool.jobs.at(-1 - back)?.leave())),
  ),
  ...often(
    2,
    fc.nat(3).map((wanted) => command(`resize(${wanted})`, (pool) => pool.current?.resize(wanted))),
  ),
  fc
    .tuple(worker)
    .map(([w]) => command(`retire(worker ${w})`, (pool) => pool.current?.retire(w, "max_requests"))),
  fc
    .tuple(fc.integer({ min: 1, max: 3 }), fc.boolean())
    .map(([wanted, threads]) =>
      command(`reload(${wanted} ${threads ? "threads" : "workers"})`, (pool) => pool.reload(wanted, threads)),
    ),
  constant("hostDies", (pool) => pool.hostDies()),
  ...often(
    2,
    constant("newHost", (pool) => pool.newHost()),
  ),
  ...often(
    2,
    fc.tuple(kind, worker).map(([script, w]) =>
      command(`stick(${script}, worker ${w})`, (pool) => {
        pool.dispatch(script, true, false);
        pool.turnEventLoop();
        pool.current?.hearAll();
        pool.current?.step(w, 6);
        for (const ms of [50, 1100, 300]) pool.sweep(ms);
      }),
    ),
  ),
  pick.map((g) => command(`cutDrain(gen -${g})`, (pool) => pool.cutDrain(g))),
  ...often(
    4,
    fc.tuple(worker, fc.integer({ min: 1, max: 14 })).map(([w, n]) =>
      command(`workAndDie(worker ${w}, after ${n} steps)`, (pool) => {
        pool.turnEventLoop();
        pool.current?.hearAll();
        pool.current?.step(w, n);
        pool.current?.die(w, { signal: 11 });
        pool.current?.hearAll();
      }),
    ),
  ),
  fc.constantFrom(1, 3, 40).map((n) =>
    command(`forksFail(${n} times)`, (pool) => {
      if (pool.current !== null) pool.current.forksToFail = n;
    }),
  ),
  fc
    .constantFrom(2, 12)
    .map((rounds) =>
      command(`workersEndAtTheirStart(${rounds} rounds)`, (pool) => pool.workersEndAtTheirStart(rounds)),
    ),
  fc
    .constantFrom(true, true, false)
    .map((retry) => command(`setRetry(${retry})`, (pool) => pool.setRetry(retry))),
  constant("close", (pool) => pool.close("stopping")),
  ...often(
    5,
    constant("open", (pool) => pool.open()),
  ),
  constant("refuseWaiting", (pool) => pool.refuseWaiting()),
  fc.constantFrom(3, 9).map((n) => command(`comeAndLeave(${n} times)`, (pool) => pool.comeAndLeave(n))),
];
