/** What a process has once, each request has for itself where workers are threads of one process. */
import { afterAll, expect } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type Server, start, test as anyTest, type StartOptions } from "../harness.ts";
import { ztsLibphp } from "../zts.ts";
import { ask, get, onePool, run, Scratch } from "./support.ts";

const docroot = join(import.meta.dir, "../fixtures/thread-globals");
const locales = new Scratch();
afterAll(() => locales[Symbol.dispose]());

const hasLocales = ztsLibphp !== null && (await compileLocales());
const test = anyTest.skipIf(ztsLibphp === null);
const testLocale = anyTest.skipIf(!hasLocales);
/** A container may refuse a thread its own umask and working directory. */
const testFolder = anyTest.skipIf(ztsLibphp === null || !(await mayUnshareFolder()));

/** From the system's sources of locales; a machine may have neither locales nor the tool. */
async function compileLocales(): Promise<boolean> {
  if (Bun.which("localedef") === null || !existsSync("/usr/share/i18n/locales/de_DE")) return false;
  const compiled = ["UTF-8", "ISO-8859-1"].map((charset) =>
    run(["localedef", "-i", "de_DE", "-f", charset, join(locales.path, `de_DE.${charset}`)]),
  );
  return (await Promise.all(compiled)).every(({ code }) => code === 0);
}

async function mayUnshareFolder(): Promise<boolean> {
  const program = `import { dlopen } from "bun:ffi";
    const { symbols } = dlopen("libc.so.6", { unshare: { args: ["i32"], returns: "i32" } });
    process.exit(symbols.unshare(0x200) === 0 ? 0 : 1);`;
  return (await run([process.execPath, "-e", program])).code === 0;
}

const isolated = (count: number, rest: StartOptions = {}): Promise<Server> =>
  start({
    isolation: "thread",
    docroot,
    config: onePool({ worker_count: count }),
    ...rest,
    env: { EXISTING: "of the process", LOCPATH: locales.path, ...rest.env },
  });

async function look(server: Server): Promise<Record<string, unknown>> {
  return JSON.parse((await get(server, "/look.php")).text);
}

/** What is seen while another request has changed all of it, by that one, and by both workers afterwards. */
async function change(
  server: Server,
  query = "",
): Promise<Record<"first" | "during" | "before" | "after", Seen>> {
  const { worker: _, ...first } = await look(server);
  const changing = await ask(server, `/change.php${query}`);
  await server.record("change", /here/);
  const { worker: other, ...during } = await look(server);
  server.openGate("change");
  const { worker, before, after } = JSON.parse((await changing.response()).text);
  changing.close();
  expect(other).not.toBe(worker);
  const left = new Set([other, worker]);
  while (left.size > 0) {
    // Many at once, so that both workers get some.
    for (const { worker: each, ...seen } of await Promise.all(
      Array.from({ length: 8 }, () => look(server)),
    )) {
      left.delete(each);
      expect(seen).toEqual(first);
    }
  }
  return { first, during, before, after };
}

type Seen = Record<string, unknown>;

test("putenv() is felt by its own request alone, until it ends", async () => {
  await using server = await isolated(2);
  const { first, during, before, after } = await change(server);
  expect(first).toMatchObject({
    variable: false,
    array: false,
    removed: "of the process",
    program: "of the process",
    folder: docroot,
    program_folder: docroot,
  });
  expect(before).toMatchObject({
    variable: "of one request",
    array: "of one request",
    removed: false,
    program: "of one request",
    folder: "/usr/lib",
    program_folder: "/usr/lib",
    time_zone: "Asia/Tokyo",
  });
  expect(after).toEqual(before);
  expect(during).toEqual(first);
});

testFolder("umask() and the working directory that libraries see are the request's", async () => {
  await using server = await isolated(2);
  const { first, during, before, after } = await change(server, "?umask");
  expect(first).toMatchObject({ kernel_folder: docroot });
  expect(before).toMatchObject({ umask: 0o777, mode: 0, kernel_folder: "/usr/lib" });
  expect(after).toEqual(before);
  expect(during).toEqual(first);
});

testLocale("setlocale() is felt by its own request alone, until it ends", async () => {
  await using server = await isolated(2);
  for (const charset of ["UTF-8", "ISO-8859-1"]) {
    const { first, during, before, after } = await change(server, `?locale=de_DE.${charset}`);
    expect(first).toMatchObject({ float: "1.5", day: "Monday", letter: false, word: 0 });
    const latin = charset === "ISO-8859-1";
    expect(before).toMatchObject({
      locale: `de_DE.${charset}`,
      float: "1,5",
      day: "Montag",
      letter: latin,
      word: latin ? 1 : 0,
    });
    expect(after).toEqual(before);
    expect(during).toEqual(first);
    await Bun.file(join(server.folder, "records/change.gate")).delete();
    await Bun.file(join(server.folder, "records/change")).delete();
  }
});

