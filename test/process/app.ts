/** Applications in worker mode: a worker script whose pages are files, and one server for all tests of a group. */
import { afterAll, beforeAll } from "bun:test";
import { type HttpResponse, raw, type Server, type StartOptions, type Tree } from "../harness.ts";
import type { Under } from "./support.ts";

export interface App {
  /** PHP that the worker script runs before its loop. */
  readonly boot?: string;
  /** PHP in place of the loop. */
  readonly loop?: string;
  /** PHP of the pages by their paths, without the opening tag: `{ hello: "echo 1;" }` answers `/hello`. */
  readonly pages?: Readonly<Record<string, string>>;
  /** More files of the docroot. */
  readonly files?: Readonly<Record<string, string>>;
  readonly ini?: Tree;
  readonly php?: Tree;
  /** Settings of the pool; it has one worker unless they say otherwise. */
  readonly pool?: Tree;
  /** `worker` of the pool. */
  readonly worker?: Tree;
  /** The rest of the configuration. */
  readonly config?: Tree;
}

/** Where the worker script is, as the configuration names it: relative to the folder of that. */
export const SCRIPT = "public/app/worker.php";

export const LOOP = `
while (phprun_handle_request($handler)) {
  $tail = Kept::$tail;
  Kept::$tail = null;
  if ($tail !== null) $tail();
}`;

/**
 * The script. `Kept` is what the application keeps from request to request; `Kept::$tail` is called behind the answer,
 * before the script asks for the next request.
 */
export function workerScript({ boot = "", loop = LOOP }: Pick<App, "boot" | "loop"> = {}): string {
  return `<?php
final class Kept {
  public static int $count = 0;
  public static array $all = [];
  public static ?Closure $tail = null;
}
function note(string $text, string $name = 'notes'): void { file_put_contents(getenv('RECORDS') . "/$name", "$text\\n", FILE_APPEND); }
function gate(string $name): void {
  note('here', $name);
  while (!file_exists(getenv('RECORDS') . "/$name.gate")) { usleep(1000); clearstatcache(); }
}
${boot}
$handler = static function (): void {
  Kept::$count++;
  require __DIR__ . '/..' . explode('?', $_SERVER['REQUEST_URI'])[0] . '.inc';
};
${loop}
`;
}

/** What a server with this application is started with. */
export function appOptions(app: App): StartOptions & { readonly config: Tree } {
  const { pages = {}, files = {}, ini = {}, php = {}, pool = {}, worker = {}, config = {} } = app;
  const scripts = Object.entries(pages).map(([name, code]) => [`${name}.inc`, `<?php ${code}`]);
  return {
    files: { "app/worker.php": workerScript(app), ...Object.fromEntries(scripts), ...files },
    config: {
      logging: { level: "debug", access: false },
      ...config,
      php: { front_controller: null, ...php, ini },
      pools: [{ name: "default", worker_count: 1, worker_script: SCRIPT, worker, ...pool }],
    },
  };
}

/** One server for all tests of a `describe`. Call what it returns inside of them. */
export function sharedApp(under: Under, app: App): () => Server {
  let server: Server | undefined;
  beforeAll(async () => {
    server = await under.begin(appOptions(app));
  });
  afterAll(async () => await server?.[Symbol.asyncDispose]());
  return () => {
    if (server === undefined) throw new Error("The server has not started");
    return server;
  };
}

/** A request with headers and a body. */
export async function send(
  server: Server,
  line: string,
  headers: readonly string[] = [],
  body = "",
): Promise<HttpResponse> {
  const length = body === "" ? [] : [`Content-Length: ${Buffer.byteLength(body, "latin1")}`];
  const head = ["Host: localhost", "Connection: close", ...length, ...headers].join("\r\n");
  return await raw(server.url, `${line} HTTP/1.1\r\n${head}\r\n\r\n${body}`, line.split(" ")[0]);
}

/** A form as browsers send it. */
export async function post(server: Server, path: string, form: string): Promise<HttpResponse> {
  return await send(server, `POST ${path}`, ["Content-Type: application/x-www-form-urlencoded"], form);
}
