import type { Listener } from "./config.ts";
import { type Layers, RANK } from "./layers.ts";
import { formatListen, parseListen, withoutBrackets } from "./listen.ts";
import type { Problem } from "./problem.ts";
import type { ConfigTree } from "./schema.ts";

/**
 * The listeners of a configuration. `listen` and `host`/`port` say the same thing twice, so both at one level is an
 * error; across levels the later one wins (`--port` over a file's `listen`).
 */
export function settleListeners(
  tree: ConfigTree,
  layers: Layers,
): { listeners: Listener[]; problems: Problem[] } {
  const { host, port, listen } = tree.server;
  const problems: Problem[] = [];
  const ofList = layers.origin(["server", "listen"]);
  const single = ["host", "port"].map((key) => ({ key, ...layers.origin(["server", key]) }));
  const ofSingle = single.reduce((best, origin) => (origin.rank > best.rank ? origin : best));
  if (listen.length === 0 || (ofSingle.rank > ofList.rank && ofSingle.rank > RANK.default)) {
    return { listeners: [{ kind: "tcp", host: withoutBrackets(host), port }], problems };
  }
  if (ofSingle.rank === ofList.rank) {
    const message = `Cannot use 'server.${ofSingle.key}' beside 'server.listen': the list replaces host and port; keep one of them`;
    problems.push({ where: ofSingle.where, message });
  }
  const listeners = new Map<string, Listener>();
  for (const [index, text] of listen.entries()) {
    const { where } = layers.origin(["server", "listen", index]);
    const listener = parseListen(text);
    const name = `'server.listen[${index}]'`;
    if (typeof listener === "string") {
      problems.push({ where, message: `Cannot use ${name}: ${listener}, received ${JSON.stringify(text)}` });
    } else if (listeners.has(formatListen(listener)) && !(listener.kind === "tcp" && listener.port === 0)) {
      problems.push({ where, message: `Cannot use ${name}: ${formatListen(listener)} is in the list twice` });
    } else {
      listeners.set(
        `${formatListen(listener)}${listener.kind === "tcp" && listener.port === 0 ? `#${index}` : ""}`,
        listener,
      );
    }
  }
  return { listeners: [...listeners.values()], problems };
}
