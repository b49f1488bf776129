import { expect, test } from "bun:test";
import { join } from "node:path";
import { workerScriptName } from "../../src/pool/app-options.ts";
import { AppScript } from "../../src/route/app-script.ts";
import type { Route } from "../../src/route/route.ts";
import { TempDir } from "./route-fixtures.ts";

const script = (name: string): Route => ({
  kind: "script",
  scriptFilename: `/srv${name}`,
  scriptName: name,
  pathInfo: "",
  script: { filename: `/srv${name}`, name, memo: undefined },
});
const worker = { filename: "/srv/app/worker.php", name: "/worker.php" };

test("an application with a front controller is told of that, whatever script the path names", async () => {
  await using folder = new TempDir();
  const index = folder.write("index.php");
  const app = new AppScript(folder.path, "index.php", worker);
  for (const route of [script("/other.php"), { kind: "error", status: 404 } as Route]) {
    const answer = app.answer(route);
    expect(answer).toMatchObject({ kind: "script", scriptName: "/index.php", pathInfo: "" });
    expect(answer?.scriptFilename).toBe(index);
  }
});

test("a path that leads to the front controller keeps what the router has found out about it", async () => {
  await using folder = new TempDir();
  folder.write("index.php");
  const app = new AppScript(folder.path, "index.php", worker);
  const route = { ...script("/index.php"), pathInfo: "/rest" } as Route;
  expect(app.answer(route)).toBe(route as never);
});

test("without one it is told of the worker script", async () => {
  await using folder = new TempDir();
  for (const frontController of ["index.php", null, "folder"]) {
    folder.write("folder/x");
    const app = new AppScript(folder.path, frontController, worker);
    expect(app.answer(script("/a.php"))).toMatchObject({
      scriptName: "/worker.php",
      scriptFilename: "/srv/app/worker.php",
    });
  }
});

test("files, redirects and refusals but 404 are not the application's", async () => {
  await using folder = new TempDir();
  const app = new AppScript(folder.path, null, worker);
  for (const status of [400, 403, 405, 414])
    expect(app.answer({ kind: "error", status } as Route)).toBeUndefined();
  expect(app.answer({ kind: "redirect", location: "/a/" } as never)).toBeUndefined();
});

test("SCRIPT_NAME of a worker script is its path below the docroot, or its name when it is elsewhere", () => {
  expect(workerScriptName("/srv/public/worker.php", "/srv/public")).toBe("/worker.php");
  expect(workerScriptName("/srv/public/app/worker.php", "/srv/public")).toBe("/app/worker.php");
  expect(workerScriptName("/srv/worker.php", "/srv/public")).toBe("/worker.php");
  expect(workerScriptName("/srv/public-too/worker.php", "/srv/public")).toBe("/worker.php");
  expect(workerScriptName(join("/srv/public", "..worker.php"), "/srv/public")).toBe("/..worker.php");
});
