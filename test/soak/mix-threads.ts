import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ask, type Ask } from "./load/ask.ts";
import type { Random } from "./random.ts";
import type { Rewriting } from "./rewriting.ts";

/** So many different requests there are of each kind that always has the same answer. */
const VARIANTS = 40;
const SESSIONS = 16;
const LEAVES = 40;

/** What the requests of the mix have in common: what the answers must agree with. */
export class Agreement {
  readonly #answers = new Map<string, number | bigint>();
  readonly #counts = new Map<number, Set<string>>();

  /** The same request has the same answer, whichever thread runs it and whatever else runs meanwhile. */
  same(path: string): (content: string) => string | null {
    return (content) => {
      const sum = Bun.hash(content);
      const known = this.#answers.get(path);
      this.#answers.set(path, known ?? sum);
      return known === undefined || known === sum ? null : `another answer than before: ${content}`;
    };
  }

  /** Of those that count in one session no two get the same number. */
  counted(session: number): (content: string) => string | null {
    const seen = this.#counts.get(session) ?? new Set<string>();
    this.#counts.set(session, seen);
    return (content) => {
      if (!/^[1-9]\d*$/.test(content)) return `not a number: ${content}`;
      if (seen.has(content)) return `session ${session} has counted ${content} twice`;
      seen.add(content);
      return null;
    };
  }
}

/** Classes that share parents, traits and interfaces, each in a file of its own. */
export function writeClasses(site: string): void {
  const folder = join(site, "threads/classes");
  mkdirSync(folder, { recursive: true });
  const write = (name: string, code: string) =>
    writeFileSync(join(folder, `${name}.php`), `<?php\nnamespace Soak;\n${code}\n`);
  write("Kind", "enum Kind: int { case Even = 0; case Odd = 1; const Usual = self::Even; }");
  for (let i = 0; i < 5; i++) {
    write(
      `Describes${i}`,
      `interface Describes${i} { const NAME = 'describes ${i}'; function describe(): string; }`,
    );
    write(
      `Counts${i}`,
      `trait Counts${i} {
  private static int $count = 0;
  public static function count(): int { static $calls = 0; return self::$count * 100 + ++$calls; }
}`,
    );
    write(
      `Branch${i}`,
      `abstract class Branch${i} implements Describes${i} {
  use Counts${i} { count as protected counted; }
  public function __construct(protected readonly int $n) { self::$count++; }
  abstract public function kind(): Kind;
  public static function count(): int { return self::counted(); }
}`,
    );
  }
  for (let i = 0; i < LEAVES; i++) {
    write(
      `Leaf${i}`,
      `final class Leaf${i} extends Branch${i % 5} implements \\JsonSerializable {
  private const MORE = [self::NAME, ${i}, Kind::Usual];
  protected static array $cache = [];
  public function kind(): Kind { return Kind::from(${i} % 2); }
  public function describe(): string {
    return static::$cache[$this->n] ??= (fn (int ...$all): string => self::MORE[0] . array_sum($all) . self::MORE[2]->name)(${i}, $this->n);
  }
  public function jsonSerialize(): array { return ['leaf' => ${i}, 'n' => $this->n]; }
}`,
    );
  }
}

/** All that threads of one process could get in each other's way with, and how often in ten thousand requests. */
export function threadMix(
  random: Random,
  fresh: Rewriting,
  late: Rewriting,
  agreement: Agreement,
  endsRecursion: boolean,
): () => Ask {
  const body = Buffer.alloc(60_000, `${random.next()}`);
  const any = (below: number): number => Math.floor(random.next() * below);
  const same = (kind: string, script: string, variants = VARIANTS): Ask => {
    const path = `/threads/${script}.php?n=${any(variants)}`;
    return ask(kind, path, { check: agreement.same(path) });
  };
  const session = (): Ask => {
    const number = any(SESSIONS);
    return ask("session", `/threads/session.php?s=${number}`, { check: agreement.counted(number) });
  };
  const says = (script: string, right: string): Ask =>
    ask(script, `/threads/${script}.php?n=${any(VARIANTS)}`, {
      check: (content) => (content === right ? null : content),
    });
  const limit = (by: string, status: number): Ask =>
    ask(`limit: ${by}`, `/threads/limits.php?by=${by}`, { status, answer: "none" });
  const kinds: readonly (readonly [number, () => Ask])[] = [
    [3500, () => ask("hello", "/hello.php")],
    [1600, () => fresh.ask(random)],
    [400, () => late.ask(random)],
    [900, () => same("language", "language")],
    [500, () => same("text", "text")],
    [800, () => says("shared", "nothing shared")],
    [60, () => says("outside", "as it should be")],
    [400, session],
    [400, () => ask("output", `/threads/output.php?n=${any(VARIANTS)}`)],
    [300, () => ask("post 60 KB", "/hello.php", { body })],
    [200, () => ask("upload 60 KB", "/upload.php", { body, asFile: true })],
    [200, () => ask("100 KB", "/fill.php?bytes=100000")],
    [20, () => ask("1 MB", "/fill.php?bytes=1000000")],
    [200, () => ask("exception", "/exception.php", { status: 500 })],
    [100, () => ask("fatal error", "/fatal.php", { status: 500, answer: "none" })],
    [200, () => ask("exit", "/exit.php")],
    [100, () => ask("flush", "/flush.php")],
    [100, () => ask("finish early", "/finish.php")],
    [30, () => ask("opcache status", "/threads/opcache.php?do=status")],
    [20, () => ask("opcache compile", `/threads/opcache.php?do=compile&n=${any(LEAVES)}`)],
    [5, () => ask("opcache invalidate", `/threads/opcache.php?do=invalidate&n=${any(LEAVES)}`)],
    [endsRecursion ? 20 : 0, () => same("recursion", "recursion", 1)],
    [10, () => limit("memory", 500)],
    [2, () => limit("time", 500)],
    [2, () => limit("deadline", 504)],
  ];
  const all = kinds.reduce((sum, [share]) => sum + share, 0);
  return () => {
    let left = random.next() * all;
    for (const [share, make] of kinds) if ((left -= share) < 0) return make();
    return kinds[0]![1]();
  };
}
