import type { Application } from "./application.ts";
import type { Kind } from "./kind.ts";
import laravel from "./templates/laravel.php" with { type: "text" };
import laravelPackage from "./templates/laravel-package.php" with { type: "text" };
import plain from "./templates/plain.php" with { type: "text" };
import symfony from "./templates/symfony.php" with { type: "text" };

/** Our own worker script, beside phprun.yaml. */
export const WORKER_SCRIPT = "phprun-worker.php";

/** How an application is run: from nothing for each request, or by a script that stays. */
export type Runner =
  | { readonly mode: "classic"; readonly because: readonly string[] }
  | {
      readonly mode: "worker";
      /** Relative to the application's folder. */
      readonly script: string;
      /** What is to be written there; null when the application has it already. */
      readonly text: string | null;
      readonly env: Readonly<Record<string, string>>;
      /** Why this script, for a person. */
      readonly why: string;
    };

const WORDPRESS_REASONS = [
  "WordPress and its plugins declare functions and constants and fill globals whenever a page is made, and count on",
  "all of it being gone afterwards: each request has to start from nothing.",
];

/** @param insisted the kind was named on the command line: plain PHP then gets its example of a worker script */
export function chooseRunner(kind: Kind, application: Application, insisted: boolean): Runner {
  if (kind === "wordpress") return { mode: "classic", because: WORDPRESS_REASONS };
  const { workerScript, classicBecause } = application;
  // Ours is made for a kind, so it is chosen by the kind: another run may want another one.
  if (workerScript !== undefined && workerScript !== WORKER_SCRIPT)
    return worker(workerScript, null, "has a loop for requests already");
  switch (kind) {
    case "laravel":
      return application.hasPackage
        ? worker(WORKER_SCRIPT, laravelPackage, "uses phprun/worker, which composer.json requires")
        : worker(
            WORKER_SCRIPT,
            laravel,
            "boots the application once and puts its services back after each request",
          );
    case "symfony":
      return application.hasPackage && application.hasSymfonyRuntime
        ? worker(
            "public/index.php",
            null,
            "runs by the runtime of phprun/worker, which composer.json requires",
            {
              APP_RUNTIME: "Phprun\\Worker\\Symfony\\Runtime",
            },
          )
        : worker(
            WORKER_SCRIPT,
            symfonyScript(application),
            "boots the kernel once, which resets its own services",
          );
    case "plain":
      return classicBecause.length > 0 && !insisted
        ? { mode: "classic", because: classicBecause }
        : worker(
            WORKER_SCRIPT,
            plainScript(application),
            "runs index.php for each request, without starting PHP anew",
          );
    default:
      return kind satisfies never;
  }
}

const worker = (
  script: string,
  text: string | null,
  why: string,
  env: Readonly<Record<string, string>> = {},
): Runner => ({ mode: "worker", script, text, env, why });

function symfonyScript({ kernelClass }: Application): string {
  if (kernelClass === undefined || kernelClass === "App\\Kernel") return symfony;
  // A class without a namespace needs no `use`, and PHP warns of one.
  return symfony.replace("use App\\Kernel;\n", kernelClass.includes("\\") ? `use ${kernelClass};\n` : "");
}

function plainScript({ docroot }: Application): string {
  return docroot === null || docroot === "."
    ? plain.replaceAll("public/index.php", "index.php").replace("__DIR__ . '/public'", "__DIR__")
    : plain.replaceAll("public/index.php", `${docroot}/index.php`).replace("'/public'", `'/${docroot}'`);
}
