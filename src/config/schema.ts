import { type Static, Type } from "@sinclair/typebox";
import {
  choice,
  count,
  type Field,
  flag,
  list,
  milliseconds,
  orNull,
  optionalPath,
  optionalText,
  section,
  size,
  switchablePath,
  text,
  textMap,
} from "./field.ts";
import { WATCH_IGNORE, WATCH_INCLUDE } from "./watch-defaults.ts";

/*
 * The one definition of phprun.yaml. Validation, defaults, the editor schema, environment variables and the
 * reference in the README all come from here; src/config/settle.ts turns a valid tree into a Config.
 */

const HEADER_TEXT = "^[\\x20-\\x7e]*$";

const server = section("Where phprun listens and how it treats clients.", {
  host: text("Address to listen on. `0.0.0.0` is every IPv4 address, `::` every IPv6 one.", {
    default: "0.0.0.0",
    minLength: 1,
    pattern: "^[^\\s/]+$",
    "x-expects": "an address or a host name",
  }),
  port: count("TCP port to listen on; 0 takes any free one.", { default: 8080, maximum: 65_535 }),
  listen: list(
    'Several listeners, in place of `host` and `port`: `"host:port"`, `"[::]:8080"`, `"unix:/path"`.',
    Type.String({
      minLength: 1,
      "x-kind": "listen",
      "x-expects": '"host:port", "[v6 address]:port" or "unix:/path"',
    }),
    { default: [], "x-default": "`host` and `port`" },
  ),
  client_max_body_size: size(
    "Largest request body; a larger one gets 413. 0 takes the most there is, 64 GiB.",
    {
      default: "32MiB",
    },
  ),
  trusted_proxies: list(
    "Addresses or CIDR blocks of proxies whose `Forwarded` and `X-Forwarded-*` headers are believed. Anyone else's are ignored.",
    Type.String({ "x-expects": "an IP address or a CIDR block" }),
    { default: [], "x-default": "none" },
  ),
  keep_alive_timeout_ms: milliseconds("How long an idle connection is kept; 0 closes it after each answer.", {
    default: 65_000,
    maximum: 255_000,
  }),
  receive_timeout_ms: milliseconds("How long a client may stay silent while it sends a request.", {
    default: 60_000,
    minimum: 1,
  }),
  send_timeout_ms: milliseconds("How long a client may take nothing of a waiting answer.", {
    default: 60_000,
    minimum: 1,
  }),
  stop_timeout_ms: milliseconds("How long running requests may take to finish after SIGTERM.", {
    default: 30_000,
  }),
  request_id: flag("Send an `X-Request-Id` with each answer and log it.", { default: true }),
  spool_dir: optionalPath(
    "Folder for the unlinked files that hold large request bodies, and answers to slow readers.",
    {
      default: null,
      "x-default": "the system's temporary folder",
    },
  ),
  control_socket: switchablePath(
    "Unix socket for `phprun status`, `reload` and `stop`: a path, `auto` or `off`. `auto` is one of its own.",
    { default: "auto" },
  ),
  memory_warn_mb: count(
    "Memory of the server process itself above which it warns in the log; 0 means never.",
    {
      default: 1024,
      maximum: 1_048_576,
      unit: "MB",
    },
  ),
  pid_file: optionalPath("File that receives the process id, for `phprun stop`.", {
    default: null,
    "x-default": "none",
  }),
  server_header: optionalText("Value of the `Server` header; null sends none.", {
    default: null,
    pattern: HEADER_TEXT,
    "x-expects": "printable ASCII text, or null",
  }),
});

const INI_NAMES = "^[A-Za-z0-9_.-]+$";
const ENV_NAMES = "^[^=\\x00-\\x1f]+$";

const ISOLATIONS = ["auto", "process", "thread"] as const;

