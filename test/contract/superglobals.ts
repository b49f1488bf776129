import { describe, expect } from "bun:test";
import { raw, test } from "../harness.ts";
import type { Subject } from "./contract.ts";
import { type Report, report } from "./report.ts";

/** What a script is told about its request. */
export function superglobals(subject: () => Subject): void {
  describe("superglobals", () => {
    const ask = (path: string, init?: RequestInit): Promise<Report> => report(`${subject().url}${path}`, init);

    test("$_GET is the decoded query, with arrays", async () => {
      const { get, post, request } = await ask("/report.php?a=1&b[]=x&b[]=y&c[k]=%C3%A4+z&d&e.f=2&%66=g");
      expect(get).toEqual({ a: "1", b: ["x", "y"], c: { k: "ä z" }, d: "", e_f: "2", f: "g" });
      expect(post).toEqual({});
      expect(request).toEqual(get);
    });

    test("$_POST is parsed from an urlencoded body, and $_REQUEST has both", async () => {
      const body = "x=1&y[]=2&y[]=3&z=%20+";
      const got = await ask("/report.php?x=0&q=1", { method: "POST", body, headers: FORM });
      expect(got.post).toEqual({ x: "1", y: ["2", "3"], z: "  " });
      expect(got.request).toMatchObject({ x: "1", q: "1" });
      expect(got.input).toBe(body);
    });

    test("a body of another type leaves $_POST empty and php://input whole", async () => {
      const got = await ask("/report.php", {
        method: "POST",
        body: '{"a":1}',
        headers: { "Content-Type": "application/json" },
      });
      expect(got.post).toEqual({});
      expect(got.input).toBe('{"a":1}');
      expect(got.server).toMatchObject({ CONTENT_TYPE: "application/json", CONTENT_LENGTH: "7" });
    });

    test("php://input can be read twice, whatever the method", async () => {
      for (const method of ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "REPORT"]) {
        const answer = await fetch(`${subject().url}/input.php`, { method, body: "payload" });
        expect(await answer.text()).toBe(`${method} 7 321c3cf486ed509164edec1e1981fec8 same`);
      }
    });

    test("multipart forms fill $_POST and $_FILES, and php://input stays empty", async () => {
      const form = new FormData();
      form.append("name", "value");
      form.append("list[]", "1");
      form.append("list[]", "2");
      form.append("file", new File(["content"], "dir/na me.txt", { type: "text/plain" }));
      const got = await ask("/report.php", { method: "POST", body: form });
      expect(got.post).toEqual({ name: "value", list: ["1", "2"] });
      expect(got.files["file"]).toMatchObject({
        name: "na me.txt",
        full_path: "dir/na me.txt",
        type: "text/plain",
        error: 0,
        size: 7,
      });
      expect(got.input).toBe("");
    });

    test("cookies come decoded, and broken ones do no harm", async () => {
      const cookie = "a=1; b=x%20y; c[d]=2; ; =; novalue; a=second; e=%zz; \xff=1";
      const answer = await raw(
        subject().url,
        `GET /report.php HTTP/1.1\r\nHost: x\r\nCookie: ${cookie}\r\nConnection: close\r\n\r\n`,
      );
      const got = JSON.parse(answer.text) as Report;
      expect(got.cookie).toMatchObject({ a: "1", b: "x y", c: { d: "2" }, novalue: "", e: "%zz" });
      expect(got.request).toEqual({});
    });
  });
}

const FORM = { "Content-Type": "application/x-www-form-urlencoded" };
