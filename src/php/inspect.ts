import type { Config } from "../config/config.ts";
import { PhprunError } from "../errors.ts";
import type { PhpReport } from "./report.ts";

/** Starts PHP as a pool would, asks it what it is, and ends it. */
export async function inspectPhp(config: Config): Promise<PhpReport> {
  const { inspectHost } = await import("../pool/inspect-host.ts");
  const pool = config.pools[0];
  if (pool === undefined) throw new PhprunError("CONFIG_INVALID", "Cannot start PHP: there is no pool");
  return await inspectHost(config, pool);
}