testLocale(
  "however a request ends, shutdown functions still have its changes and the next one has none",
  async () => {
    await using server = await isolated(1);
    const { worker, ...first } = await look(server);
    const record = (name: string) => readFileSync(join(server.folder, "records", name), "utf8");
    for (const end of ["return", "exit", "error", "memory"]) {
      const { status } = await get(server, `/end.php?end=${end}&locale=de_DE.UTF-8`);
      expect([end, status]).toEqual([end, end === "return" || end === "exit" ? 200 : 500]);
      expect(record("shutdown")).toBe("of one request 1,5");
      expect(await look(server)).toEqual({ worker, ...first });
    }
    expect(record("destructor")).toBe("of one request 1,5");
  },
);

test("programs that a script starts, and libraries, have its environment and its folder", async () => {
  await using server = await isolated(1, {
    config: onePool({ worker_count: 1, ini: { sendmail_path: 'env > "$RECORDS/mail"; exit 0' } }),
  });
  const shown = 'a "b" $c||none|/usr/lib';
  const { text } = await get(server, "/programs.php");
  const { mail, curl, ...seen } = JSON.parse(text);
  expect(seen).toEqual({
    exec: [shown, [shown], 3],
    printed: [`${shown}\n${shown}\n`, 0, 4],
    shell_exec: `${shown}\n`,
    backticks: 'a "b" $c\n',
    popen: [`${shown}\n`, 0, 7, `written\n${shown}\n`, 9],
    proc_open: [
      [shown, 0],
      [shown, 5],
      ['a "b" $c||none|/usr', 0],
      ["given|none|none|/usr/lib", 0],
    ],
    odd: true,
  });
  expect(mail).toEqual([true, expect.stringContaining('SECRET=a "b" $c\n')]);
  if (curl !== "none") expect(curl).toContain("127.0.0.1");
});

testLocale("gettext() translates in the domain that its own request has chosen", async () => {
  await using server = await isolated(2);
  for (const domain of ["first", "second"]) {
    const folder = join(server.folder, "records/messages/de/LC_MESSAGES");
    await Bun.write(join(folder, `${domain}.mo`), catalogue({ "": "", hello: `hallo ${domain}` }));
  }
  const seen = (domain: string) => {
    const translated = `hallo ${domain}`;
    return ["messages", domain, translated, translated, translated, "hello", domain];
  };
  const first = await ask(server, "/messages.php?domain=first&wait");
  await server.record("translate", /here/);
  expect(JSON.parse((await get(server, "/messages.php?domain=second")).text)).toEqual(seen("second"));
  server.openGate("translate");
  expect(JSON.parse((await first.response()).text)).toEqual(seen("first"));
  first.close();
});

/** A catalogue of messages in the format of .mo files; the names are in order. */
function catalogue(messages: Readonly<Record<string, string>>): Uint8Array {
  const texts = [...Object.keys(messages), ...Object.values(messages)].map((text) =>
    Buffer.from(`${text}\0`),
  );
  const count = texts.length / 2;
  const head = [0x950412de, 0, count, 28, 28 + 8 * count, 0, 0];
  let offset = 28 + 16 * count;
  for (const text of texts) {
    head.push(text.length - 1, offset);
    offset += text.length;
  }
  return Buffer.concat([new Uint8Array(Uint32Array.from(head).buffer), ...texts]);
}

test("syslog() tells the name that its own request has given", async () => {
  await using server = await isolated(2);
  const first = await ask(server, "/syslog.php?name=first&wait");
  await server.record("syslog", /here/);
  expect((await get(server, "/syslog.php?name=second")).text).toBe("logged");
  await server.waitForLog(/ second: message 100% of second/);
  server.openGate("syslog");
  expect((await first.response()).text).toBe("logged");
  first.close();
  await server.waitForLog(/ first: message 100% of first/);
});

testLocale("the replaced functions answer as PHP's own do", async () => {
  const config = onePool(
    { worker_count: 1, ini: { variables_order: "EGPCS" } },
    { php: { libphp: ztsLibphp } },
  );
  const answers: string[] = [];
  for (const isolation of ["process", "thread"] as const) {
    await using server = await isolated(1, { isolation, config });
    answers.push((await get(server, "/like-php.php")).text);
    expect((await get(server, "/like-php.php")).text).toBe(answers.at(-1) ?? "");
  }
  expect(answers[0]).toContain("setlocale(LC_ALL, 0) => ");
  expect(answers[1]?.split("\n")).toEqual(answers[0]?.split("\n") ?? []);
});
