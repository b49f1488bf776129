import { expect, test } from "bun:test";
import { Folder, yamlFolder } from "./config-helper.ts";
import { selfCommand } from "../../src/self.ts";

interface Run {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

async function phprun(
  args: readonly string[],
  options: { cwd?: string; env?: Record<string, string> } = {},
): Promise<Run> {
  const env = { PATH: process.env["PATH"] ?? "", ...options.env };
  const child = Bun.spawn(selfCommand(...args), {
    cwd: options.cwd ?? "/",
    env,
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, err, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  return { code, out, err };
}

test("version tells the version, by its command and by the usual flags", async () => {
  const runs = await Promise.all([phprun(["version"]), phprun(["--version"]), phprun(["version", "--json"])]);
  expect(runs.map(({ code }) => code)).toEqual([0, 0, 0]);
  expect(runs[0]?.out).toMatch(/^phprun \d+\.\d+\.\d+ /);
  expect(runs[1]?.out).toBe(runs[0]?.out ?? "");
  expect(JSON.parse(runs[2]?.out ?? "")).toHaveProperty("phprun");
});

test.each([
  [["--help"], "serve|status|reload|stop|config"],
  [["help", "serve"], "--port"],
  [["serve", "--help"], "--worker-script"],
  [["config", "--help"], "check|print|schema"],
  [["config", "check", "-h"], "--config"],
  [["status", "--help"], "--watch"],
  [["reload", "--help"], "--timeout"],
  [["stop", "--help"], "--pid"],
  [["doctor", "--help"], "--config"],
  [["init", "--help"], "--dry-run"],
])("%j is answered with help and exit code 0", async (args, text) => {
  const { code, out, err } = await phprun(args);
  expect({ code, err }).toEqual({ code: 0, err: "" });
  expect(out).toContain(text);
  expect(out).not.toContain("\x1b");
});

test("the hidden command is not in the help, yet runs", async () => {
  const [help, reference] = await Promise.all([
    phprun(["config", "--help"]),
    phprun(["config", "reference"]),
  ]);
  expect(help.out).not.toContain("reference");
  expect(reference.out).toContain("| `port` |");
});

test.each([
  [[], "COMMANDS"],
  [["config"], "COMMANDS"],
  [["serv"], 'did you mean "phprun serve"?'],
  [["config", "chekc"], 'did you mean "phprun config check"?'],
  [["banana"], "known are serve, status, reload, stop"],
  [["serve", "--prot", "80"], "did you mean --port?"],
  [["serve", "--port"], "--port needs a value"],
  [["serve", "--port", "--host", "x"], "--port needs a value"],
  [["serve", "--watch=1"], "--watch takes no value"],
  [["serve", "public"], 'unexpected word "public"'],
  [
    ["serve", "--worker-script", "/no/such.php"],
    "--worker-script: Cannot use 'pools[0].worker_script': the file /no/such.php does not exist",
  ],
  [["serve", "--port", "80abc"], "--port: Cannot use 'server.port': must be a whole number"],
  [["serve", "--port", "-1"], "--port: Cannot use 'server.port': must be a whole number"],
  [["serve", "--workers", "0"], "--workers: Cannot use 'pools[0].worker_count'"],
  [["serve", "--isolation", "vm"], "one of auto, process, thread"],
  [["serve", "--root", "/no/such/folder"], "the folder /no/such/folder does not exist"],
  [["config", "check", "--config", "/nonexistent"], "must be a file"],
  [["completion"], "SHELL is missing"],
  [["completion", "tcsh"], "one of bash, zsh, fish"],
  [["completion", "fissh"], 'received "fissh"; did you mean "fish"?'],
  [
    ["init", "larvel"],
    'must be one of laravel, symfony, wordpress, plain, received "larvel"; did you mean "laravel"?',
  ],
  [["init", "drupal"], 'received "drupal"\n'],
  [["init", "plain", "more"], 'unexpected word "more"'],
  [["init", "--dir", "/no/such/folder"], 'Cannot use --dir: must be a folder, received "/no/such/folder"'],
  [["init", "--dir", "/etc/passwd"], 'must be a folder, received "/etc/passwd"'],
  [["init", "--dir="], 'must be a folder, received ""'],
  [["init", "--dir", import.meta.dir], "there must be a PHP application in it"],
  [["stop"], "names no server.pid_file"],
  [["stop", "--pid", "x"], "must be a whole number"],
])("%j is wrong use: exit code 2 and one plain message", async (args, message) => {
  const { code, out, err } = await phprun(args);
  expect({ code, out }).toEqual({ code: 2, out: "" });
  expect(err).toContain(message);
  expect(err).not.toMatch(/\x1b|^\s+at /m);
});

test("config check lists every error with its place and ends with 2", async () => {
  using folder = yamlFolder("server:\n  prot: 1\nlogging: { level: loud }\n");
  const { code, err } = await phprun(["config", "check"], { cwd: folder.path });
  expect(code).toBe(2);
  expect(err).toContain("phprun: Cannot use this configuration, 2 errors:\n  phprun.yaml:2:3:");
  expect(err).toContain("phprun.yaml:3:12:");
});

test("config print shows what the environment set", async () => {
  using folder = new Folder();
  const env = { PHPRUN_SERVER__PORT: "1234", PHPRUN_LOGGING__LEVEL: "warn" };
  const { code, out } = await phprun(["config", "print", "--json"], { cwd: folder.path, env });
  expect(code).toBe(0);
  expect(JSON.parse(out)).toMatchObject({ server: { listen: ["0.0.0.0:1234"] }, logging: { level: "warn" } });
});

test("config schema can be cut short by its reader without complaint", async () => {
  const child = Bun.spawn(["sh", "-c", '"$@" | head -c 1', "sh", ...selfCommand("config", "schema")], {
    stderr: "pipe",
  });
  expect([await child.stdout.text(), await child.stderr.text()]).toEqual(["{", ""]);
});

test("a stack is shown to those who ask for it, and to nobody else", async () => {
  const args = ["config", "check", "--config", "/nonexistent"];
  const [plain, debug] = await Promise.all([phprun(args), phprun(args, { env: { PHPRUN_DEBUG: "1" } })]);
  expect(plain.err).not.toContain("find-file.ts");
  expect(debug.err).toContain("find-file.ts");
  expect(debug.code).toBe(2);
});

test.each(["bash", "zsh", "fish"])(
  "completion for %s knows commands and flags, and only visible ones",
  async (shell) => {
    const { code, out } = await phprun(["completion", shell]);
    expect(code).toBe(0);
    expect(out).toContain("doctor");
    expect(out).toContain(shell === "fish" ? "-l worker-script" : "--worker-script");
    expect(out).not.toContain("reference");
  },
);

test("bash completes commands, subcommands and flags", async () => {
  const script = (await phprun(["completion", "bash"])).out;
  const complete = async (...words: string[]) => {
    const line = words.map((word) => `'${word}'`).join(" ");
    const code = `${script}\nCOMP_WORDS=(phprun ${line}); COMP_CWORD=${words.length}; _phprun; echo "\${COMPREPLY[*]}"`;
    const child = Bun.spawn(["bash", "-c", code], { stderr: "inherit" });
    return (await child.stdout.text()).trim().split(" ");
  };
  expect(await complete("do")).toEqual(["doctor"]);
  expect(await complete("config", "")).toEqual(["check", "print", "schema", "--help"]);
  expect(await complete("serve", "--po")).toEqual(["--port"]);
  expect(await complete("completion", "z")).toEqual(["zsh"]);
  expect(await complete("status", "--wa")).toEqual(["--watch"]);
  expect(await complete("init", "")).toEqual([
    "laravel",
    "symfony",
    "wordpress",
    "plain",
    "--dir",
    "--force",
    "--dry-run",
    "--help",
  ]);
  expect(await complete("init", "--dir", "/etc/init")).toContain("/etc/init.d");
  expect(await complete("reload", "--socket", "/etc/passw")).toContain("/etc/passwd");
});
