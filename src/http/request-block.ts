import type { Client } from "./client.ts";
import type { Target } from "./target.ts";

/** The values every request block begins with; the order is that of enum phprun_field in ffi/php/php.h. */
export const REQUEST_FIELDS = [
  "REQUEST_METHOD",
  "REQUEST_URI",
  "QUERY_STRING",
  "SCRIPT_FILENAME",
  "SCRIPT_NAME",
  "PATH_INFO",
  "DOCUMENT_ROOT",
  "CONTENT_TYPE",
  "CONTENT_LENGTH",
  "SERVER_PROTOCOL",
  "REQUEST_SCHEME",
  "SERVER_NAME",
  "SERVER_ADDR",
  "SERVER_PORT",
  "REMOTE_ADDR",
  "REMOTE_PORT",
  "HTTP_HOST",
  "HTTP_COOKIE",
  "HTTP_AUTHORIZATION",
] as const;

/** A request block: NUL-terminated values as one byte string, and how many there are. */
export interface RequestBlock {
  readonly text: string;
  readonly values: number;
}

export interface BlockParts {
  readonly method: string;
  readonly target: Target;
  /** SCRIPT_FILENAME, SCRIPT_NAME, PATH_INFO, DOCUMENT_ROOT, each with its NUL. */
  readonly script: string;
  /** Bytes of the body; null when the request has none. */
  readonly contentLength: number | null;
  readonly protocol: string;
  readonly serverAddr: string;
  readonly client: Client;
  readonly headers: Readonly<Record<string, string>>;
  readonly requestId: string | null;
}

/** The part of the block that depends on the script alone, made once per script and kept. */
export function scriptPart(filename: string, name: string, pathInfo: string, documentRoot: string): string {
  return `${filename}\0${name}\0${pathInfo}\0${documentRoot}\0`;
}

/** Builds the block of one request. Values come from Bun as byte strings and cannot hold a NUL. */
export function buildRequestBlock(parts: BlockParts): RequestBlock {
  const { method, target, client, headers } = parts;
  const length = parts.contentLength === null ? "" : parts.contentLength;
  const scheme = client.https ? "https" : "http";
  const { host } = client.authority;
  let text =
    `${method}\0${target.uri}\0${target.query}\0${parts.script}${headers["content-type"] ?? ""}\0${length}\0` +
    `${parts.protocol}\0${scheme}\0${host}\0${parts.serverAddr}\0${client.serverPort}\0` +
    `${client.remoteAddr}\0${client.remotePort}\0` +
    `${headers["host"] ?? ""}\0${headers["cookie"] ?? ""}\0${headers["authorization"] ?? ""}\0`;
  let values: number = REQUEST_FIELDS.length;
  for (const name in headers) {
    const variable = variableNames.get(name) ?? nameVariable(name);
    if (variable === "") continue;
    text += `${variable}\0${headers[name]}\0`;
    values += 2;
  }
  if (parts.requestId !== null) {
    text += `PHPRUN_REQUEST_ID\0${parts.requestId}\0`;
    values += 2;
  }
  return { text, values };
}

/** Header names and the variables they become; "" for those that become none. Bounded: clients choose names. */
const variableNames = new Map<string, string>();
const REMEMBERED = 1024;
const REMEMBERED_LENGTH = 64;
const DROPPED = [
  // These have fields of their own.
  "host",
  "cookie",
  "authorization",
  "content-type",
  "content-length",
  // Would become HTTP_PROXY, which HTTP clients take for their proxy (httpoxy, CVE-2016-5385).
  "proxy",
];
rememberFixed();

function nameVariable(name: string): string {
  // X_Y and X-Y would be the same variable, so one could be spoofed by the other: as nginx, drop the first.
  const variable = /^[a-z0-9-]+$/.test(name) ? `HTTP_${name.toUpperCase().replaceAll("-", "_")}` : "";
  if (name.length > REMEMBERED_LENGTH) return variable;
  if (variableNames.size >= REMEMBERED) {
    variableNames.clear();
    rememberFixed();
  }
  variableNames.set(name, variable);
  return variable;
}

function rememberFixed(): void {
  for (const name of DROPPED) variableNames.set(name, "");
}
