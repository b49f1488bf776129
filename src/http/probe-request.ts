import type { Config } from "../config/config.ts";
import { PhprunError } from "../errors.ts";
import type { Probe } from "../pool/probe-job.ts";
import type { Router } from "../route/router.ts";
import type { Client } from "./client.ts";
import { documentRoot } from "./front.ts";
import { buildRequestBlock, scriptPart } from "./request-block.ts";

const NOBODY: Client = {
  remoteAddr: "127.0.0.1",
  remotePort: "0",
  serverPort: "80",
  https: false,
  authority: { host: "localhost", port: "" },
};

/** The request that a new generation must answer: `health.path`, or one that only PHP itself sees. */
export function probeRequest(config: Config, router: Router): Probe {
  const { path, timeoutMs } = config.health;
  const root = documentRoot(config);
  const { script, filename } =
    path === null ? { script: scriptPart("", "", "", root), filename: "" } : healthScript(path, root, router);
  const { text, values } = buildRequestBlock({
    method: "GET",
    target: { uri: path ?? "/", path: path ?? "/", query: "" },
    script,
    contentLength: null,
    protocol: "HTTP/1.1",
    serverAddr: "127.0.0.1",
    client: NOBODY,
    headers: { host: "localhost", "user-agent": "phprun-health" },
    requestId: null,
  });
  return { text, values, path, script: filename, timeoutMs };
}

function healthScript(path: string, root: string, router: Router): { script: string; filename: string } {
  const route = router.resolve(path, "GET");
  if (route.kind !== "script") {
    const what = route.kind === "error" ? `it gets ${route.status}` : `it is a ${route.kind}`;
    throw new PhprunError(
      "HEALTH",
      `Cannot use 'health.path': ${path} must lead to a PHP script, but ${what}`,
    );
  }
  const { scriptFilename: filename, scriptName, pathInfo } = route;
  return { script: scriptPart(filename, scriptName, pathInfo, root), filename };
}
