/** Where phprun listens: a TCP address, or a unix socket. */
export type Listener =
  | { readonly kind: "tcp"; readonly host: string; readonly port: number }
  | { readonly kind: "unix"; readonly path: string };

/** A `Cache-Control` value for the static files whose URL path matches `pattern`. */
export interface CacheControlRule {
  readonly pattern: string;
  readonly value: string;
}

export interface ServerConfig {
  readonly listeners: readonly Listener[];
  readonly clientMaxBodyBytes: number;
  /** CIDR blocks or addresses whose `Forwarded` / `X-Forwarded-*` headers are believed. */
  readonly trustedProxies: readonly string[];
  readonly keepAliveTimeoutMs: number;
  /** How long a client may stay silent while it sends headers or a body. */
  readonly receiveTimeoutMs: number;
  /** How long a client may take nothing of a waiting response. */
  readonly sendTimeoutMs: number;
  /** How long running requests may take to finish after SIGTERM. */
  readonly stopTimeoutMs: number;
  readonly requestId: boolean;
  /** Folder for the unlinked file that large request bodies are spooled to. */
  readonly spoolDir: string;
  /** Unix socket for `phprun status`, `reload` and `stop`: a path, "auto", or null for none. */
  readonly controlSocket: string | null;
  /** The front's own memory above which a warning is logged. */
  readonly memoryWarnBytes: number;
  /** File that receives the front's pid, for `phprun stop`; null for none. */
  readonly pidFile: string | null;
  /** Extra `Server:` product token; null sends no Server header. */
  readonly serverHeader: string | null;
}

export type Isolation = "process" | "thread" | "auto";

export interface PhpConfig {
  /** Absolute, as configured (symlinks are resolved by the router). */
  readonly docroot: string;
  /** A path, or "auto". */
  readonly libphp: string;
  /** What workers are, for pools that say nothing else; auto: threads when libphp is thread-safe. */
  readonly isolation: Isolation;
  /** Of each worker that is a thread. */
  readonly threadStackBytes: number;
  /** Script for what matches nothing else, relative to the docroot; null turns it off. */
  readonly frontController: string | null;
  /** Extensions that run as PHP, with their dot: [".php"]. */
  readonly scriptExtensions: readonly string[];
  readonly indexFiles: readonly string[];
  /** Where symbolic links may lead: inside the docroot, everywhere, or into these folders too. */
  readonly symlinks: "inside" | "all" | readonly string[];
  /** Overrides for php.ini, as strings. */
  readonly ini: Readonly<Record<string, string>>;
  readonly env: Readonly<Record<string, string>>;
  /** Hide the environment phprun was started in from scripts. */
  readonly clearEnv: boolean;
  /** What php_sapi_name() says: "phprun", or "fpm-fcgi" for code that insists. */
  readonly sapiName: "phprun" | "fpm-fcgi";
  /** Parse JSON request bodies into $_POST. */
  readonly jsonPost: boolean;
  /** Other servers whose functions exist under their names too. */
  readonly compat: readonly "frankenphp"[];
}

export interface StaticConfig {
  readonly enabled: boolean;
  /** Memory for small hot files; 0 turns the cache off. */
  readonly cacheBytes: number;
  readonly cacheMaxFileBytes: number;
  readonly cacheControl: readonly CacheControlRule[];
  /** Siblings to look for, best first: [".br", ".zst", ".gz"]. */
  readonly precompressed: readonly string[];
  /** Make compressed forms of hot files that have no sibling. */
  readonly compress: boolean;
  readonly etag: "strong" | "weak" | "off";
}

/** What requests of a pool in worker mode find as it was after the boot. */
export type ResetKind = "ini" | "env" | "cwd" | "error_handlers" | "timezone" | "locale";

export interface WorkerModeConfig {
  readonly reset: readonly ResetKind[];
  /** What an uncaught exception does to the worker. */
  readonly onException: "keep" | "recycle";
  /** To the script's first phprun_handle_request(), and from its last one to its end. */
  readonly bootTimeoutMs: number;
  /** Boots that fail in a row before a start or a reload is refused. */
  readonly bootAttempts: number;
  /** Fork workers from a host whose application has booted; auto: unless that has connections open. */
  readonly template: "auto" | boolean;
  /** Requests after which a worker becomes the new template; 0: never. */
  readonly reforkAfter: number;
  /** Log what each request leaves behind. */
  readonly paranoid: boolean;
}

