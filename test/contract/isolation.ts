import { describe, expect } from "bun:test";
import { test } from "./contract-test.ts";
import type { Subject } from "./contract.ts";

/** Requests that share a worker share nothing else. */
export function isolation(subject: () => Subject): void {
  describe("isolation between requests", () => {
    const ask = async (query = "") =>
      (await (await fetch(`${subject().strict.url}/leak.php${query}`)).json()) as Record<string, unknown>;

    test("nothing a script changes is seen by the next one in its worker", async () => {
      const before = await ask();
      const changed = await ask("?do=leak");
      const after = await ask();
      expect(after).toEqual(before);
      expect(changed).toMatchObject({ getenv: "1", config: "changed", cwd: "", umask: "777", status: 404 });
      expect(before).toMatchObject({ getenv: false, config: "configured", status: 200, cwd: "contract" });
    });

    test("fcgi-only settings are as a web SAPI has them", async () => {
      const answer = await fetch(`${subject().url}/limits.php`);
      expect(await answer.json()).toEqual({
        max_execution_time: "30",
        sapi: "phprun",
        constant: "phprun",
        opcache: true,
        binary: "",
        argv: false,
        cwd: subject().server.docroot,
        display_errors: "",
        user_abort: 0,
        stdin: false,
      });
    });

    test("php.sapi_name changes what php_sapi_name() says, and opcache stays on", async () => {
      const answer = await fetch(`${subject().strict.url}/limits.php`);
      expect(await answer.json()).toMatchObject({ sapi: "fpm-fcgi", constant: "fpm-fcgi", opcache: true });
    });

    test("phpinfo() has a phprun section", async () => {
      const text = await (await fetch(`${subject().url}/info.php`)).text();
      expect(text).toContain('<tr><td class="e">Server API </td><td class="v">phprun </td></tr>');
      const section = text.slice(text.indexOf('name="module_phprun"'));
      for (const row of [
        'Pool </td><td class="v">contract',
        "Worker",
        "Generation",
        subject().mode,
        subject().isolation ?? "process",
      ]) {
        expect(section.slice(0, 1500)).toContain(row);
      }
    });

    test("a script compiled by one worker is in the opcache of the others", async () => {
      const workers = new Set<string>();
      for (let i = 0; i < 200 && workers.size < 2; i++) {
        const asked = Array.from({ length: 4 }, () =>
          fetch(`${subject().url}/opcache.php`).then((r) => r.json()),
        );
        for (const { worker, hits, scripts } of (await Promise.all(asked)) as Opcache[]) {
          workers.add(worker);
          if (workers.size > 1) expect(hits + scripts).toBeGreaterThan(1);
        }
      }
      const { cached } = (await (await fetch(`${subject().url}/opcache.php`)).json()) as Opcache;
      expect(cached).toBe(true);
      expect(workers.size).toBeGreaterThan(1);
    });
  });
}

interface Opcache {
  readonly worker: string;
  readonly hits: number;
  readonly scripts: number;
  readonly cached: boolean;
}
