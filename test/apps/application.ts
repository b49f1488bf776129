/**
 * What the four applications in test/fixtures/apps have to do, in every way of running them. They are one
 * application, see the README there; what differs is the framework, and with it who has to clean up.
 */
import { afterAll, beforeAll, describe, expect } from "bun:test";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { join } from "node:path";

import { test } from "../harness.ts";
import { ztsLibphp } from "../zts.ts";
import { type Answer, answer, type Application, type Mode, Running } from "./running.ts";

const MODES: readonly Mode[] = [
  { name: "classic mode", worker: false, isolation: "process", visitors: 10, rounds: 3 },
  { name: "worker mode, processes", worker: true, isolation: "process", visitors: 100, rounds: 12 },
  {
    name: "worker mode, threads",
    worker: true,
    isolation: "thread",
    missing: ztsLibphp === null ? "no ZTS libphp" : undefined,
    visitors: 100,
    rounds: 12,
  },
];

/** As the README of the fixtures has it. */
const PART_COUNT = 102;
const DOWNLOAD = download();

function download(): Buffer {
  const blocks = Array.from({ length: (300 * 1024) / 32 }, (_, i) =>
    createHash("sha256").update(`block ${i}`).digest(),
  );
  return Buffer.concat(blocks);
}

const sha1 = (bytes: Uint8Array | string): string => createHash("sha1").update(bytes).digest("hex");

export function describeApplication(application: Application): void {
  for (const mode of application.folder === undefined ? MODES : MODES.filter(({ worker }) => worker)) {
    const missing = whatIsMissing(application) ?? mode.missing;
    const name = `${application.name}, ${mode.name}${application.folder === undefined ? "" : ", by phprun init"}`;
    describe(missing === undefined ? name : `${name} (skipped: ${missing})`, () => {
      // A server must not be started for tests that are not there.
      const running = new Running(application, mode);
      beforeAll(async () => {
        if (missing === undefined) await running.start();
      }, 30_000);
      afterAll(async () => await running.stop(), 15_000);
      tests(running, mode, missing !== undefined);
      if (application.leavesNothing === true && mode.worker) {
        test.skipIf(missing !== undefined)("a warm worker is after a request as it was before", () =>
          detectorIsSilent(application, mode),
        );
      }
    });
  }
}

function whatIsMissing({ needs }: Application): string | undefined {
  const missing = Object.entries(needs).filter(([file]) => !existsSync(join("/usr/share/php", file)));
  return missing.length === 0 ? undefined : `no ${missing.map(([, name]) => name).join(", ")}`;
}