export interface PoolConfig {
  readonly name: string;
  readonly mode: "classic" | "worker";
  /** Absolute; null in a pool that has none, which is in classic mode. */
  readonly workerScript: string | null;
  readonly worker: WorkerModeConfig;
  readonly isolation: Isolation;
  readonly workers: { readonly min: number; readonly max: number };
  /** How long workers beyond `min` must have been unneeded before they end. */
  readonly idleTimeoutMs: number;
  /** A worker's own memory above which it is replaced after its request. */
  readonly memoryLimitBytes: number;
  /** A worker's own memory above which it is killed at once. */
  readonly memoryKillBytes: number;
  /** 0 means never. */
  readonly maxRequests: number;
  /** From dispatch to PHP's own fatal error and 504; 0 means none. */
  readonly timeoutMs: number;
  /** From the soft deadline to SIGKILL. */
  readonly killAfterMs: number;
  /** Requests that run longer are logged with their PHP backtrace; 0 turns it off. */
  readonly slowMs: number;
  /** Give a safe request whose worker died, and of which nothing was sent, a second worker. */
  readonly retry: boolean;
  /** Glob patterns of paths. */
  readonly patterns: readonly string[];
  /** Glob patterns of host names, without port; empty matches every host. */
  readonly hosts: readonly string[];
  /** Request methods in upper case; empty matches every method. */
  readonly methods: readonly string[];
  readonly queue: { readonly max: number; readonly timeoutMs: number };
  /** Bytes of a streamed response the front takes ahead of a slow reader. */
  readonly responseBufferBytes: number;
  /** Bytes beyond those that wait in a file for a slow reader, each answer; 0: its worker waits instead. */
  readonly responseSpoolBytes: number;
  /** Nice value of the host and its workers, -20 to 19. */
  readonly nice: number;
  /** Who the host and its workers run as; null: whoever started phprun. */
  readonly runAs: { readonly name: string; readonly uid: number; readonly gid: number } | null;
  /** Processors the host and its workers may run on; empty: all. */
  readonly cpuAffinity: readonly number[];
  /** So many crashes (SIGSEGV, SIGBUS) within the interval replace the whole generation; threshold 0: never. */
  readonly emergencyRestart: { readonly threshold: number; readonly intervalMs: number };
  readonly ini: Readonly<Record<string, string>>;
  readonly env: Readonly<Record<string, string>>;
}

/** What a new generation must answer before it gets traffic. */
export interface HealthConfig {
  /** URL path of a script that must answer with 200 to 399; null: PHP's own answer will do. */
  readonly path: string | null;
  readonly timeoutMs: number;
}

export interface ReloadConfig {
  /** How long an old generation may take to finish its requests. */
  readonly drainTimeoutMs: number;
}

/** What `serve --watch` looks at. */
export interface WatchConfig {
  /** Folders and files, absolute. */
  readonly paths: readonly string[];
  /** Globs of files that matter, relative to the watched folder. */
  readonly include: readonly string[];
  /** Globs of files and folders that do not. */
  readonly ignore: readonly string[];
  readonly debounceMs: number;
  /** Look every so often instead of being told by the system; 0: be told. */
  readonly pollMs: number;
}

export interface AdminConfig {
  /** Where `/-/health`, `/-/ready` and `/-/status` are served; null: nowhere. */
  readonly listener: Listener | null;
}

export interface LoggingConfig {
  readonly level: "debug" | "info" | "warn" | "error";
  readonly format: "pretty" | "json";
  /** Error log file; null is stderr. */
  readonly file: string | null;
  readonly access: boolean;
  readonly accessFormat: "common" | "combined" | "json";
  /** Access log file; null is stdout. */
  readonly accessFile: string | null;
}

/** The settled configuration: every default applied, every unit converted, frozen. */
export interface Config {
  /** The file it was read from, absolute; null when there is none. */
  readonly source: string | null;
  readonly server: ServerConfig;
  readonly php: PhpConfig;
  readonly static: StaticConfig;
  /** Files to answer with in place of the built-in page, by status. */
  readonly errorPages: Readonly<Record<number, string>>;
  readonly worker: WorkerModeConfig;
  readonly pools: readonly PoolConfig[];
  readonly health: HealthConfig;
  readonly reload: ReloadConfig;
  readonly watch: WatchConfig;
  readonly admin: AdminConfig;
  readonly logging: LoggingConfig;
}
