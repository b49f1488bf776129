/*
 * The entry of the executable. Internal commands come first: a host and a probe load PHP and must not
 * pay for, or trip over, the command line.
 */
export async function main(args: readonly string[]): Promise<void> {
  if (args[0] === "__host") {
    const { runHost } = await import("../worker/host.ts");
    await runHost();
  } else if (args[0] === "__probe") {
    const { runProbe } = await import("../worker/probe.ts");
    runProbe();
  } else {
    const { runCli } = await import("./cli/run.ts");
    process.exit(await runCli(args));
  }
}

await main(process.argv.slice(2));
