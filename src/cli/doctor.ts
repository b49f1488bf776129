import { defineCommand } from "citty";
import { shims } from "../../ffi/embedded.ts";
import type { Config } from "../config/config.ts";
import { loadConfig } from "../config/load.ts";
import { settleIsolation } from "../php/choose.ts";
import { configArg, textFlag } from "./args.ts";
import type { Finding } from "./checks/finding.ts";
import { checkLibphp } from "./checks/libphp.ts";
import { checkLimits } from "./checks/limits.ts";
import { checkPhp, checkThreadIni } from "./checks/php.ts";
import { checkPlaces } from "./checks/places.ts";
import { marked, print } from "./output.ts";

export const doctor = defineCommand({
  meta: { name: "doctor", description: "Check this machine: PHP, extensions, limits, ports and folders" },
  args: { ...configArg, json: { type: "boolean", description: "As JSON" } },
  async run({ args }) {
    const config = loadConfig({ flags: { config: textFlag(args.config) } });
    const findings = await examine(config);
    const failed = findings.filter(({ level }) => level === "fail").length;
    if (args.json) print(`${JSON.stringify({ ok: failed === 0, findings }, null, 2)}\n`);
    else show(findings, failed);
    return failed === 0 ? 0 : 1;
  },
});

async function examine(config: Config): Promise<Finding[]> {
  const { findings, chosen } = await checkLibphp(config, shims);
  if (chosen !== null && findings.every(({ level }) => level !== "fail")) {
    const threaded = config.pools.filter((pool) => settleIsolation(pool, chosen.zts) === "thread");
    findings.push(
      ...(await checkPhp(async () => {
        const { inspectPhp } = await import("../php/inspect.ts");
        return inspectPhp(config);
      }, threaded.length > 0)),
      ...threaded.flatMap((pool) => checkThreadIni({ ...config.php.ini, ...pool.ini }, chosen)),
    );
  }
  const { checkSharedMemory } = await import("./checks/shared-memory.ts");
  return [
    ...findings,
    ...checkLimits(config),
    ...config.pools.map(checkSharedMemory),
    ...(await checkPlaces(config)),
  ];
}

function show(findings: readonly Finding[], failed: number): void {
  const marks = { ok: "success", note: "info", warn: "warn", fail: "error" } as const;
  for (const { level, text, remedy } of findings) {
    print(marked(marks[level], remedy === undefined ? `${text}\n` : `${text}\n  → ${remedy}\n`));
  }
  print(
    failed === 0 ? "\nAll is well.\n" : `\n${failed} ${failed === 1 ? "thing is" : "things are"} wrong.\n`,
  );
}