function tests(running: Running, mode: Mode, skip: boolean): void {
  const check = (name: string, body: () => Promise<void>) => test.skipIf(skip)(name, body);

  check("a route with a parameter, and the framework's own 404", async () => {
    const hello = await running.visitor().get("/hello/world");
    expect(hello.headers.get("content-type")?.toLowerCase()).toBe("text/plain; charset=utf-8");
    expect(await hello.text()).toBe("Hello, world!");
    expect((await running.visitor().get("/hello/42")).status).toBe(404);
    expect((await running.visitor().get("/nowhere")).status).toBe(404);
  });

  check("a session counts its own visits, and the application knows how it is run", async () => {
    const [one, two] = [running.visitor(), running.visitor()];
    const first = await answer(await one.get("/json"));
    expect(first.data).toEqual({ app: running.name, mode: mode.worker ? "worker" : "classic", visits: 1 });
    expect(await one.visits()).toBe(2);
    expect(await two.visits()).toBe(1);
    expect(await one.visits()).toBe(3);
  });

  check("logging in, being somebody, logging out", async () => {
    const person = running.visitor();
    expect((await person.me()).status).toBe(401);
    expect((await person.logIn("anna", "wrong")).status).toBe(401);
    expect((await person.me()).status).toBe(401);
    const before = person.cookie;
    expect(await person.logIn("anna")).toEqual({ status: 200, data: { user: "anna" } });
    expect(person.cookie).not.toBe(before);
    expect(await person.me()).toEqual({ status: 200, data: { user: "anna" } });
    expect((await running.visitor().me()).status).toBe(401);
    expect((await person.post("/logout", new URLSearchParams())).status).toBe(204);
    expect((await person.me()).status).toBe(401);
  });

  check("notes are validated, kept, and their owner's alone", async () => {
    const [anna, bert] = [running.visitor(), running.visitor()];
    expect((await anna.addNote("before the login")).status).toBe(401);
    await anna.logIn("annanotes");
    await bert.logIn("bertnotes");
    expect(await anna.addNote("")).toEqual({
      status: 422,
      data: expect.objectContaining({ errors: { text: ["The text is missing."] } }),
    });
    expect(await anna.addNote("x".repeat(101))).toEqual({
      status: 422,
      data: expect.objectContaining({ errors: { text: ["The text has more than 100 characters."] } }),
    });
    expect(await anna.addNote("Grüße, <b>Anna</b>")).toMatchObject({ status: 201 });
    expect(await bert.addNote("Bert was here")).toMatchObject({ status: 201 });
    expect(await anna.notes()).toEqual(["Grüße, <b>Anna</b>"]);
    expect(await bert.notes()).toEqual(["Bert was here"]);
  });

  check("uploaded files arrive with name, type and content", async () => {
    const content = "content ".repeat(50_000);
    const { status, data } = await running.visitor().upload(content);
    expect(status).toBe(200);
    const file = (name: string, type: string, text: string) => ({
      name,
      type: expect.stringContaining(type) as string,
      size: text.length,
      sha1: sha1(text),
    });
    expect(data).toEqual({
      file: file("notes.txt", "text/plain", content),
      more: [
        file("a.bin", "application/octet-stream", content + content),
        file("empty.bin", "application/octet-stream", ""),
      ],
    });
  });

  check("a streamed answer is there part by part", async () => {
    const gate = `stream-${crypto.randomUUID()}`;
    const response = await running.visitor().get(`/stream?gate=${gate}`);
    let text = "";
    for await (const bytes of response.body ?? []) {
      text += new TextDecoder().decode(bytes);
      // It waits for this: what comes after the first part cannot be there yet.
      if (text === "part 1\n") running.openGate(gate);
    }
    expect(text).toBe(Array.from({ length: PART_COUNT }, (_, i) => `part ${i + 1}\n`).join(""));
  });

  check("a download is an attachment, byte for byte", async () => {
    const response = await running.visitor().get("/download");
    expect(response.headers.get("content-disposition")).toMatch(/^attachment; filename="?download.bin"?$/);
    expect(response.headers.get("content-type")).toBe("application/octet-stream");
    expect(sha1(new Uint8Array(await response.arrayBuffer()))).toBe(sha1(DOWNLOAD));
    const { status, body } = await running.visitor().get("/hello/again");
    expect([status, body !== null]).toEqual([200, true]);
  });

  check("several cookies, and a status of its own", async () => {
    const response = await running.visitor().get("/cookies");
    expect(response.status).toBe(202);
    const names = response.headers.getSetCookie().map((line) => line.split("=")[0]);
    expect(names).toEqual(expect.arrayContaining(["one", "two"]));
    await response.text();
  });

  check("HEAD has the head of GET, and no body", async () => {
    const response = await fetch(new URL("/hello/world", running.url), { method: "HEAD" });
    // Not every router takes HEAD for a GET.
    expect([200, 404, 405]).toContain(response.status);
    expect(await response.text()).toBe("");
  });

  check("exit ends the request, with its output and its session, and nothing else", async () => {
    const person = running.visitor();
    await person.logIn("leaver");
    for (let i = 0; i < mode.rounds; i++) {
      const gone = await person.get("/exit");
      expect([gone.status, await gone.text()]).toEqual([200, "gone"]);
      expect(leftovers(await answer(await running.visitor().get("/state")))).toEqual([]);
    }
    expect(await person.visits()).toBe(mode.rounds + 1);
    expect(await person.me()).toEqual({ status: 200, data: { user: "leaver" } });
    expect((await running.visitor().me()).status).toBe(401);
  });

  check("a transaction that exit left open is nobody's, and locks nothing", async () => {
    const person = running.visitor();
    await person.logIn("trader");
    for (let i = 0; i < 4; i++) {
      expect(await (await person.get("/exit?during=transaction")).text()).toBe("gone");
      expect((await person.addNote(`note ${i}`)).status).toBe(201);
    }
    expect(await person.notes()).toEqual(["note 0", "note 1", "note 2", "note 3"]);
  });

  check("an exception that nobody catches is a 500, the next request knows nothing of it", async () => {
    const person = running.visitor();
    await person.logIn("thrower");
    for (let i = 0; i < mode.rounds; i++) {
      const response = await person.get("/throw");
      expect(response.status).toBe(500);
      expect(await response.text()).not.toContain("Nobody catches");
    }
    await running.server.waitForLog(/Nobody catches this one/);
    expect(await person.me()).toEqual({ status: 200, data: { user: "thrower" } });
  });

  check("a fatal error is a 500 and costs nobody else anything", async () => {
    const person = running.visitor();
    await person.logIn("fatalist");
    for (let i = 0; i < 3; i++) {
      const response = await person.get("/fatal");
      expect(response.status).toBe(500);
      await response.text();
      expect(await person.me()).toEqual({ status: 200, data: { user: "fatalist" } });
    }
    await running.server.waitForLog(/Cannot redeclare/);
  });

  check("a client that leaves in the middle ends its request", async () => {
    const id = crypto.randomUUID();
    await running.abort(id);
    expect(await running.aborted(id)).toBe("aborted");
    expect(await (await running.visitor().get("/hello/next")).text()).toBe("Hello, next!");
  });

  check("a slow request keeps its own user while others come and go", async () => {
    const gate = `slow-${crypto.randomUUID()}`;
    const [anna, bert] = [running.visitor(), running.visitor()];
    await anna.logIn("slowanna");
    await bert.logIn("slowbert");
    const slow = Promise.all(
      [anna, bert].map(async (who) => await answer(await who.get(`/slow?gate=${gate}`))),
    );
    for (let i = 0; i < mode.rounds; i++) {
      const other = running.visitor();
      await other.logIn(`passer${i}`);
      await (await other.get(i % 2 === 0 ? "/exit" : "/throw")).text();
      expect((await other.me()).data).toEqual({ user: `passer${i}` });
    }
    running.openGate(gate);
    expect((await slow).map(({ data }) => data)).toEqual([
      { user: "slowanna", session: "slowanna" },
      { user: "slowbert", session: "slowbert" },
    ]);
  });

  check("what a request leaves behind, the next one does not see", async () => {
    for (let i = 0; i < mode.rounds; i++) {
      const mutated = await running.visitor().get("/mutate");
      expect((await mutated.text()).toLowerCase()).toBe("mutated");
      expect(leftovers(await answer(await running.visitor().get("/state")))).toEqual([]);
    }
  });

  check(
    mode.worker ? "the application boots once for many requests" : "each request boots anew",
    async () => {
      const served: unknown[] = [];
      for (let i = 0; i < 12; i++) {
        served.push((await answer(await running.visitor().get("/state"))).data["served"]);
      }
      // Else workers are not forked from the template: a connection of the boot is still open.
      expect(running.server.log.text).not.toContain("open when it has booted");
      // Of 12 requests one of the 4 workers has had three at least.
      if (mode.worker) expect(Math.max(...served.map(Number))).toBeGreaterThan(2);
      else expect(new Set(served)).toEqual(new Set([1]));
    },
  );

  check(`${mode.visitors} at once, each sees what is its own`, async () => {
    const wrong: string[] = [];
    await Promise.all(Array.from({ length: mode.visitors }, (_, i) => visit(running, i, wrong)));
    expect(wrong).toEqual([]);
  });
}

