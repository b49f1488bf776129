import { describe, expect } from "bun:test";
import { get, newId } from "./ask.ts";
import { test } from "./contract-test.ts";
import type { Subject } from "./contract.ts";

export function sessions(subject: () => Subject): void {
  describe("sessions", () => {
    const ask = async (cookie: string | undefined, query = "", url = subject().url) => {
      const answer = await get(
        url,
        `/session.php${query}`,
        ...(cookie === undefined ? [] : [`Cookie: ${cookie}`]),
      );
      return { text: answer.text, cookie: answer.header("set-cookie")?.split(";")[0] ?? cookie };
    };

    test("a session lives from request to request, whichever worker serves it", async () => {
      const first = await ask(undefined);
      expect(first.text).toBe("1");
      expect(first.cookie).toMatch(/^PHPSESSID=\w+$/);
      for (const count of ["2", "3", "4", "5"]) expect((await ask(first.cookie)).text).toBe(count);
      expect((await ask(first.cookie, "?exit=1")).text).toBe("exit 6");
      expect((await ask(first.cookie)).text).toBe("7");
    });

    test("nobody gets the session of somebody else who used the worker before", async () => {
      const { url } = subject().strict;
      const one = await ask(undefined, "", url);
      const two = await ask(undefined, "", url);
      expect([one.text, two.text]).toEqual(["1", "1"]);
      expect(one.cookie).not.toBe(two.cookie);
      expect((await ask(one.cookie, "", url)).text).toBe("2");
      expect((await ask(two.cookie, "", url)).text).toBe("2");
    });

    test("two requests of one session go one after the other, others do not wait for them", async () => {
      const { server } = subject();
      const { cookie } = await ask(undefined);
      const id = newId();
      const holding = ask(cookie, `?hold=1&id=${id}`);
      await server.record(id, /locked/);
      const waiting = ask(cookie, `?id=${id}`);
      await server.record(id, /begun[^]*begun/);
      expect((await ask(undefined)).text).toBe("1");
      server.openGate(`${id}-hold`);
      expect((await holding).text).toBe("2");
      expect((await waiting).text).toBe("3");
    });
  });
}
