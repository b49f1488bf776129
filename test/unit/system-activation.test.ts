import { expect, test } from "bun:test";
import { createConnection, type Socket } from "node:net";
import { join } from "node:path";

import { adoptListener, placeholder } from "../../src/system/adopt-listener.ts";
import { activatedSockets } from "../../src/system/activation.ts";
import { ListeningSocket } from "../ffi/helpers/libc-sockets.ts";
import { within } from "../harness.ts";
import { Scratch } from "../process/support.ts";

/** A server as a service manager would start it, with these sockets from descriptor 3 on. */
class Activated implements AsyncDisposable {
  readonly #child: Bun.Subprocess<"ignore", "pipe", "inherit">;

  constructor(sockets: readonly ListeningSocket[], names: string) {
    const helper = join(import.meta.dir, "../ffi/helpers/adopted-server.ts");
    // Its own pid is part of what it is told.
    const line = ["sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh", process.execPath, helper];
    this.#child = Bun.spawn(line, {
      stdio: ["ignore", "pipe", "inherit", ...sockets.map(({ fd }) => fd)],
      env: { ...process.env, LISTEN_FDS: String(sockets.length), LISTEN_FDNAMES: names },
    }) as Bun.Subprocess<"ignore", "pipe", "inherit">;
  }

  /** The line it prints when it serves. */
  async said(): Promise<{ sockets: unknown[]; left: string[] }> {
    let text = "";
    const decoder = new TextDecoder();
    const lines = (async () => {
      for await (const bytes of this.#child.stdout) {
        text += decoder.decode(bytes, { stream: true });
        if (text.includes("\n")) break;
      }
    })();
    await within(lines, "the server serves");
    return JSON.parse(text) as { sockets: unknown[]; left: string[] };
  }

  get exited(): Promise<number> {
    return within(this.#child.exited, "the server has ended");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.exited;
  }
}

/** A client that keeps its connection. */
class Client implements Disposable {
  readonly #socket: Socket;
  #text = "";
  #arrived = Promise.withResolvers<void>();

