import type { Application } from "./application.ts";
import { shown } from "./docroot.ts";
import { type Kind, kindTitle } from "./kind.ts";
import type { Runner } from "./runner.ts";

export interface ConfigFacts {
  readonly kind: Kind;
  readonly application: Application;
  readonly docroot: string;
  readonly runner: Runner;
}

/** The text of phprun.yaml: what this application needs, and in comments what it may come to need. */
export function configText(facts: ConfigFacts): string {
  const blocks = [head(facts), server(facts), php(facts), pools(facts), rest(facts)];
  return `${blocks.map((lines) => lines.join("\n")).join("\n\n")}\n`;
}

function head({ kind, application }: ConfigFacts): string[] {
  const version = application.detected?.kind === kind ? application.detected.version : undefined;
  const name = version === undefined ? kindTitle(kind) : `${kindTitle(kind)} ${version}`;
  return [
    `# phprun's configuration for ${name}, written by \`phprun init\`. Relative paths start at this file's folder.`,
    "# `phprun config check` lists mistakes, `phprun config print` shows all keys with their values.",
  ];
}

function server({ kind }: ConfigFacts): string[] {
  const size = kind === "wordpress" ? "64MiB" : "32MiB";
  return [
    "server:",
    "  host: 0.0.0.0 # 127.0.0.1 behind another server on this machine",
    "  port: 8080",
    `  client_max_body_size: ${size} # PHP has limits of its own, see php.ini below`,
    "  # Proxies whose X-Forwarded-For, X-Forwarded-Proto and Forwarded headers are believed:",
    '  # trusted_proxies: [127.0.0.0/8, "::1"]',
  ];
}

function php({ kind, application, docroot }: ConfigFacts): string[] {
  return [
    "php:",
    `  docroot: ${shown(docroot)}`,
    ...(application.hasIndex || kind === "laravel" || kind === "symfony"
      ? []
      : ["  front_controller: null # there is no index.php that could answer for paths that are no files"]),
    ...symlinks(kind, application),
    ...ini(kind),
    ...environment(kind),
  ];
}

function symlinks(kind: Kind, { links }: Application): string[] {
  // What `php artisan storage:link` leads to, also before that has been run.
  const storage = kind === "laravel" ? ["./storage/app/public"] : [];
  const targets = [...new Set([...links.targets, ...storage])];
  return targets.length === 0
    ? []
    : [
        "  # Links in the docroot may lead here; others that leave it are refused:",
        `  symlinks: [${targets.map(scalar).join(", ")}]`,
      ];
}

function ini(kind: Kind): string[] {
  const uploads = kind === "wordpress" ? "" : "# ";
  return [
    "  ini:",
    "    expose_php: false",
    `    ${uploads}upload_max_filesize: ${kind === "wordpress" ? "64M" : "32M"}`,
    `    ${uploads}post_max_size: ${kind === "wordpress" ? "64M" : "32M"}`,
    "    # Quicker, when every deployment ends with `phprun reload`, which is what makes new code show then:",
    "    # opcache.validate_timestamps: false",
  ];
}

function environment(kind: Kind): string[] {
  if (kind === "wordpress")
    return [
      "  # Tells WordPress that the server rewrites URLs; else its settings offer permalinks with /index.php/ in them.",
      "  env: { SERVER_SOFTWARE: nginx }",
    ];
  const names: Readonly<Partial<Record<Kind, string>>> = {
    laravel: 'APP_ENV: production, APP_DEBUG: "false"',
    symfony: 'APP_ENV: prod, APP_DEBUG: "0"',
  };
  const variables = names[kind] ?? "APP_ENV: production";
  return [
    "  # Set here they go before what the application's .env files say:",
    `  # env: { ${variables} }`,
  ].slice(kind === "plain" ? 1 : 0);
}

function pools({ kind, application, runner }: ConfigFacts): string[] {
  return [
    "pools:",
    "  - name: app",
    ...(runner.mode === "worker" ? workerMode(runner) : classicMode(kind, application, runner.because)),
    kind === "wordpress"
      ? "    worker_count: auto # two per CPU. WordPress asks itself over HTTP, so at least 2"
      : "    worker_count: auto # two per CPU; or a number, or { min: 2, max: 8 } to grow and shrink with the load",
    "    memory_limit_mb: 256 # a worker that holds more is replaced after its request",
    ...(runner.mode === "worker"
      ? ["    # max_requests: 10000 # replaces workers now and then, against slow leaks"]
      : []),
    "    timeout_ms: 60000 # how long a request may run",
    '    patterns: ["/*"]',
  ];
}

function workerMode(runner: Runner & { readonly mode: "worker" }): string[] {
  const env = Object.entries(runner.env).map(([name, value]) => `${name}: ${scalar(value)}`);
  return [
    "    # Worker mode: the script boots the application once in each worker, then answers request after request.",
    "    # `mode: classic` starts from nothing for each request and does not use the script.",
    "    mode: worker",
    `    worker_script: ${shown(runner.script)}`,
    ...(env.length === 0 ? [] : [`    env: { ${env.join(", ")} }`]),
    "    # worker:",
    "    #   reset: [cwd, timezone, locale] # what is put back between requests, beside what PHP itself begins anew",
    "    #   on_exception: recycle # a worker with an uncaught exception is replaced; keep: it goes on",
  ];
}

function classicMode(kind: Kind, application: Application, because: readonly string[]): string[] {
  if (kind === "wordpress") return [...because.map((line) => `    # ${line}`), "    mode: classic"];
  const canTry = application.hasIndex
    ? ["    # `phprun init plain --force` writes a worker script all the same, to work from."]
    : [];
  return [
    "    # Each request starts from nothing. For worker mode there is something in the way:",
    ...because.map((line) => `    #  - ${line}`),
    ...canTry,
    "    mode: classic",
  ];
}

function rest({ runner }: ConfigFacts): string[] {
  return [
    "# What a reload (`phprun reload`) asks of the new workers before they take over, such as a page that reads the database:",
    "# health: { path: /health }",
    ...(runner.mode === "worker"
      ? [
          "",
          "# A change of code shows after `phprun reload`. `phprun serve --watch` does that by itself, for development.",
        ]
      : []),
  ];
}

/** Text that YAML cannot take for anything else; what JSON quotes, YAML understands. */
const scalar = (text: string): string => (/^[\w./-]*\/[\w./-]*$/.test(text) ? text : JSON.stringify(text));
