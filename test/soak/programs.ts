import type { Program } from "./program.ts";
import { chaosHost } from "./programs/chaos-host.ts";
import { chaosPlain, chaosRetry } from "./programs/chaos.ts";
import { isolation } from "./programs/isolation.ts";
import { leak } from "./programs/leak.ts";
import { overload } from "./programs/overload.ts";
import { reload } from "./programs/reload.ts";
import { soak } from "./programs/soak.ts";
import { threads } from "./programs/threads.ts";
import { workerIsolation } from "./programs/worker-isolation.ts";
import { workerMillion } from "./programs/worker-million.ts";
import { slowClients } from "./programs/slow-clients.ts";

/** In the order in which `all` runs them. */
export const programs: readonly Program[] = [
  chaosPlain,
  chaosRetry,
  chaosHost,
  soak,
  threads,
  reload,
  overload,
  slowClients,
  isolation,
  leak,
  workerIsolation,
  workerMillion,
];
