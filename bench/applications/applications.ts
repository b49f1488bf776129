import { copyFileSync, cpSync, readdirSync, utimesSync } from "node:fs";
import { join, resolve } from "node:path";
import { plainEnvironment, type Scratch } from "../scratch.ts";
import type { Site } from "../sites.ts";

const root = resolve(import.meta.dirname, "../..");
const SETTLED = new Date(Date.now() - 3_600_000);

/** The applications of test/fixtures/apps, copied to where the servers find them, as they would be deployed. */
export function applicationSites(scratch: Scratch, php: string): Record<"laravel" | "symfony", Site> {
  const folder = scratch.path("site");
  // They find the worker loops of php/ by their place beside it.
  for (const part of ["php/src", "test/fixtures/apps"])
    cpSync(join(root, part), join(folder, part), { recursive: true });
  const apps = join(folder, "test/fixtures/apps");
  for (const app of ["laravel", "symfony"])
    copyFileSync(
      join(import.meta.dirname, "../docroot/settings.php"),
      join(apps, app, "public/settings.php"),
    );
  settle(folder);
  const site = (app: string) => ({
    docroot: join(apps, app, "public"),
    frontController: true,
    helloPath: "/hello/world",
  });
  return {
    laravel: {
      ...site("laravel"),
      workerScript: join(apps, "laravel/worker.php"),
      prepare: (state) => cacheLaravel(scratch, php, join(apps, "laravel"), state),
    },
    symfony: {
      ...site("symfony"),
      workerScript: join(apps, "symfony/public/index.php"),
      workerEnv: { APP_RUNTIME: String.raw`Phprun\Worker\Symfony\Runtime` },
      // Its container and routes are compiled with the first request.
      prepare: () => undefined,
    },
  };
}

function cacheLaravel(scratch: Scratch, php: string, app: string, state: string): void {
  const script = join(import.meta.dirname, "laravel-caches.php");
  const { exitCode, stdout, stderr } = Bun.spawnSync([php, script, app], {
    env: { ...plainEnvironment(scratch.folder), APP_STATE_DIR: state },
  });
  if (exitCode !== 0) throw new Error(`Cannot cache Laravel's configuration: ${stdout}${stderr}`);
  settle(state);
}

/** opcache does not keep files that were written in the last two seconds. */
export function settle(folder: string): void {
  for (const entry of readdirSync(folder, { recursive: true }))
    utimesSync(join(folder, `${entry}`), SETTLED, SETTLED);
}
