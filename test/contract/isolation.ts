import { describe, expect } from "bun:test";
import { newId } from "./ask.ts";
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
      const { url, server } = subject();
      const look = async (id: string) =>
        (await (await fetch(`${url}/opcache.php?id=${id}`)).json()) as Opcache;
      const first = newId();
      server.openGate(`${first}-go`);
      await look(first);
      // Two are in the script at the same time.
      const id = newId();
      const asked = [look(id), look(id)];
      await server.record(id, /(started\n){2}/);
      server.openGate(`${id}-go`);
      const [one, other] = (await Promise.all(asked)) as [Opcache, Opcache];
      expect(other.worker).not.toBe(one.worker);
      for (const { cached, hits } of [one, other]) expect([cached, hits > 0]).toEqual([true, true]);
    });
  });
}

interface Opcache {
  readonly worker: string;
  readonly hits: number;
  readonly cached: boolean;
}