const php = section("What is served, and the PHP that runs it.", {
  docroot: optionalPath("The folder that is served.", {
    default: null,
    "x-default": "`./public` if it exists, else `.`",
    "x-expects": "a path",
  }),
  libphp: Type.Union([Type.Literal("auto"), Type.String({ minLength: 1 })], {
    description:
      "Path of `libphp.so`, or `auto`: what `php-config` points to, then the known places, then what `./setup.sh --zts` built.",
    default: "auto",
    "x-kind": "path",
    "x-expects": "a path, or auto",
  }),
  isolation: choice(
    "What a worker is: a `process`, or a `thread` of the pool's host, which takes a thread-safe (ZTS) `libphp`. `auto`: threads if it is thread-safe, else processes.",
    ISOLATIONS,
    { default: "auto" },
  ),
  thread_stack_size: size("Stack of a worker that is a thread, 1MiB to 1GiB.", { default: "16MiB" }),
  front_controller: optionalText(
    "Script for every path that matches nothing else, relative to the docroot; null turns it off.",
    {
      default: "index.php",
    },
  ),
  script_extensions: list(
    "File extensions that run as PHP.",
    Type.String({ pattern: "^\\.[A-Za-z0-9]+$", "x-expects": "an extension with its dot, such as .php" }),
    { default: [".php"] },
  ),
  index_files: list(
    "Files that answer for a folder, best first.",
    Type.String({ pattern: "^[^/\\x00-\\x1f]+$", "x-expects": "a file name" }),
    { default: ["index.php", "index.html"] },
  ),
  symlinks: Type.Union(
    [
      Type.Literal("inside"),
      Type.Literal("all"),
      Type.Array(Type.String({ minLength: 1, "x-kind": "path", "x-expects": "a path" })),
    ],
    {
      description:
        "Where symbolic links in the docroot may lead: `inside` it, to `all` places, or also into the folders listed.",
      default: "inside",
      "x-expects": "inside, all, or a list of folders",
    },
  ),
  ini: textMap(
    "ini",
    "Overrides for php.ini, such as `memory_limit: 128M`. `true` and `false` become `1` and `0`.",
    INI_NAMES,
  ),
  env: textMap("env", "Environment variables for PHP (`getenv()`, `$_SERVER`).", ENV_NAMES),
  clear_env: flag(
    "Hide the environment phprun was started in from scripts, as php-fpm does; what `env` sets stays.",
    { default: false },
  ),
  sapi_name: choice(
    "What `php_sapi_name()` says; `fpm-fcgi` is for code that insists on it.",
    ["phprun", "fpm-fcgi"],
    { default: "phprun" },
  ),
  json_post: flag("Parse JSON request bodies into `$_POST`.", { default: false }),
  compat: list(
    "Names of other servers' functions to provide: `frankenphp` is `frankenphp_handle_request()` and its like.",
    choice("", ["frankenphp"], {}),
    { default: ["frankenphp"] },
  ),
});

/** Worker mode: of all pools, and in a pool what is different there. */
const workerMode = {
  reset: Type.Array(choice("", ["ini", "env", "cwd", "error_handlers", "timezone", "locale"], {}), {
    description:
      "What each request finds as it was after the boot, though others have changed it: `ini` settings, the environment (`env`), the working directory (`cwd`), `error_handlers` and those of exceptions, the `timezone`, the `locale`.",
    default: ["cwd"],
    "x-type": "list",
    "x-expects": "a list of ini, env, cwd, error_handlers, timezone and locale",
  }),
  on_exception: choice(
    "What an exception that nobody catches does to its worker: it lives on (`keep`), or is replaced after the answer (`recycle`).",
    ["keep", "recycle"],
    { default: "keep" },
  ),
  boot_timeout_ms: milliseconds(
    "How long the worker script may take to its first `phprun_handle_request()`, and to end when it is told to.",
    { default: 30_000, minimum: 1 },
  ),
  boot_attempts: count("How many boots in a row may fail before a start or a reload is refused.", {
    default: 3,
    minimum: 1,
    maximum: 100,
  }),
  template: Type.Union([Type.Literal("auto"), Type.Boolean()], {
    description:
      "Boot the application once, in the pool's host, and fork its workers from there (`isolation: process`). `auto`: unless the application then has connections open, which its copies would share.",
    default: "auto",
    "x-type": "`auto`, `true`, `false`",
    "x-expects": "auto, true or false",
  }),
  refork_after: count(
    "With a template: after so many requests a worker that is warm by then becomes the new template; 0 means never.",
    { default: 0 },
  ),
  paranoid: flag(
    "For development: look after each request at what it has left behind, and log it. Slow; `serve --paranoid` turns it on.",
    { default: false },
  ),
};

const worker = section("Worker mode, for pools that say nothing else under `worker`.", workerMode);

const cacheControlRule = Type.Object(
  {
    pattern: text("URL paths the rule is for; the first rule that matches wins.", {
      pattern: "^[/*]",
      "x-expects": "a glob that starts with / or *",
    }),
    value: text("The `Cache-Control` value to send.", {
      minLength: 1,
      pattern: HEADER_TEXT,
      "x-expects": "printable ASCII text",
    }),
  },
  { additionalProperties: false, "x-expects": "a map with pattern and value" },
);

