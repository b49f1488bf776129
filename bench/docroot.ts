import { cpSync, mkdirSync, readdirSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export const INCLUDED_FILES = 300;
const SETTLED = new Date(Date.now() - 3_600_000);

/** Writes what the servers serve: the scripts of bench/docroot/, a page of 300 files, and two static files. */
export function writeDocroot(folder: string): void {
  cpSync(join(import.meta.dirname, "docroot"), folder, { recursive: true });
  writeFileSync(join(folder, "3kb.css"), "body { color: #234; margin: 0 }\n".repeat(96).slice(0, 3000));
  writeFileSync(join(folder, "10mb.bin"), pattern(10_000_000));
  writeIncludes(folder);
  // opcache does not keep files that were written in the last two seconds, nor do static caches.
  for (const entry of readdirSync(folder, { recursive: true }))
    utimesSync(join(folder, `${entry}`), SETTLED, SETTLED);
}

/** A page as frameworks make them: many small classes in many folders, each in a file of its own. */
function writeIncludes(folder: string): void {
  const paths: string[] = [];
  for (let i = 0; i < INCLUDED_FILES; i++) {
    const below = `lib/part${i % 15}/layer${i % 5}`;
    mkdirSync(join(folder, below), { recursive: true });
    paths.push(`${below}/Service${i}.php`);
    writeFileSync(join(folder, paths.at(-1)!), service(i));
  }
  const lines = paths.map((path) => `require_once __DIR__ . '/${path}';`);
  writeFileSync(
    join(folder, "includes.php"),
    `<?php\n${lines.join("\n")}
$sum = 0;
for ($i = 0; $i < ${INCLUDED_FILES}; $i++) {
    $class = "Bench\\\\Service$i";
    $sum += (new $class(['number' => $i]))->number();
}
echo count(get_included_files()), ' files ', $sum;
`,
  );
}

function service(number: number): string {
  const methods = Array.from(
    { length: 6 },
    (_, i) => `
    public function rule${i}(string $name, ?array $more = null): string
    {
        $values = array_merge(self::DEFAULTS, $more ?? []);
        return sprintf('%s: %s-%d', $name, implode(',', array_keys($values)), ${number * 10 + i});
    }
`,
  );
  return `<?php

declare(strict_types=1);

namespace Bench;

final class Service${number}
{
    private const DEFAULTS = ['name' => 'service ${number}', 'enabled' => true, 'tags' => ['a', 'b', 'c']];

    public function __construct(private array $options)
    {
    }

    public function number(): int
    {
        return $this->options['number'] + ${number};
    }
${methods.join("")}}
`;
}

/** Bytes that no compression or zero page makes cheap, the same every time. */
function pattern(bytes: number): Uint8Array {
  const words = new Uint32Array(Math.ceil(bytes / 4));
  let state = 0x9e3779b9;
  for (let i = 0; i < words.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    words[i] = state;
  }
  return new Uint8Array(words.buffer, 0, bytes);
}