async function detectorIsSilent(application: Application, mode: Mode): Promise<void> {
  const running = new Running(application, mode);
  try {
    await running.start(1, "--paranoid");
    const everything = async () => {
      for (const path of [
        "/json",
        "/hello/world",
        "/exit",
        "/mutate",
        "/throw",
        "/me",
        "/download",
        "/json",
      ]) {
        await (await running.visitor().get(path)).arrayBuffer();
      }
      await running.visitor().logIn("somebody");
      await running.visitor().upload("content");
    };
    // Routes, validators and what else is made when it is first needed; and what a second visit still finds to do.
    for (let warmUp = 0; warmUp < 2; warmUp++) await everything();
    const { log } = running.server;
    await log.wait(/state: /, 0);
    const warm = log.mark();
    await everything();
    // The detector looks when the worker asks for its next request; it may have looked at this one, too, which is not warm.
    await (await running.visitor().get("/state")).text();
    const told = log.text.slice(warm).match(/^.* state: .*$/gm) ?? [];
    expect(told.filter((line) => !line.includes(" GET /state "))).toEqual([]);
  } finally {
    await running.stop();
  }
}

/** What /state has seen of other requests. */
function leftovers({ status, data }: Answer): string[] {
  expect(status).toBe(200);
  return Object.keys(data).filter((name) => data[name] === true);
}

/** Logs in, does this and that, and looks after each step whether it still is who it was. */
async function visit(running: Running, number: number, wrong: string[]): Promise<void> {
  const user = `visitor${number}`;
  const person = running.visitor();
  const notes: string[] = [];
  const expectSame = (what: string, got: unknown, wanted: unknown) => {
    if (!Bun.deepEquals(got, wanted)) {
      wrong.push(`${user}, ${what}: ${JSON.stringify(got)}, not ${JSON.stringify(wanted)}`);
    }
  };
  const expectMe = async (when: string) => expectSame(`me ${when}`, (await person.me()).data, { user });

  expectSame("login", (await person.logIn(user)).data, { user });
  await expectMe("after the login");
  const text = `a note of ${user}`;
  expectSame("note", (await person.addNote(text)).status, 201);
  notes.push(text);

  switch (number % 5) {
    case 0:
      expectSame("exit", await (await person.get("/exit")).text(), "gone");
      break;
    case 1: {
      const response = await person.get("/throw");
      await response.text();
      expectSame("throw", response.status, 500);
      break;
    }
    case 2: {
      const content = `of ${user} `.repeat(5000);
      const { data } = await person.upload(content);
      expectSame("upload", (data["file"] as { sha1: string } | null)?.sha1, sha1(content));
      break;
    }
    case 3:
      // With nobody's session: that of the visitor is not held up by it.
      if (number % 4 === 3) await running.abort(`${user}-${crypto.randomUUID()}`);
      else expectSame("exit", await (await person.get("/exit?during=transaction")).text(), "gone");
      break;
    default: {
      // Somebody else, on the same connections and workers.
      const other = running.visitor();
      expectSame("other", (await other.logIn(`${user}b`)).data, { user: `${user}b` });
      expectSame("other's notes", await other.notes(), []);
    }
  }
  await expectMe("after that");
  expectSame("notes", await person.notes(), notes);
  expectSame("invalid", (await person.addNote("")).status, 422);
  await expectMe("at the end");
}