const staticFiles = section("Files that are sent as they are.", {
  enabled: flag("Serve static files at all.", { default: true }),
  cache_size: size("Memory for small hot files; 0 turns the cache off.", { default: "32MiB" }),
  cache_max_file_size: size("Largest file that is kept in memory.", { default: "256KiB" }),
  cache_control: list("`Cache-Control` by URL path.", cacheControlRule, { default: [], "x-default": "none" }),
  precompressed: list(
    "Siblings to send in place of a file when the client takes them, best first.",
    choice("", ["br", "zst", "gz"], {}),
    {
      default: ["br", "zst", "gz"],
    },
  ),
  compress: flag(
    "Compress what has no such sibling, in the background, and keep the result in the cache: text and the like of " +
      "1 KiB to 8 MiB, with Brotli or gzip. Whoever asks before it is done gets the file as it is.",
    { default: true },
  ),
  etag: choice("Kind of `ETag` to send.", ["strong", "weak", "off"], { default: "strong" }),
});

const errorPages = Type.Record(
  Type.String({ pattern: "^[45]\\d\\d$" }),
  Type.String({ minLength: 1, "x-kind": "path", "x-expects": "a path" }),
  {
    description: "Files to answer with in place of the built-in pages, by status: `404: ./errors/404.html`.",
    default: {},
    additionalProperties: false,
    "x-names": "a status from 400 to 599",
    "x-expects": "a map of statuses to files",
  },
);

const workerRange = Type.Object(
  {
    min: count("Workers that always run.", { minimum: 1, maximum: 512 }),
    max: count("Workers at most.", { minimum: 1, maximum: 512 }),
  },
  { additionalProperties: false, "x-expects": "a map with min and max" },
);

/** The highest is kept for "no such id". */
const MAX_ID = 2 ** 32 - 2;

const account = (description: string, fallback: string) =>
  Type.Union([Type.String({ minLength: 1 }), Type.Integer({ minimum: 0, maximum: MAX_ID }), Type.Null()], {
    description,
    default: null,
    "x-default": fallback,
    "x-type": "name or id",
    "x-expects": "a name, a number or null",
  });

