import type { Ask } from "./load/ask.ts";
import type { Result } from "./load/tally.ts";
import type { Random } from "./random.ts";
import { bodies, type Path, type Scene, Visitor } from "./visitor.ts";

export interface CrowdOptions {
  readonly visitors: number;
  readonly random: Random;
  /** How often in a thousand requests of those who have logged in. */
  readonly ways: Readonly<Partial<Record<Path, number>>>;
  /** Bits of what requests may leave behind; each leaves some of it. 0: nothing. */
  readonly plants: number;
  readonly all: boolean;
  /** How many of those who have not logged in go on without, from 0 to 1. @default {0.2} */
  readonly staysOut?: number;
  /** How many requests have no body, from 0 to 1. @default {0.5} */
  readonly bodiless?: number;
}

/** With nothing planted it is seen best what others have. */
const PLANT_NOTHING = 0.3;
const LARGE = 0.05;
/** Their body is as good as any, and these are few. */
const withoutBody: ReadonlySet<Path> = new Set(["leave", "cut", "fatal"]);

/** Visitors whose requests are interleaved, one at a time of each. */
export class Crowd {
  /** Which workers have answered. */
  readonly workers = new Set<string>();
  readonly #options: CrowdOptions;
  readonly #scene: Scene;
  readonly #idle: Visitor[];
  readonly #asked = new Map<Ask, Visitor>();
  readonly #ways: readonly (readonly [Path, number])[];

  constructor(options: CrowdOptions) {
    this.#options = options;
    this.#ways = Object.entries(options.ways) as [Path, number][];
    this.#scene = {
      random: options.random,
      all: options.all,
      onWorker: (worker) => this.workers.add(worker),
      owners: new Map(),
      identities: 0,
      fresh: null,
    };
    this.#idle = Array.from({ length: options.visitors }, () => new Visitor(this.#scene));
  }

  get identities(): number {
    return this.#scene.identities;
  }

  readonly next = (): Ask => {
    const { random, staysOut = 0.2 } = this.#options;
    // Anyone may be next, and those who have just been are as likely as others.
    const at = Math.floor(random.next() * this.#idle.length);
    const visitor = this.#idle[at]!;
    this.#idle[at] = this.#idle.at(-1)!;
    this.#idle.pop();
    const ask =
      !visitor.loggedIn && random.next() > staysOut
        ? visitor.logIn(this.#plants())
        : this.#step(visitor, this.#way());
    this.#asked.set(ask, visitor);
    return ask;
  };

  readonly done = ({ ask, ending }: Result): void => {
    const visitor = this.#asked.get(ask)!;
    this.#asked.delete(ask);
    // After a failure nobody knows what has become of the session.
    if (ending !== "ok" || ask.kind.startsWith("logout")) visitor.forget();
    this.#idle.push(visitor);
  };

  #step(visitor: Visitor, way: Path): Ask {
    const { random, bodiless = 0.5 } = this.#options;
    const body =
      withoutBody.has(way) || random.next() < bodiless
        ? "none"
        : random.next() < LARGE
          ? "large"
          : (random.pick(bodies.filter((one) => one !== "none" && one !== "large")) ?? "none");
    return visitor.ask(way, body, this.#plants());
  }

  #way(): Path {
    let left = this.#options.random.next() * this.#ways.reduce((sum, [, share]) => sum + share, 0);
    for (const [way, share] of this.#ways) if ((left -= share) < 0) return way;
    return "page";
  }

  #plants(): number {
    const { random, plants } = this.#options;
    if (plants === 0 || random.next() < PLANT_NOTHING) return 0;
    // Half of the kinds, or a quarter.
    const any = () => Math.floor(random.next() * 2 ** 31);
    return plants & any() & (random.next() < 0.5 ? any() : -1);
  }
}
