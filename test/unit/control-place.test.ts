import { expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  rmdirSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import {
  folderFlaw,
  isTrusted,
  makePrivateFolder,
  socketFolders,
  socketIdentity,
} from "../../src/control/place.ts";
import { SocketFolder } from "./control-helper.ts";

test("a server has its socket in the service's folder, the user's, or in /tmp; commands look into all", () => {
  expect(socketFolders(0, { XDG_RUNTIME_DIR: "/run/user/0" })).toEqual(["/run/phprun"]);
  expect(socketFolders(1000, { XDG_RUNTIME_DIR: "/run/user/1000" })).toEqual([
    "/run/user/1000/phprun",
    "/tmp/phprun-1000",
    "/run/phprun",
  ]);
  expect(socketFolders(1000, {})).toEqual(["/tmp/phprun-1000", "/run/user/1000/phprun", "/run/phprun"]);
  expect(socketFolders(1000, { XDG_RUNTIME_DIR: "relative" })[0]).toBe("/tmp/phprun-1000");
  expect(socketFolders(33, { RUNTIME_DIRECTORY: "/run/phprun:/run/other" })[0]).toBe("/run/phprun");
  expect(socketFolders(0, { RUNTIME_DIRECTORY: "/run/site" })).toEqual(["/run/site", "/run/phprun"]);
});

test("a server is known by its configuration file, else by the folder it serves", () => {
  const identity = socketIdentity("/srv/a.yaml", "/srv/public");
  expect(identity).toMatch(/^[0-9a-f]{12}$/);
  expect(socketIdentity("/srv/a.yaml", "/elsewhere")).toBe(identity);
  expect(socketIdentity("/srv/b.yaml", "/srv/public")).not.toBe(identity);
  expect(socketIdentity(null, "/srv/a.yaml")).not.toBe(identity);
});

test("the folder is made with mode 0700 whatever the umask, and used again", () => {
  using scratch = new SocketFolder();
  const folder = join(scratch.path, "run");
  const mask = process.umask(0);
  try {
    makePrivateFolder(folder);
    makePrivateFolder(folder);
  } finally {
    process.umask(mask);
  }
  expect(statSync(folder).mode & 0o777).toBe(0o700);
});

test("a folder that is a link, a file, open to others or somebody else's is refused", () => {
  using scratch = new SocketFolder();
  const at = (name: string) => join(scratch.path, name);
  mkdirSync(at("mine"), { mode: 0o700 });
  symlinkSync(at("mine"), at("link"));
  writeFileSync(at("file"), "");
  mkdirSync(at("open"));
  chmodSync(at("open"), 0o755);
  expect(() => makePrivateFolder(at("link"))).toThrow("must be a folder, not a link or a file");
  expect(() => makePrivateFolder(at("file"))).toThrow("must be a folder, not a link or a file");
  expect(() => makePrivateFolder(at("open"))).toThrow("must have mode 0700, received 0755");
  expect(() => makePrivateFolder(at("no/such"))).toThrow("ENOENT");
  expect(() => makePrivateFolder(at("mine"), 12345)).toThrow("must belong to user 12345");
  expect(folderFlaw(at("missing"))).toBe("it does not exist");
  expect(folderFlaw(at("mine"))).toBeNull();
});

test.skipIf(process.getuid?.() !== 0)("a folder that another user has made in our place is refused", () => {
  using scratch = new SocketFolder();
  const folder = join(scratch.path, "run");
  mkdirSync(folder, { mode: 0o700 });
  chownSync(folder, 65_534, 65_534);
  expect(() => makePrivateFolder(folder)).toThrow("must belong to user 0, received user 65534");
  expect([isTrusted(folder), isTrusted(folder, 65_534), isTrusted(folder, 1000)]).toEqual([
    true,
    true,
    false,
  ]);
});

const mayWriteToRun = process.getuid?.() === 0;

test.skipIf(!mayWriteToRun)(
  "below /run a folder that others can read is fine, one they can write to is not",
  () => {
    const folder = mkdtempSync("/run/phprun-test-");
    try {
      chmodSync(folder, 0o755);
      expect(folderFlaw(folder)).toBeNull();
      chmodSync(folder, 0o775);
      expect(folderFlaw(folder)).toBe("must have mode 0700, received 0775");
    } finally {
      rmdirSync(folder);
    }
  },
);
