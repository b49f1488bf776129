/**
 * Serves the sockets a service manager hands over, and says what they are. GET /stop stops it, /child tells what a
 * program started from here inherits, everything else who asks.
 */
import { adoptListener, placeholder } from "../../../src/system/adopt-listener.ts";
import { activatedSockets } from "../../../src/system/activation.ts";

const sockets = activatedSockets();
const servers = sockets.map((socket) => {
  const place = placeholder(socket.address);
  const server = Bun.serve({
    ...place,
    fetch: (request, from) => answer(request, from),
  } as Bun.Serve.Options<undefined>);
  adoptListener(server, place, socket);
  return server;
});
console.log(
  JSON.stringify({ sockets, left: Object.keys(process.env).filter((name) => name.startsWith("LISTEN")) }),
);

async function answer(request: Request, server: Bun.Server<undefined>): Promise<Response> {
  const url = new URL(request.url);
  if (url.pathname === "/child") {
    return new Response(Bun.spawnSync(["sh", "-c", "ls -l /proc/self/fd"]).stdout);
  }
  if (url.pathname === "/stop") {
    setTimeout(() => void Promise.all(servers.map((each) => each.stop())), 0);
    return new Response("stopping", { headers: { Connection: "close" } });
  }
  return Response.json({ client: server.requestIP(request), path: url.pathname, body: await request.text() });
}
