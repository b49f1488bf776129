import type { PoolSetup } from "./generation.ts";
import { AppOption } from "./messages.ts";

/** The same pool, but each worker boots its application by itself. */
export function withoutTemplate(setup: PoolSetup): PoolSetup {
  const { app } = setup.host;
  if (app === null) return setup;
  const options = app.options & ~(AppOption.template | AppOption.templateStrict | AppOption.refork);
  return { ...setup, host: { ...setup.host, app: { ...app, options } } };
}
