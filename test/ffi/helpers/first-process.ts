/**
 * The first process of a container: takes in orphans while it starts children of its own, and says what came of both.
 */
import { readdirSync, readFileSync } from "node:fs";
import { reapOrphans } from "../../../src/system/orphans.ts";

const known = new Set<number>();
const stop = reapOrphans({ everyMs: 20, isKnown: (pid) => known.has(pid) });

// Programs that go on when the one that started them has ended.
const orphanMaker = ["sh", "-c", "for i in 1 2 3 4 5; do (sleep 0.1; exit $i) & done; echo $$"];
const makers = Array.from({ length: 4 }, () =>
  Bun.spawn(orphanMaker, { stdio: ["ignore", "pipe", "inherit"] }),
);
const children = Array.from({ length: 40 }, (_, i) =>
  Bun.spawn(["sh", "-c", `sleep 0.${i % 10}; exit ${i}`], { stdio: ["ignore", "ignore", "inherit"] }),
);
const codes = await Promise.all(children.map((child) => child.exited));
await Promise.all(makers.map((child) => child.exited));

const deadline = performance.now() + 10_000;
while (processes().length > 1 && performance.now() < deadline) await Bun.sleep(10);
stop();
console.log(JSON.stringify({ pid: process.pid, codes, left: processes() }));

function processes(): string[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map((name) => {
      try {
        return readFileSync(`/proc/${name}/stat`, "utf8").split(" ", 3).join(" ");
      } catch {
        return "";
      }
    })
    .filter(Boolean);
}