  constructor(where: { path: string } | { host: string; port: number }) {
    this.#socket = createConnection(where as { path: string });
    this.#socket.setEncoding("utf8");
    this.#socket.on("data", (part: string) => {
      this.#text += part;
      this.#arrived.resolve();
      this.#arrived = Promise.withResolvers();
    });
    this.#socket.on("error", () => undefined);
  }

  get localPort(): number {
    return this.#socket.localPort ?? 0;
  }

  async ask(path: string, body = ""): Promise<string> {
    this.#text = "";
    const method = body === "" ? "GET" : "POST";
    this.send(
      `${method} ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    );
    return await this.answer();
  }

  send(text: string): void {
    this.#socket.write(text);
  }

  async answer(): Promise<string> {
    for (;;) {
      const [head = "", body = ""] = this.#text.split("\r\n\r\n", 2);
      const length = /content-length: (\d+)/i.exec(head)?.[1];
      if (length !== undefined && body.length >= Number(length)) return body;
      await within(this.#arrived.promise, "an answer has come");
    }
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }
}

const family = (port: number, address = "127.0.0.1") => ({
  address,
  family: address.includes(":") ? "IPv6" : "IPv4",
  port,
});

test("sockets of the service manager are served: TCP 4 and 6, unix and abstract", async () => {
  using scratch = new Scratch();
  const path = join(scratch.path, "web.sock");
  const name = `@phprun-test-${process.pid}-${Math.random()}`;
  using v4 = new ListeningSocket("127.0.0.1");
  using v6 = new ListeningSocket("::");
  using unix = new ListeningSocket(path);
  using abstract = new ListeningSocket(name);
  await using server = new Activated([v4, v6, unix, abstract], "web:web:front.socket");
  expect(await server.said()).toEqual({
    sockets: [
      { fd: 3, name: "web", address: { kind: "tcp", host: "127.0.0.1", port: v4.port } },
      { fd: 4, name: "web", address: { kind: "tcp", host: "::", port: v6.port } },
      { fd: 5, name: "front.socket", address: { kind: "unix", path } },
      { fd: 6, name: "", address: { kind: "unix", path: name } },
    ],
    left: [],
  });

  const wheres = [
    { where: { host: "127.0.0.1", port: v4.port }, client: (port: number) => family(port) },
    {
      where: { host: "127.0.0.1", port: v6.port },
      client: (port: number) => family(port, "::ffff:127.0.0.1"),
    },
    { where: { path }, client: () => null },
    { where: { path: `\0${name.slice(1)}` }, client: () => null },
  ];
  for (const { where, client: expected } of wheres) {
    using client = new Client(where);
    // One after the other on one connection, with bodies, and one that comes in pieces.
    for (const [asked, body] of [
      ["/one", ""],
      ["/two", "x".repeat(5000)],
      ["/three", ""],
    ] as const) {
      const answer: unknown = JSON.parse(await client.ask(asked, body));
      expect(answer).toEqual({ client: expected(client.localPort), path: asked, body });
    }
    using other = new Client(where);
    other.send("GET /slow HT");
    await client.ask("/meanwhile");
    other.send("TP/1.1\r\nHost: localhost\r\n\r\n");
    expect(await other.answer()).toContain('"path":"/slow"');
  }
});

test("many clients at once, and a stop that leaves the socket to the service manager", async () => {
  using socket = new ListeningSocket("127.0.0.1");
  const where = { host: "127.0.0.1", port: socket.port };
  {
    await using server = new Activated([socket], "web");
    await server.said();
    const clients = Array.from({ length: 60 }, () => new Client(where));
    const answers = await Promise.all(clients.map((client, i) => client.ask(`/${i}`)));
    expect(answers.map((text) => (JSON.parse(text) as { path: string }).path)).toEqual(
      clients.map((_, i) => `/${i}`),
    );
    const [first] = clients;
    expect(await first?.ask("/stop")).toBe("stopping");
    for (const client of clients) client[Symbol.dispose]();
    expect(await server.exited).toBe(0);
  }
  // Nobody serves now: the client waits in the socket's queue for the next server.
  using waiting = new Client(where);
  waiting.send("GET /patient HTTP/1.1\r\nHost: localhost\r\n\r\n");
  await using next = new Activated([socket], "web");
  await next.said();
  expect(await waiting.answer()).toContain('"path":"/patient"');
});

test("a program started by the server inherits no socket", async () => {
  using socket = new ListeningSocket("127.0.0.1");
  await using server = new Activated([socket], "web");
  await server.said();
  using client = new Client({ host: "127.0.0.1", port: socket.port });
  const listing = await client.ask("/child");
  expect(listing.match(/ ([3-9]|\d\d+) -> socket:.*/g)).toBeNull();
});

test("what is meant for another process is left alone, and not passed on", () => {
  const env = { LISTEN_FDS: "1", LISTEN_PID: "1", LISTEN_FDNAMES: "web", PATH: "/bin" };
  expect(activatedSockets(env, 77)).toEqual([]);
  expect(env as Record<string, string>).toEqual({ PATH: "/bin" });
  expect(activatedSockets({}, 77)).toEqual([]);
});

test("a descriptor that is no listening socket is refused by name", () => {
  // There is no such descriptor in this process.
  const env = { LISTEN_FDS: "9000", LISTEN_PID: "77", LISTEN_FDNAMES: "" };
  expect(() => activatedSockets(env, 77)).toThrow(
    /^Cannot use socket "" \(descriptor \d+\) of the service manager: it must be a listening stream socket/,
  );
});

/*
 * All that `adoptListener` takes for granted about Bun. When this fails with a new Bun, look there first; with
 * `fd` in Bun.serve's own options (https://github.com/oven-sh/bun/issues/22559) it is not needed any more.
 */
test("Bun has one listening descriptor per server, watched by one epoll, from the moment it listens", async () => {
  for (const kind of ["tcp", "unix"] as const) {
    const place = placeholder(kind === "tcp" ? { kind, host: "::", port: 1 } : { kind, path: "/x" });
    const options = { ...place, fetch: () => new Response("well") } as Bun.Serve.Options<undefined>;
    await using server = Bun.serve(options);
    const given = { fd: 0x7fff, name: "web", address: { kind: "unix", path: "/x" } } as const;
    // There is no such descriptor, but the one it was to replace has been found; and it serves as before.
    expect(() => adoptListener(server, place, given)).toThrow(
      /^Cannot put descriptor 32767 in the place of \d+: EBADF$/,
    );
    const asked = "unix" in place ? { unix: place.unix } : {};
    const url = "unix" in place ? "http://localhost/" : `http://127.0.0.1:${server.port}/`;
    expect(await (await fetch(url, asked)).text()).toBe("well");
  }
});

test("a server that does not listen on a placeholder is refused, and goes on", async () => {
  using socket = new ListeningSocket("127.0.0.1");
  await using server = Bun.serve({ port: 0, hostname: "127.0.0.2", fetch: () => new Response("well") });
  const address = { kind: "tcp", host: "127.0.0.1", port: socket.port } as const;
  expect(() => adoptListener(server, placeholder(address), { fd: socket.fd, name: "web", address })).toThrow(
    /^Cannot listen on socket "web" of the service manager: Bun [\d.]+ must watch one listening socket of this server, found 0 sockets, watched 0 times\./,
  );
  expect(await (await fetch(server.url)).text()).toBe("well");
});
