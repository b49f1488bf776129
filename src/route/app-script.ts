import { statSync } from "node:fs";
import { join } from "node:path";
import { toBytes } from "./docroot.ts";
import type { Route, Script, ScriptRoute } from "./route.ts";

/**
 * What an application in worker mode is told of the script that runs: the front controller, as if there were no worker
 * mode, so that it makes the same URLs; or the worker script where the docroot has no front controller.
 */
export class AppScript {
  readonly #route: ScriptRoute;

  /** `worker.name`: the worker script as SCRIPT_NAME. Looks for the front controller once. */
  constructor(
    docroot: string,
    frontController: string | null,
    worker: { readonly filename: string; readonly name: string },
  ) {
    const file = frontController === null ? null : join(docroot, frontController);
    const found = file !== null && statSync(file, { throwIfNoEntry: false })?.isFile() === true;
    const filename = toBytes(found ? file : worker.filename);
    const name = toBytes(found ? `/${frontController}` : worker.name);
    const script: Script = { filename, name, memo: undefined };
    this.#route = { kind: "script", scriptFilename: filename, scriptName: name, pathInfo: "", script };
  }

  /** Undefined when it is not the application's to answer: a static file, a redirect, a refusal. */
  answer(route: Route): ScriptRoute | undefined {
    if (route.kind === "script") return route.scriptName === this.#route.scriptName ? route : this.#route;
    return route.kind === "error" && route.status === 404 ? this.#route : undefined;
  }
}
