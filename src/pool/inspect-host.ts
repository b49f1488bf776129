import { openSync } from "node:fs";
import { socketPair } from "../../ffi/system.ts";
import type { Config, PoolConfig } from "../config/config.ts";
import { PhprunError } from "../errors.ts";
import type { PhpReport } from "../php/report.ts";
import { connectFd } from "./connect-fd.ts";
import { hostEnvironment, hostOptions } from "./host-options.ts";
import { HostProcess } from "./host-process.ts";
import { LogChannel } from "./log-channel.ts";

/** Starts a host that only reports what PHP is. */
export async function inspectHost(config: Config, pool: PoolConfig): Promise<PhpReport> {
  const [logOurs, logTheirs] = socketPair();
  const nothing = openSync("/dev/null", "r+");
  const channel = new LogChannel();
  const complaints: string[] = [];
  const log = await connectFd(logOurs, {
    data: (_socket, bytes) => {
      for (const record of channel.read(bytes)) complaints.push(record.text.trim());
    },
  });
  const { promise, resolve, reject } = Promise.withResolvers<PhpReport>();
  const host = await HostProcess.start(
    hostOptions(config, pool, true),
    hostEnvironment(config, pool),
    { pool: nothing, wake: nothing, spool: nothing, log: logTheirs },
    {
      line: (text) => complaints.push(text),
      event: (event) => {
        if (event.kind !== "report") return;
        if (event.result.ok) resolve(event.result.report);
        else reject(new PhprunError(event.result.code, [event.result.message, ...complaints].join("\n")));
      },
      gone: (code, signal) =>
        reject(
          new PhprunError(
            "PHP_START",
            [`Cannot start PHP: ${signal ?? `exit code ${code}`}`, ...complaints].join("\n"),
          ),
        ),
    },
  );
  try {
    const report = await promise;
    await host.exited;
    return { ...report, startupErrors: complaints };
  } finally {
    log.end();
  }
}
