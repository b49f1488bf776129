import { statSync } from "node:fs";
import { tmpdir } from "node:os";
import { resolve } from "node:path";
import type { Config, Listener, PoolConfig } from "./config.ts";
import { cpuCount } from "./cpu-count.ts";
import type { ConfigTree, PoolTree } from "./schema.ts";
import { LARGEST_BODY, parseSize } from "./size.ts";
import { isWritable } from "./writable.ts";

/** Convert a valid tree to the Config that the rest of phprun reads: units in bytes and ms, nothing left open. */
export function settle(
  tree: ConfigTree,
  listeners: readonly Listener[],
  source: string | null,
  cwd: string,
): Config {
  const { server, php, logging } = tree;
  const bodyBytes = bytes(server.client_max_body_size);
  return deepFreeze({
    source,
    server: {
      listeners,
      clientMaxBodyBytes: bodyBytes === 0 ? LARGEST_BODY : Math.min(bodyBytes, LARGEST_BODY),
      trustedProxies: server.trusted_proxies,
      keepAliveTimeoutMs: server.keep_alive_timeout_ms,
      receiveTimeoutMs: server.receive_timeout_ms,
      sendTimeoutMs: server.send_timeout_ms,
      stopTimeoutMs: server.stop_timeout_ms,
      requestId: server.request_id,
      spoolDir: server.spool_dir ?? defaultSpoolDir(),
      controlSocket: "auto",
      memoryWarnBytes: 1024 * 1024 * 1024,
      pidFile: server.pid_file,
      serverHeader: server.server_header,
    },
    php: {
      docroot: php.docroot ?? defaultDocroot(cwd),
      libphp: php.libphp,
      isolation: php.isolation,
      frontController: php.front_controller,
      scriptExtensions: php.script_extensions,
      indexFiles: php.index_files,
      symlinks: php.symlinks,
      ini: iniText(php.ini),
      env: envText(php.env),
      clearEnv: php.clear_env,
      sapiName: php.sapi_name,
      jsonPost: php.json_post,
    },
    static: {
      enabled: tree.static.enabled,
      cacheBytes: bytes(tree.static.cache_size),
      cacheMaxFileBytes: bytes(tree.static.cache_max_file_size),
      cacheControl: tree.static.cache_control,
      precompressed: tree.static.precompressed.map((name) => `.${name}`),
      etag: tree.static.etag,
    },
    errorPages: tree.error_pages,
    pools: tree.pools.map((pool) => settlePool(pool)),
    health: { path: null, timeoutMs: 10_000 },
    reload: { drainTimeoutMs: 60_000 },
    watch: { paths: [], include: [], ignore: [], debounceMs: 150, pollMs: 0 },
    admin: { listener: null },
    logging: {
      level: logging.level,
      format: logging.format,
      file: logging.file,
      access: logging.access,
      accessFormat: logging.access_format,
      accessFile: logging.access_file,
    },
  });
}

function settlePool(pool: PoolTree): PoolConfig {
  const count = pool.worker_count === "auto" ? Math.max(2, cpuCount() * 2) : pool.worker_count;
  return {
    name: pool.name,
    workers: typeof count === "number" ? { min: count, max: count } : { min: count.min, max: count.max },
    idleTimeoutMs: 10_000,
    memoryLimitBytes: pool.memory_limit_mb * 1024 * 1024,
    memoryKillBytes: 2 * pool.memory_limit_mb * 1024 * 1024,
    maxRequests: pool.max_requests,
    timeoutMs: pool.timeout_ms,
    killAfterMs: pool.kill_after_ms,
    slowMs: 0,
    retry: false,
    patterns: pool.patterns,
    hosts: [],
    methods: [],
    queue: { max: pool.queue.max, timeoutMs: pool.queue.timeout_ms },
    responseBufferBytes: bytes(pool.response_buffer_bytes),
    nice: 0,
    runAs: null,
    cpuAffinity: [],
    emergencyRestart: { threshold: 10, intervalMs: 60_000 },
    ini: iniText(pool.ini),
    env: envText(pool.env),
  };
}

type Scalars = Readonly<Record<string, string | number | boolean>>;

const iniText = (map: Scalars) =>
  mapValues(map, (value) => (typeof value === "boolean" ? (value ? "1" : "0") : String(value)));
const envText = (map: Scalars) => mapValues(map, String);

function mapValues(
  map: Scalars,
  convert: (value: string | number | boolean) => string,
): Record<string, string> {
  return Object.fromEntries(Object.entries(map).map(([name, value]) => [name, convert(value)]));
}

/** A size too large to count has been reported by the cross checks by now. */
const bytes = (size: string | number): number => parseSize(size) ?? Number.MAX_SAFE_INTEGER;

/** Without a docroot in the configuration, `./public` is served if there is one, else the current folder. */
function defaultDocroot(cwd: string): string {
  const folder = resolve(cwd, "public");
  return statSync(folder, { throwIfNoEntry: false })?.isDirectory() ? folder : cwd;
}

/** The first of the usual temporary folders that can be written to. */
function defaultSpoolDir(): string {
  const folders = [tmpdir(), "/tmp", "/var/tmp", "/dev/shm"];
  return folders.find(isWritable) ?? tmpdir();
}

function deepFreeze<T>(value: T): T {
  if (typeof value === "object" && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    Object.values(value).forEach(deepFreeze);
  }
  return value;
}
