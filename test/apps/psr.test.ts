/** The PSR-7 loop of php/: what it makes of requests and responses, with three libraries' factories. */
import { afterAll, beforeAll, describe, expect } from "bun:test";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import {
  Connection,
  eventually,
  type HttpResponse,
  raw,
  type Server,
  start,
  targets,
  test,
} from "../harness.ts";

const FOLDER = join(import.meta.dir, "../fixtures/apps/psr");
const FACTORIES = {
  nyholm: { file: "Nyholm/Psr7/autoload.php", package: "php-nyholm-psr7" },
  guzzle: { file: "GuzzleHttp/Psr7/autoload.php", package: "php-guzzlehttp-psr7" },
  slim: { file: "Slim/Psr7/autoload.php", package: "php-slim-psr7" },
} as const;

// One of the two ways to run phprun is enough here: that they do the same is the contract's business.
const target = targets.at(-1) ?? "source";

for (const factory of Object.keys(FACTORIES) as (keyof typeof FACTORIES)[]) {
  for (const mode of ["classic", "worker"] as const) {
    const { file, package: name } = FACTORIES[factory];
    const missing = existsSync(join("/usr/share/php", file)) ? undefined : `no ${name}`;
    const title = `PSR-7 of ${factory}, ${mode} mode`;
    describe(missing === undefined ? title : `${title} (skipped: ${missing})`, () =>
      psrTests(factory, mode, missing !== undefined),
    );
  }
}