const pool = Type.Object(
  {
    name: text("Name of the pool, in logs and status.", {
      pattern: "^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$",
      "x-expects": "letters, digits, - and _ (32 at most)",
    }),
    isolation: Type.Union([...ISOLATIONS.map((value) => Type.Literal(value)), Type.Null()], {
      description: "What a worker of this pool is, in place of `php.isolation`.",
      default: null,
      "x-default": "`php.isolation`",
      "x-type": ISOLATIONS.map((value) => `\`${value}\``).join(", "),
      "x-expects": `one of ${ISOLATIONS.join(", ")}, or null`,
    }),
    mode: Type.Union([Type.Literal("worker"), Type.Literal("classic"), Type.Null()], {
      description:
        "`worker`: the application boots once and answers from memory. `classic`: each request runs a script from its top.",
      default: null,
      "x-default": "`worker` with a `worker_script`, else `classic`",
      "x-type": "`worker`, `classic`",
      "x-expects": "one of worker, classic, or null",
    }),
    worker_script: optionalPath(
      "Script that boots the application and then calls `phprun_handle_request()` in a loop. It answers every request of the pool that is no static file.",
      { default: null, "x-default": "none" },
    ),
    worker: section("Worker mode of this pool.", {
      reset: orNull(workerMode.reset, "`worker.reset`"),
      on_exception: orNull(workerMode.on_exception, "`worker.on_exception`"),
      boot_timeout_ms: orNull(workerMode.boot_timeout_ms, "`worker.boot_timeout_ms`"),
      boot_attempts: orNull(workerMode.boot_attempts, "`worker.boot_attempts`"),
      template: orNull(workerMode.template, "`worker.template`"),
      refork_after: orNull(workerMode.refork_after, "`worker.refork_after`"),
      paranoid: orNull(workerMode.paranoid, "`worker.paranoid`"),
    }),
    worker_count: Type.Union(
      [Type.Literal("auto"), Type.Integer({ minimum: 1, maximum: 512 }), workerRange],
      {
        description:
          "How many workers run: a number, `{ min, max }` to grow and shrink with the load, or `auto`.",
        default: "auto",
        "x-default": "`auto`: two per CPU, 2 at least",
        "x-expects": "a whole number from 1 to 512, { min, max }, or auto",
      },
    ),
    idle_timeout_ms: milliseconds("How long workers beyond `min` must have been unneeded before they end.", {
      default: 10_000,
      minimum: 100,
    }),
    memory_limit_mb: count(
      "Memory a worker may hold before it is replaced, after its request. Keep it above PHP's own `memory_limit`.",
      {
        default: 256,
        minimum: 1,
        maximum: 1_048_576,
        unit: "MB",
      },
    ),
    memory_kill_mb: Type.Union([Type.Integer({ minimum: 1, maximum: 2_097_152 }), Type.Null()], {
      description: "Memory a worker may hold before it is killed, with the request that it runs.",
      default: null,
      "x-default": "twice `memory_limit_mb`",
      "x-unit": "MB",
      "x-expects": "a whole number, 1 to 2097152, or null",
    }),
    max_requests: count(
      "Requests before a worker is replaced by a fresh one, as a net under slow leaks; 0 means never.",
      { default: 100_000 },
    ),
    timeout_ms: milliseconds(
      "How long a request may run, counted from the moment a worker takes it; then it ends with 504. 0 means no limit.",
      {
        default: 60_000,
      },
    ),
    kill_after_ms: milliseconds(
      "How long a request that is out of time may take to end by itself before its worker is killed.",
      {
        default: 5_000,
      },
    ),
    slow_ms: milliseconds(
      "Requests that run longer are logged with their PHP backtrace; 0 turns it off. Must be below `timeout_ms`.",
      { default: 0 },
    ),
    retry: flag(
      "Give a GET, HEAD or OPTIONS whose worker died before anything was sent a second worker, in place of 502.",
      { default: false },
    ),
    patterns: list(
      "URL paths that lead to this pool, as globs: `*` crosses slashes, `?` is one character, `{a,b}`, `[a-z]`. The first pool whose `patterns`, `hosts` and `methods` all match wins; the last one must take everything.",
      Type.String({ pattern: "^[/*]", "x-expects": "a glob that starts with / or *" }),
      { default: ["/*"] },
    ),
    hosts: list(
      "Host names that lead to this pool, as globs such as `*.example.com`, without port; empty takes every host.",
      Type.String({ minLength: 1, "x-expects": 'a host name or a glob such as "*.example.com"' }),
      { default: [], "x-default": "every host" },
    ),
    methods: list(
      "Request methods that lead to this pool; empty takes every method. HEAD is a method of its own beside GET.",
      Type.String({
        pattern: "^[!#$%&'+.^_`|~0-9A-Za-z-]+$",
        "x-expects": "a request method such as GET",
      }),
      { default: [], "x-default": "every method" },
    ),
    queue: section("Requests that wait for a worker.", {
      max: count("How many may wait; more get 503.", { default: 1000 }),
      timeout_ms: milliseconds("How long one may wait; then it gets 503.", { default: 10_000, minimum: 1 }),
    }),
    response_buffer_bytes: size(
      "How much of an answer is taken from the worker ahead of a slow reader and kept in memory.",
      { default: "1MiB" },
    ),
    response_spool_bytes: size(
      "How much more of it waits in an unlinked file in `server.spool_dir`, each answer; beyond that the worker waits. 0 uses no file.",
      { default: "1GiB" },
    ),
    nice: Type.Integer({
      description:
        "Nice value of the pool's processes: above 0 they give way to other pools. Below 0 only as root.",
      default: 0,
      minimum: -20,
      maximum: 19,
      "x-expects": "a whole number, -20 to 19",
    }),
    user: account(
      "Who the pool's processes run as. Only when phprun is started as root.",
      "whoever starts phprun",
    ),
    group: account("The group they run with, beside `user`.", "the user's own group"),
    cpu_affinity: Type.Union(
      [
        Type.String({ minLength: 1 }),
        Type.Integer({ minimum: 0 }),
        Type.Array(Type.Integer({ minimum: 0 })),
        Type.Null(),
      ],
      {
        description: 'Processors the pool may run on, such as `"0-3,5"` or `[0, 1]`.',
        default: null,
        "x-default": "all",
        "x-type": "list",
        "x-expects": 'processors such as "0-3,5" or [0, 1], or null',
      },
    ),
    emergency_restart: section("A burst of crashes that replaces all workers.", {
      threshold: count(
        "So many crashes (SIGSEGV, SIGBUS) within the interval replace all of the pool's workers and what they share, such as opcache; 0 means never.",
        { default: 10, maximum: 10_000 },
      ),
      interval_ms: milliseconds("The interval in which crashes are counted.", {
        default: 60_000,
        minimum: 1,
      }),
    }),
    ini: textMap("ini", "Overrides for php.ini, on top of those of `php`.", INI_NAMES),
    env: textMap("env", "Environment variables for PHP, on top of those of `php`.", ENV_NAMES),
  },
  { additionalProperties: false, "x-expects": "a map of keys" },
);

