/** What a crowd visits: the application in test/soak/app, in worker mode. */
import { join } from "node:path";
import type { PhprunOptions, Tree } from "./phprun.ts";
import type { Setup } from "./program.ts";

const app = join(import.meta.dir, "app");

/** `pool`: what its only pool is to have besides the worker script. */
export function crowdSite({ command, php }: Setup, pool: Tree, ini: Tree): PhprunOptions {
  return {
    command,
    php,
    pools: [{ name: "default", worker_script: join(app, "worker.php"), ...pool }],
    docroot: join(app, "public"),
    ini: {
      display_errors: "0",
      "session.use_strict_mode": "0",
      "session.gc_probability": "0",
      ...ini,
    },
    rest: { logging: { access: false, file: "/dev/null" } },
  };
}
