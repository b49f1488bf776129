import { closeSync, mkdirSync, openSync, renameSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { ask, type Ask } from "./load/ask.ts";
import type { Random } from "./random.ts";

/** A script of which every answer says what version it is of. */
interface Versioned {
  readonly file: string;
  /** When each version was there, and when an answer was first of it or a newer one; by number. */
  readonly writtenMs: number[];
  readonly seenMs: number[];
}

export interface RewritingOptions {
  /** The site's folder. */
  readonly site: string;
  /** A folder of its own below it, and so a path of the site. */
  readonly folder: string;
  /** Pages, each of four files. */
  readonly pages: number;
  /** How long an old version may still be seen. @default {0} */
  readonly staleMs?: number;
}

/**
 * How long an old version may be served that nobody has seen replaced yet. There is a moment in opcache in which one
 * request drops an old script, and another that has found it takes it for a preloaded one, which is never checked
 * (persistent_compile_file() and zend_accel_discard_script() in ext/opcache/ZendAccelerator.c of PHP 8.4). Processes
 * have that as threads do: about one answer in two hundred files that are replaced under load.
 */
const UNSEEN_MS = 1000;
/** Where the number stands in a file that is overwritten in place: eight bytes at once, so that no half can be read. */
const PLACE_AT = 32;

/**
 * Pages whose files are rewritten while they are asked for, by rename or in place. A page reports the versions of its
 * files, each file's from several places in it: they must agree, and be neither older than what had been seen
 * when the request was sent nor newer than what there is.
 */
export class Rewriting {
  rewrites = 0;
  readonly #folder: string;
  readonly #path: string;
  readonly #staleMs: number;
  readonly #pages: readonly Readonly<Record<"page" | "parent" | "values" | "place", Versioned>>[];
  #timer: Timer | undefined;

  constructor({ site, folder, pages, staleMs = 0 }: RewritingOptions) {
    this.#folder = join(site, folder);
    this.#path = `/${folder}`;
    this.#staleMs = staleMs;
    mkdirSync(this.#folder, { recursive: true });
    this.#pages = Array.from({ length: pages }, (_, i) => ({
      page: { file: `page${i}.php`, writtenMs: [], seenMs: [] },
      parent: { file: `parent${i}.php`, writtenMs: [], seenMs: [] },
      values: { file: `values${i}.php`, writtenMs: [], seenMs: [] },
      place: { file: `place${i}.php`, writtenMs: [], seenMs: [] },
    }));
    for (const [i, page] of this.#pages.entries()) {
      // Never rewritten: its class hangs on one that is.
      writeFileSync(join(this.#folder, `child${i}.php`), childSource(i));
      for (const kind of ["parent", "values", "place", "page"] as const) this.#rewrite(i, kind, page[kind]);
    }
  }

  /** Rewrites one file, any, every so often, until stop(). */
  start(everyMs: number, random: Random): void {
    this.#timer = setInterval(() => {
      const i = Math.floor(random.next() * this.#pages.length);
      const kind = random.pick(["page", "parent", "values", "place"] as const)!;
      this.#rewrite(i, kind, this.#pages[i]![kind]);
      this.rewrites++;
    }, everyMs);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  ask(random: Random): Ask {
    const i = Math.floor(random.next() * this.#pages.length);
    const page = this.#pages[i]!;
    const sentMs = performance.now();
    return ask("rewritten", `${this.#path}/page${i}.php`, {
      check: (content) => {
        for (const kind of ["page", "parent", "values", "place"] as const) {
          const fault = this.#faultOf(page[kind], kind, content, sentMs);
          if (fault !== null) return fault;
        }
        return null;
      },
    });
  }

  #faultOf(script: Versioned, kind: string, content: string, sentMs: number): string | null {
    const told = new RegExp(`^${kind}: (.*)$`, "m").exec(content)?.[1];
    const versions = new Set(told?.split(" ").map(Number));
    const [version] = versions;
    if (versions.size !== 1 || version === undefined || !Number.isInteger(version))
      return `${script.file} is of several versions, or of none: ${told}`;
    const newest = script.writtenMs.length - 1;
    const before = sentMs - this.#staleMs;
    const oldest = Math.max(
      script.seenMs.findLastIndex((seenMs) => seenMs < before),
      script.writtenMs.findLastIndex((writtenMs) => writtenMs < before - UNSEEN_MS),
    );
    const nowMs = performance.now();
    if (version < oldest || version > newest) {
      const ageMs = nowMs - (script.writtenMs[version + 1] ?? 0);
      return `${script.file} is of version ${version}, replaced ${ageMs.toFixed(0)} ms ago, not of ${oldest} to ${newest}`;
    }
    for (let seen = script.seenMs.length; seen <= version; seen++) script.seenMs.push(nowMs);
    return null;
  }

  #rewrite(i: number, kind: "page" | "parent" | "values" | "place", script: Versioned): void {
    const version = script.writtenMs.length;
    const path = join(this.#folder, script.file);
    if (kind === "place" && version > 0) {
      const file = openSync(path, "r+");
      writeSync(file, eight(version), PLACE_AT);
      closeSync(file);
    } else {
      writeFileSync(`${path}.new`, sources[kind](i, version));
      renameSync(`${path}.new`, path);
    }
    script.writtenMs.push(performance.now());
  }
}

type Source = (page: number, version: number) => string;

const sources: Readonly<Record<"page" | "parent" | "values" | "place", Source>> = {
  page: (i, v) => `<?php // ${v}
require_once __DIR__ . '/../_seal.php';
require_once __DIR__ . '/child${i}.php';
const OWN = ${v};
enum Own: int { case Version = ${v}; }
function own_version(): int { return ${v}; }
${padding(v)}
$values = require __DIR__ . '/values${i}.php';
$place = require __DIR__ . '/place${i}.php';
$child = new Child${i};
echo sealed("page: ${v} " . own_version() . ' ' . Own::Version->value . ' ' . OWN . <<<END
 ${v}
parent: {$child->versions()}
values: {$values()}
place: $place

END);
`,
  parent: (i, v) => `<?php
interface Has${i} { const VERSION = ${v}; }
trait Tells${i} { private int $told = ${v}; public function told(): int { return $this->told; } }
abstract class Parent${i} implements Has${i} {
    use Tells${i};
    protected static array $all = ['version' => ${v}, 'more' => [${v}, ${v}]];
    ${padding(v)}
    public function version(): int { return ${v}; }
}
`,
  values: (_, v) => `<?php
${padding(v)}
return static function (int $again = ${v}): string {
    static $kept = ${v};
    $table = ['a' => ${v}, 'b' => ['c' => '${v}']];
    return "$again $kept {$table['a']} {$table['b']['c']} " . match (true) { $again === ${v} => ${v}, default => 'other' };
};
`,
  // The number stands at PLACE_AT.
  place: (_, v) => `${"<?php".padEnd(PLACE_AT - 4)}$p=1${eight(v)};
return ($p - 100000000) . ' ' . (int) substr((string) $p, 1);
`,
};

function childSource(i: number): string {
  return `<?php
require_once __DIR__ . '/parent${i}.php';
class Child${i} extends Parent${i} {
    public function versions(): string {
        return implode(' ', [self::VERSION, $this->version(), $this->told(), static::$all['version'], ...static::$all['more']]);
    }
}
`;
}

/** Another length for each version, and more than a page of memory now and then. */
function padding(version: number): string {
  return `/* ${`${version} `.repeat(1 + ((version * 37) % 900))} */`;
}

function eight(version: number): string {
  return String(version).padStart(8, "0");
}