const health = section("What a reload asks of the new workers before they get requests.", {
  path: optionalText(
    "URL path that must answer with a status from 200 to 399; null: it is enough that PHP answers at all.",
    {
      default: null,
      pattern: "^/[\\x21-\\x22\\x24-\\x7e]*$",
      "x-default": "none",
      "x-expects": 'a URL path that starts with "/", or null',
    },
  ),
  timeout_ms: milliseconds("How long the answer may take.", { default: 10_000, minimum: 1 }),
});

const reload = section("What happens on SIGHUP or `phprun reload`.", {
  drain_timeout_ms: milliseconds(
    "How long the workers that are replaced may take to finish their requests; then they are killed.",
    { default: 60_000, minimum: 1 },
  ),
});

const fileGlobs = (description: string, globs: readonly string[]) =>
  list(description, Type.String({ minLength: 1, "x-expects": "a glob" }), { default: [...globs] });

const watch = section("What `phprun serve --watch` looks at. A change reloads the server.", {
  paths: Type.Union(
    [Type.Array(Type.String({ minLength: 1, "x-kind": "path", "x-expects": "a path" })), Type.Null()],
    {
      description: "Folders and files to look at.",
      default: null,
      "x-default": "the application's folder (the docroot, or the one above it) and this file",
      "x-type": "list",
      "x-expects": "a list of folders and files, or null",
    },
  ),
  include: fileGlobs("Files that matter, as globs relative to the folder.", WATCH_INCLUDE),
  ignore: fileGlobs("Files and folders that do not matter, even when they are included.", WATCH_IGNORE),
  debounce_ms: milliseconds("How long it must be quiet after a change.", { default: 150 }),
  poll_ms: milliseconds(
    "Look every so often, for file systems that do not tell of changes; 0 waits to be told.",
    { default: 0 },
  ),
});

const admin = section("A listener for monitoring: `/-/health`, `/-/ready` and `/-/status`.", {
  enabled: flag("Open it.", { default: false }),
  host: text("Address to listen on. Whoever reaches it sees the URLs of running requests.", {
    default: "127.0.0.1",
    minLength: 1,
    pattern: "^[^\\s/]+$",
    "x-expects": "an address or a host name",
  }),
  port: count("TCP port to listen on; 0 takes any free one.", { default: 9180, maximum: 65_535 }),
});

const logging = section("What is logged, and where to. SIGUSR1 opens the files anew.", {
  level: choice("Least important messages that are logged.", ["debug", "info", "warn", "error"], {
    default: "info",
  }),
  format: choice("Form of the error log: `pretty` for people, `json` for machines.", ["pretty", "json"], {
    default: "pretty",
  }),
  file: optionalPath("Error log file.", { default: null, "x-default": "standard error" }),
  access: flag("Write an access log.", { default: true }),
  access_format: choice("Form of the access log.", ["common", "combined", "json"], { default: "common" }),
  access_file: optionalPath("Access log file.", { default: null, "x-default": "standard output" }),
});

export const ConfigSchema = Type.Object(
  {
    server,
    php,
    static: staticFiles,
    error_pages: errorPages,
    worker,
    pools: Type.Array(pool, {
      description: "Groups of workers with limits of their own, chosen by URL path, host and method.",
      minItems: 1,
      maxItems: 64,
      default: [{ name: "default" }],
      "x-default": "one pool named `default`",
      "x-expects": "a list of one to 64 pools",
    }),
    health,
    reload,
    watch,
    admin,
    logging,
  },
  {
    $id: "phprun.schema.json",
    title: "phprun configuration",
    description:
      "Relative paths in a file start at the file's folder, or at that folder's parent when it is named `config`. " +
      "In environment variables and flags they start at the current folder.",
    default: {},
    additionalProperties: false,
    "x-expects": "a map of keys",
  },
);

/** A configuration as written in YAML, with every default filled in. */
export type ConfigTree = Static<typeof ConfigSchema>;
export type PoolTree = ConfigTree["pools"][number];

/** The same schema, seen as data to walk over. */
export const rootField: Field = ConfigSchema;
