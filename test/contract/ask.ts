import { type HttpResponse, raw } from "../harness.ts";

/** A request as bytes. `Host` is added unless it is given, and `Connection: close`. */
export function requestBytes(line: string, headers: readonly string[] = [], body = ""): string {
  const all = [...headers];
  if (!headers.some((header) => /^host:/i.test(header))) all.unshift("Host: test");
  if (!headers.some((header) => /^connection:/i.test(header))) all.push("Connection: close");
  return `${line}\r\n${all.join("\r\n")}\r\n\r\n${body}`;
}

/** Sends one request on a connection of its own. */
export async function send(
  url: string,
  line: string,
  headers: readonly string[] = [],
  body = "",
): Promise<HttpResponse> {
  return await raw(url, requestBytes(line, headers, body), line.split(" ")[0]);
}

export async function get(url: string, path: string, ...headers: string[]): Promise<HttpResponse> {
  return await send(url, `GET ${path} HTTP/1.1`, headers);
}

let last = 0;

/** A name for what a script records, unlike any other. */
export function newId(): string {
  return `id${process.pid}x${++last}`;
}
