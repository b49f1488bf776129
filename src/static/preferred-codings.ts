import { encodingWeight } from "./accept-encoding.ts";

/** A client may send what it likes, but real ones send few different headers, and short ones. */
const mostRemembered = 64;
const longestRemembered = 128;

/** Which of our content codings a client wants. Headers seen before are not read again. */
export class PreferredCodings {
  readonly #ours: readonly string[];
  readonly #known = new Map<string, readonly string[]>();

  /** `ours`: best first. */
  constructor(ours: readonly string[]) {
    this.#ours = ours;
  }

  /** Those that the client takes: the one it likes best first, ours deciding among equals. */
  of(acceptEncoding: string): readonly string[] {
    const known = this.#known.get(acceptEncoding);
    if (known !== undefined) return known;
    const wanted = this.#ours
      .map((coding) => ({ coding, weight: encodingWeight(acceptEncoding, coding) }))
      .filter(({ weight }) => weight > 0)
      .sort((a, b) => b.weight - a.weight)
      .map(({ coding }) => coding);
    if (acceptEncoding.length > longestRemembered) return wanted;
    if (this.#known.size >= mostRemembered) this.#known.clear();
    this.#known.set(acceptEncoding, wanted);
    return wanted;
  }
}
