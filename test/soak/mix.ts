import { ask, type Ask } from "./load/ask.ts";
import type { Random } from "./random.ts";
import type { LargeSite } from "./site.ts";

/** All that a server meets in a day, and how often in ten thousand requests. */
export function mixOf(random: Random, site: LargeSite): () => Ask {
  const bodies = [1_000, 100_000, 1_000_000].map((bytes) => Buffer.alloc(bytes, `${random.next()}`));
  const [small, middle, large] = bodies as [Buffer, Buffer, Buffer];
  const file = (name: string) => Bun.hash.crc32(site.files.get(name)!);
  const css = file("small.css");
  const picture = file("medium.bin");
  const kinds: readonly (readonly [number, () => Ask])[] = [
    [6000, () => ask("hello", "/hello.php")],
    [500, () => ask("wait", "/wait.php?us=1000")],
    [800, () => ask("post 1 KB", "/hello.php", { body: small })],
    [200, () => ask("post 100 KB", "/hello.php", { body: middle })],
    [200, () => ask("upload 100 KB", "/upload.php", { body: middle, asFile: true })],
    [30, () => ask("post 1 MB", "/hello.php", { body: large })],
    [20, () => ask("upload 1 MB", "/upload.php", { body: large, asFile: true })],
    [500, () => ask("100 KB", "/fill.php?bytes=100000")],
    [200, () => ask("exception", "/exception.php", { status: 500 })],
    [200, () => ask("fatal error", "/fatal.php", { status: 500, answer: "none" })],
    [200, () => ask("exit", "/exit.php")],
    [20, () => ask("leak", "/leak.php?bytes=8000000")],
    [200, () => ask("flush", "/flush.php")],
    [200, () => ask("finish early", "/finish.php")],
    [500, () => ask("static file", "/small.css", { answer: css })],
    [200, () => ask("static file, 300 KB", "/medium.bin", { answer: picture })],
  ];
  const all = kinds.reduce((sum, [share]) => sum + share, 0);
  return () => {
    let left = random.next() * all;
    for (const [share, make] of kinds) if ((left -= share) < 0) return make();
    return kinds[0]![1]();
  };
}
