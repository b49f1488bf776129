import { describe, expect } from "bun:test";
import { realpathSync } from "node:fs";
import { get, send } from "./ask.ts";
import { test } from "./contract-test.ts";
import type { Subject } from "./contract.ts";
import { type Report, report } from "./report.ts";

/** What a script is told about its request. */
export function superglobals(subject: () => Subject): void {
  const ask = (path: string, init?: RequestInit) => report(`${subject().url}${path}`, init);
  const askRaw = async (path: string, ...headers: string[]) =>
    JSON.parse((await get(subject().url, path, ...headers)).text) as Report;

  describe("forms", () => {
    test("$_GET is the decoded query, with arrays", async () => {
      const {
        get: values,
        post,
        request,
      } = await ask("/report.php?a=1&b[]=x&b[]=y&c[k]=%C3%A4+z&d&e.f=2&%66=g");
      expect(values).toEqual({ a: "1", b: ["x", "y"], c: { k: "ä z" }, d: "", e_f: "2", f: "g" });
      expect(post).toEqual({});
      expect(request).toEqual(values);
    });

    test("$_POST is parsed from an urlencoded body, and $_REQUEST has both", async () => {
      const body = "x=1&y[]=2&y[]=3&z=%20+&s=semi%3Bcolon";
      const got = await ask("/report.php?x=0&q=1", { method: "POST", body, headers: FORM });
      expect(got.post).toEqual({ x: "1", y: ["2", "3"], z: "  ", s: "semi;colon" });
      expect(got.request).toMatchObject({ x: "1", q: "1" });
      expect(got.input).toBe(body);
    });

    test("$_POST is for POST alone", async () => {
      const got = await ask("/report.php", { method: "PUT", body: "x=1", headers: FORM });
      expect(got.post).toEqual({});
      expect(got.input).toBe("x=1");
    });

    test("a body of another type leaves $_POST empty and php://input whole", async () => {
      const got = await ask("/report.php", { method: "POST", body: '{"a":1}', headers: JSON_TYPE });
      expect(got.post).toEqual({});
      expect(got.input).toBe('{"a":1}');
      expect(got.server).toMatchObject({ CONTENT_TYPE: "application/json", CONTENT_LENGTH: "7" });
    });

    test("php.json_post parses JSON objects and lists into $_POST, and leaves the rest alone", async () => {
      const { url } = subject().strict;
      const post = async (body: string, type = "application/json") =>
        await report(`${url}/report.php`, { method: "POST", body, headers: { "Content-Type": type } });
      const got = await post('{"a":{"b":[1,2.5,true,null,"ä"]},"c":""}');
      expect(got.post).toEqual({ a: { b: [1, 2.5, true, null, "ä"] }, c: "" });
      expect(got.input).toBe('{"a":{"b":[1,2.5,true,null,"ä"]},"c":""}');
      expect((await post("[1,2]", "application/json; charset=utf-8")).post).toEqual({ 0: 1, 1: 2 });
      for (const body of ["{broken", '"text"', "5", "", "null", `${"[".repeat(600)}${"]".repeat(600)}`]) {
        expect((await post(body)).post).toEqual({});
      }
      expect((await post("a=1", "application/x-www-form-urlencoded")).post).toEqual({ a: "1" });
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

    test("multipart by PUT is not parsed, but php://input has it", async () => {
      const form = new FormData();
      form.append("name", "value");
      const got = await ask("/report.php", { method: "PUT", body: form });
      expect(got.post).toEqual({});
      expect(got.input).toContain('name="name"\r\n\r\nvalue');
    });

    test("cookies come decoded, and broken ones do no harm", async () => {
      const got = await askRaw(
        "/report.php",
        "Cookie: a=1; b=x%20y; c[d]=2; ; =; novalue; a=second; e=%zz; \xff=1; f=a%00b",
      );
      expect(got.cookie).toMatchObject({ a: "1", b: "x y", c: { d: "2" }, novalue: "", e: "%zz", f: "a\0b" });
      expect(got.request).toEqual({});
    });

    test("$_GET of one request is not that of the next, even when first looked at late", async () => {
      for (const value of ["1", "2", "3"]) {
        const { url } = subject().strict;
        const got = await report(`${url}/report.php?v=${value}`, { headers: { Cookie: `c=${value}` } });
        expect(got.get).toEqual({ v: value });
        expect(got.cookie).toEqual({ c: value });
        expect((await report(`${url}/report.php`)).get).toEqual({});
      }
    });
  });

  describe("$_SERVER", () => {
    test("has what nginx and php-fpm set", async () => {
      const { server, url } = subject();
      const got = await askRaw(
        "/report.php/extra/p%C3%A4th?x=1&y",
        "Host: Example.test:1234",
        "Accept: text/html",
      );
      const docroot = realpathSync(server.docroot);
      expect(got.server).toMatchObject({
        GATEWAY_INTERFACE: "CGI/1.1",
        SERVER_SOFTWARE: expect.stringMatching(/^phprun/),
        SERVER_PROTOCOL: "HTTP/1.1",
        SERVER_NAME: expect.stringMatching(/^example\.test$/i),
        SERVER_ADDR: "127.0.0.1",
        SERVER_PORT: String(server.port),
        REMOTE_ADDR: "127.0.0.1",
        REMOTE_PORT: expect.stringMatching(/^\d+$/),
        REQUEST_METHOD: "GET",
        REQUEST_SCHEME: "http",
        REQUEST_URI: "/report.php/extra/p%C3%A4th?x=1&y",
        QUERY_STRING: "x=1&y",
        DOCUMENT_ROOT: docroot,
        DOCUMENT_URI: "/report.php/extra/päth",
        SCRIPT_FILENAME: `${docroot}/report.php`,
        SCRIPT_NAME: "/report.php",
        PATH_INFO: "/extra/päth",
        PHP_SELF: "/report.php/extra/päth",
        CONTENT_TYPE: "",
        CONTENT_LENGTH: "",
        REDIRECT_STATUS: "200",
        HTTP_HOST: "Example.test:1234",
        HTTP_ACCEPT: "text/html",
        HTTP_CONNECTION: "close",
      });
      expect(Number(got.server["REQUEST_TIME_FLOAT"])).toBeWithin(
        Date.now() / 1000 - 30,
        Date.now() / 1000 + 1,
      );
      expect(Number(got.server["REQUEST_TIME"])).toBe(Math.floor(Number(got.server["REQUEST_TIME_FLOAT"])));
      for (const absent of [
        "HTTPS",
        "AUTH_TYPE",
        "HTTP_CONTENT_LENGTH",
        "HTTP_CONTENT_TYPE",
        "HTTP_COOKIE",
      ]) {
        expect(got.server).not.toHaveProperty(absent);
      }
      expect(url).toContain(got.server["SERVER_PORT"] ?? "");
    });

    test("names the body's type and length twice, as nginx does", async () => {
      const got = await ask("/report.php", { method: "POST", body: "a=1", headers: FORM });
      expect(got.server).toMatchObject({
        CONTENT_TYPE: FORM["Content-Type"],
        CONTENT_LENGTH: "3",
        HTTP_CONTENT_TYPE: FORM["Content-Type"],
        HTTP_CONTENT_LENGTH: "3",
      });
    });

    test("a script without PATH_INFO has none, a clean URL shows the script's name", async () => {
      const got = await askRaw("/report?x");
      expect(got.server["PATH_INFO"] ?? "").toBe("");
      expect(got.server).toMatchObject({
        REQUEST_URI: "/report?x",
        SCRIPT_NAME: "/report.php",
        PHP_SELF: "/report.php",
        DOCUMENT_URI: "/report.php",
      });
    });

    test("tells which pool and worker answered, and the request's id", async () => {
      const answer = await get(subject().url, "/report.php");
      const got = JSON.parse(answer.text) as Report;
      expect(got.server["PHPRUN_POOL"]).toBe("contract");
      expect(got.server["PHPRUN_WORKER"]).toMatch(/^[0-3]$/);
      expect(got.server["PHPRUN_REQUEST_ID"]).toBe(answer.header("x-request-id") ?? "none");
    });

    test("environment variables from outside and from the configuration are there", async () => {
      const { strict } = subject();
      const got = await report(`${strict.url}/report.php`);
      expect(got.env).toMatchObject({ FROM_CONFIG: "configured", RECORDS: `${strict.folder}/records` });
      expect(got.env).not.toHaveProperty("REQUEST_METHOD");
      expect((await ask("/report.php")).env).toEqual({});
      for (const name of Object.keys(got.env)) expect(name).not.toStartWith("PHPRUN_HOST");
    });

    test("filter_input() sees what the script sees", async () => {
      const { url } = subject();
      const answer = await send(
        url,
        "POST /filter.php?n=5 HTTP/1.1",
        [`Content-Type: ${FORM["Content-Type"]}`, "Content-Length: 3", "X-Number: 42", "Cookie: c=d"],
        "p=q",
      );
      expect(JSON.parse(answer.text)).toEqual({
        method: "POST",
        host: "test",
        has: true,
        number: 42,
        get: 5,
        cookie: "d",
        post: "q",
      });
    });
  });

  describe("request headers", () => {
    test("a repeated header is one, joined by commas; repeated cookies by semicolons", async () => {
      const got = await askRaw("/report.php", "X-Many: a", "X-Many: b", "Cookie: a=1", "Cookie: b=2");
      expect(got.server["HTTP_X_MANY"]).toBe("a, b");
      expect(got.cookie).toEqual({ a: "1", b: "2" });
    });

    test("Proxy never becomes HTTP_PROXY (httpoxy)", async () => {
      const got = await askRaw("/report.php", "Proxy: http://evil", "PROXY: http://evil");
      expect(got.server).not.toHaveProperty("HTTP_PROXY");
    });

    test("a name with an underscore is dropped, so that it cannot pose as one with a hyphen", async () => {
      const got = await askRaw(
        "/report.php",
        "X-Real: good",
        "X_Real: evil",
        "x_only: evil",
        "Content_Length: 7",
      );
      expect(got.server["HTTP_X_REAL"]).toBe("good");
      expect(got.server).not.toHaveProperty("HTTP_X_ONLY");
      expect(got.server["CONTENT_LENGTH"]).toBe("");
    });

    test("odd characters in a name make no other variable", async () => {
      const got = await askRaw("/report.php", "X.Dot: 1", "X!Bang: 2", "X~Tilde: 3", "X-Fine-9: 4");
      const names = Object.keys(got.server).filter((name) => name.startsWith("HTTP_X"));
      expect(names).toEqual(["HTTP_X_FINE_9"]);
    });

    test("bytes pass unchanged in both directions, UTF-8 and others", async () => {
      const answer = await get(
        subject().url,
        "/bytes.php",
        `X-Utf8: ${Buffer.from("ä€😀").toString("latin1")}`,
        "X-Latin1: \xe4\xff",
        "X-Empty:",
        "X-Tabs: \t a\tb \t",
      );
      const hex = (text: string, encoding: BufferEncoding) => Buffer.from(text, encoding).toString("hex");
      expect(answer.text).toBe(`${hex("ä€😀", "utf8")}\ne4ff\n\n${hex("a\tb", "latin1")}\n`);
      expect(Buffer.from(answer.header("x-utf8") ?? "", "latin1").toString()).toBe("ä€😀");
      expect(answer.header("x-latin1")).toBe("\xe4\xff");
    });

    test("150 headers all arrive", async () => {
      const headers = Array.from({ length: 150 }, (_, i) => `X-H${i}: value ${i}`);
      const got = await askRaw("/report.php", ...headers);
      const found = Object.keys(got.server).filter((name) => /^HTTP_X_H\d+$/.test(name));
      expect(found).toHaveLength(150);
      expect(got.server["HTTP_X_H149"]).toBe("value 149");
    });

    test("a header of 30 KB arrives whole", async () => {
      const got = await askRaw("/report.php", `X-Long: ${"v".repeat(30_000)}`);
      expect(got.server["HTTP_X_LONG"]).toHaveLength(30_000);
    });

    test("getallheaders() spells names as php-fpm does", async () => {
      const got = await ask("/report.php", {
        method: "POST",
        body: "a=1",
        headers: { ...FORM, "accept-language": "de", "x-FOO-bar": "1", Authorization: "Basic dTpw" },
      });
      expect(got.headers).toMatchObject({
        "Content-Type": FORM["Content-Type"],
        "Content-Length": "3",
        "Accept-Language": "de",
        "X-Foo-Bar": "1",
        Authorization: "Basic dTpw",
        Host: `127.0.0.1:${subject().server.port}`,
      });
    });

    test("Basic credentials are taken apart, broken ones are not", async () => {
      const auth = async (value: string) =>
        JSON.parse((await get(subject().url, "/auth.php", `Authorization: ${value}`)).text) as Record<
          string,
          string
        >;
      const basic = (text: string) => `Basic ${Buffer.from(text).toString("base64")}`;
      expect(await auth(basic("user:pa:ss"))).toMatchObject({ PHP_AUTH_USER: "user", PHP_AUTH_PW: "pa:ss" });
      expect(await auth(basic(":"))).toMatchObject({ PHP_AUTH_USER: "" });
      for (const broken of ["Basic", "Basic %%%", basic("no colon"), "Bearer token"]) {
        const got = await auth(broken);
        expect(got).not.toHaveProperty("PHP_AUTH_USER");
        expect(got["HTTP_AUTHORIZATION"]).toBe(broken);
      }
      const next = JSON.parse((await get(subject().url, "/auth.php")).text) as Record<string, string>;
      expect(next).toEqual({ headers: null as unknown as string });
    });

    test("Digest credentials are handed over whole", async () => {
      const digest = 'username="x", realm="y", nonce="z", uri="/auth.php", response="0"';
      const answer = await get(subject().url, "/auth.php", `Authorization: Digest ${digest}`);
      expect(JSON.parse(answer.text)).toMatchObject({ PHP_AUTH_DIGEST: digest });
    });
  });
}

const FORM = { "Content-Type": "application/x-www-form-urlencoded" };
const JSON_TYPE = { "Content-Type": "application/json" };
