import { ask } from "./ask.ts";
import { Load } from "./load.ts";

const MS = 700;
const CONNECTIONS = 32;

/** Requests a second that the driver makes of a server that does next to nothing, on the same machine. */
export async function driverCeiling(): Promise<number> {
  const script = `const server = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response("Hello") });
    console.log(server.port); for await (const _ of process.stdin); process.exit();`;
  const child = Bun.spawn([process.execPath, "-e", script], { stdio: ["pipe", "pipe", "inherit"] });
  try {
    const { value } = await child.stdout.getReader().read();
    const port = Number(Buffer.from(value ?? []).toString());
    const next = () => ask("trivial", "/", { answer: "none" });
    const load = new Load({ hostname: "127.0.0.1", port }, { connections: CONNECTIONS, next }).closed();
    await Bun.sleep(MS);
    const tally = await load.stop();
    if (tally.failed > 0)
      throw new Error(`The driver does not get along with Bun.serve: ${tally.describe()}`);
    return (tally.of("ok") * 1000) / MS;
  } finally {
    child.kill("SIGKILL");
    await child.exited;
  }
}
