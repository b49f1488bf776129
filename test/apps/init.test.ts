/** The worker scripts that `phprun init` writes for Laravel and Symfony do what those of php/ do. */
import { afterAll } from "bun:test";
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

import { command, targets } from "../harness.ts";
import { describeApplication } from "./application.ts";
import { FIXTURES } from "./running.ts";

const apps = mkdtempSync(join(tmpdir(), "phprun-init-apps-"));
const remove = (): void => rmSync(apps, { recursive: true, force: true });
process.once("exit", remove);
afterAll(remove);
cpSync(FIXTURES, apps, { recursive: true });

/** The application with what Composer and its framework's installer would have put there, and what init makes of it. */
function prepared(name: "laravel" | "symfony", files: Readonly<Record<string, string>>): string {
  const folder = join(apps, name);
  for (const [file, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, file)), { recursive: true });
    writeFileSync(join(folder, file), text);
  }
  // Else it is taken for the loop that is wanted.
  rmSync(join(folder, "worker.php"), { force: true });
  const { exitCode, stdout, stderr } = Bun.spawnSync(
    command(targets.at(-1) ?? "source", "init", "--dir", folder),
  );
  if (exitCode !== 0 || !stdout.toString().includes("Wrote phprun-worker.php"))
    throw new Error(`phprun init did not write a worker script: ${stdout.toString()}${stderr.toString()}`);
  return folder;
}

describeApplication({
  name: "laravel",
  folder: prepared("laravel", {
    artisan: "",
    "vendor/autoload.php": "<?php require_once 'Illuminate/autoload.php';\n",
  }),
  workerScript: "phprun-worker.php",
  leavesNothing: true,
  needs: { "Illuminate/Foundation/Application.php": "php-laravel-framework" },
});

describeApplication({
  name: "symfony",
  folder: prepared("symfony", {
    "bin/console": "",
    "vendor/autoload.php": "<?php return require __DIR__ . '/../runtime.php';\n",
  }),
  workerScript: "phprun-worker.php",
  workerEnv: { APP_ENV: "prod" },
  needs: {
    "Doctrine/DBAL/autoload.php": "php-doctrine-dbal",
    "Doctrine/Persistence/autoload.php": "php-doctrine-persistence",
    "Symfony/Bundle/FrameworkBundle/autoload.php": "php-symfony-framework-bundle",
    "Symfony/Component/Validator/autoload.php": "php-symfony-validator",
  },
});