function psrTests(factory: string, mode: "classic" | "worker", skip: boolean): void {
  let state = "";
  const removeState = () => rmSync(state, { recursive: true, force: true });
  let server: Server | undefined;

  beforeAll(async () => {
    if (skip) return;
    state = mkdtempSync(join(tmpdir(), "phprun-psr-"));
    process.once("exit", removeState);
    const script = mode === "worker" ? { worker_script: join(FOLDER, "worker.php") } : {};
    server = await start({
      target,
      docroot: join(FOLDER, "public"),
      config: {
        php: { ini: { include_path: ".:/usr/share/php" } },
        pools: [{ name: "default", worker_count: 2, ...script }],
      },
      env: { APP_STATE_DIR: state, FACTORY: factory },
    });
  });

  afterAll(async () => {
    if (skip) return;
    await server?.[Symbol.asyncDispose]();
    process.off("exit", removeState);
    removeState();
  });

  const check = (name: string, body: () => Promise<void>) => test.skipIf(skip)(name, body);
  const theServer = (): Server => {
    if (server === undefined) throw new Error("The server was not started");
    return server;
  };
  const ask = async (head: string, body: string | Uint8Array = ""): Promise<HttpResponse> => {
    const bytes = typeof body === "string" ? Buffer.from(body) : body;
    const length = bytes.length === 0 ? "" : `Content-Length: ${bytes.length}\r\n`;
    const text = `${head.replaceAll("\n", "\r\n")}\r\n${length}\r\n`;
    return await raw(
      theServer().url,
      Buffer.concat([Buffer.from(text, "latin1"), bytes]),
      head.split(" ")[0],
    );
  };
  const described = (response: HttpResponse) =>
    JSON.parse(response.body.toString()) as Record<string, unknown>;

  check("a request has its line, headers, cookies and query, and no body or form", async () => {
    const seen = described(
      await ask(
        "GET /a%20b/c?x=1&y%5B%5D=2&y%5B%5D=3 HTTP/1.1\nHost: example.com:81\nX-Twice: a\nX-Twice: b\n" +
          "Cookie: c=d%20e\nAccept: text/*",
      ),
    );
    expect(seen).toMatchObject({
      method: "GET",
      uri: "http://example.com:81/a%20b/c?x=1&y%5B%5D=2&y%5B%5D=3",
      target: "/a%20b/c?x=1&y%5B%5D=2&y%5B%5D=3",
      version: "1.1",
      cookies: { c: "d e" },
      query: { x: "1", y: ["2", "3"] },
      form: null,
      files: [],
      body: "",
      server: "GET",
      attributes: [],
    });
    expect(seen["headers"]).toMatchObject({
      host: ["example.com:81"],
      accept: ["text/*"],
      cookie: ["c=d%20e"],
      "x-twice": ["a, b"],
    });
  });

  check("a path that begins with two slashes is no other host", async () => {
    const seen = described(await ask("GET //evil.example/x HTTP/1.1\nHost: example.com"));
    expect(new URL(String(seen["uri"])).host).toBe("example.com");
  });

  check("a form is parsed, any other body is there as it came", async () => {
    const form = "Content-Type: application/x-www-form-urlencoded; charset=utf-8";
    expect(described(await ask(`POST / HTTP/1.1\nHost: x\n${form}`, "a=1&b[c]=2"))).toMatchObject({
      form: { a: "1", b: { c: "2" } },
      body: "a=1&b[c]=2",
    });
    expect(described(await ask(`PUT / HTTP/1.1\nHost: x\n${form}`, "a=1"))).toMatchObject({
      method: "PUT",
      form: null,
      body: "a=1",
    });
    const json = '{"text":"ü"}';
    expect(
      described(await ask("POST / HTTP/1.1\nHost: x\nContent-Type: application/json", json)),
    ).toMatchObject({ form: null, body: json });
  });

  check("uploaded files are a tree, can be moved, and tell what went wrong", async () => {
    const part = (name: string, file: string, content: string) =>
      `--b\r\nContent-Disposition: form-data; name="${name}"; filename="${file}"\r\nContent-Type: text/plain\r\n\r\n${content}\r\n`;
    const body = `${part("one", "1.txt", "first")}${part("tree[a][x]", "ax.txt", "second")}${part("tree[a][y]", "ay.txt", "third")}${part("list[]", "l.txt", "")}${part("none", "", "")}--b--\r\n`;
    const seen = described(
      await ask("POST / HTTP/1.1\nHost: x\nContent-Type: multipart/form-data; boundary=b", body),
    );
    const file = (name: string, moved: string) => ({
      name,
      type: "text/plain",
      size: moved.length,
      error: 0,
      moved,
    });
    expect(seen["files"]).toMatchObject({
      one: file("1.txt", "first"),
      tree: { a: { x: file("ax.txt", "second"), y: file("ay.txt", "third") } },
      list: [file("l.txt", "")],
      none: { error: 4, moved: null },
    });
    expect(readdirSync(state).filter((name) => name.startsWith("moved-"))).toEqual([]);
  });

  check("status and headers go out as they are, cookies one by one", async () => {
    // Not the reason: the front has words of its own (decision 0003).
    const response = await ask("GET /?answer=headers&status=299&reason=Fine%20by%20me HTTP/1.1\nHost: x");
    expect(response.status).toBe(299);
    expect(response.all("set-cookie")).toEqual(["a=1", "b=2"]);
    expect(response.all("x-many").join(", ")).toBe("one, two");
    expect(response.header("123")).toBe("a name of digits");
    expect(response.header("location")).toBe("/elsewhere");
    expect(response.text).toBe("headers");
  });

  check("a cookie that PHP has set stays beside those of the response", async () => {
    const response = await ask("GET /?answer=cookie HTTP/1.1\nHost: x");
    expect(response.all("set-cookie").map((line) => line.split(";")[0])).toEqual(["php=own", "psr=7"]);
  });

  check("HEAD, 204 and 304 have no body; HEAD tells how long that of GET is", async () => {
    const head = await ask("HEAD /?answer=headers HTTP/1.1\nHost: x");
    expect([head.status, head.header("content-length"), head.text]).toEqual([200, "7", ""]);
    for (const status of [204, 304]) {
      const response = await ask(`GET /?answer=headers&status=${status} HTTP/1.1\nHost: x`);
      expect([response.status, response.text]).toEqual([status, ""]);
    }
  });

  check("a body without a size is sent while it is made", async () => {
    using connection = await Connection.open(theServer().url);
    const gate = `live-${crypto.randomUUID()}`;
    await connection.send(`GET /?answer=live&gate=${gate} HTTP/1.1\r\nHost: x\r\n\r\n`);
    expect(await connection.until(/part 1\n/)).not.toContain("part 2");
    writeFileSync(join(state, `${gate}.gate`), "");
    const { text, whole } = await connection.response();
    expect([whole, text.split("\n").length]).toEqual([true, 103]);
  });

  check("a pipe as the body", async () => {
    expect((await ask("GET /?answer=pipe HTTP/1.1\nHost: x")).text).toBe("piped");
  });

  check("output before the response is an error that says where it came from", async () => {
    const mark = theServer().log.mark();
    expect((await ask("GET /?answer=late HTTP/1.1\nHost: x")).text).toStartWith("too early");
    await theServer().waitForLog(/Cannot send the response: .* received output from .*worker\.php:\d+/, mark);
  });

  check("terminate is called when the client has its answer", async () => {
    const gate = `after-${crypto.randomUUID()}`;
    const response = await ask(`GET /?after=${gate}&status=201 HTTP/1.1\nHost: x`);
    expect(response.status).toBe(201);
    // It waits for this, and has not kept the answer back.
    writeFileSync(join(state, `${gate}.gate`), "");
    const note = join(state, `after-${gate}`);
    const text = await eventually("terminate was called", () => {
      const found = existsSync(note) ? readFileSync(note, "utf8") : "";
      return found === "" ? undefined : found;
    });
    expect(text).toBe("201");
  });
}
