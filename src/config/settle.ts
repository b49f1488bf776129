import { statSync } from "node:fs";
import { tmpdir } from "node:os";
import { resolve } from "node:path";
import type { Config, Isolation, Listener, PoolConfig, WorkerModeConfig } from "./config.ts";
import { findRunAs } from "./accounts.ts";
import { cpuCount } from "./cpu-count.ts";
import { parseCpuList } from "./cpu-list.ts";
import { withoutBrackets } from "./listen.ts";
import type { ConfigTree, PoolTree } from "./schema.ts";
import { LARGEST_BODY, parseSize } from "./size.ts";
import { defaultWatchPaths } from "./watch-defaults.ts";
import { isWritable } from "./writable.ts";

const MIB = 1024 * 1024;

/** Convert a valid tree to the Config that the rest of phprun reads: units in bytes and ms, nothing left open. */
export function settle(
  tree: ConfigTree,
  listeners: readonly Listener[],
  source: string | null,
  cwd: string,
): Config {
  const { server, php, watch, admin, logging } = tree;
  const docroot = php.docroot ?? defaultDocroot(cwd);
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
      controlSocket: server.control_socket === "off" ? null : server.control_socket,
      memoryWarnBytes: server.memory_warn_mb === 0 ? Infinity : server.memory_warn_mb * MIB,
      pidFile: server.pid_file,
      serverHeader: server.server_header,
    },
    php: {
      docroot,
      libphp: php.libphp,
      isolation: php.isolation,
      threadStackBytes: bytes(php.thread_stack_size),
      frontController: php.front_controller,
      scriptExtensions: php.script_extensions,
      indexFiles: php.index_files,
      symlinks: php.symlinks,
      ini: iniText(php.ini),
      env: envText(php.env),
      clearEnv: php.clear_env,
      sapiName: php.sapi_name,
      jsonPost: php.json_post,
      compat: php.compat,
    },
    static: {
      enabled: tree.static.enabled,
      cacheBytes: bytes(tree.static.cache_size),
      cacheMaxFileBytes: bytes(tree.static.cache_max_file_size),
      cacheControl: tree.static.cache_control,
      precompressed: tree.static.precompressed.map((name) => `.${name}`),
      compress: tree.static.compress,
      etag: tree.static.etag,
    },
    errorPages: tree.error_pages,
    worker: settleWorkerMode(tree.worker),
    pools: tree.pools.map((pool) => settlePool(pool, php.isolation, tree.worker)),
    health: { path: tree.health.path, timeoutMs: tree.health.timeout_ms },
    reload: { drainTimeoutMs: tree.reload.drain_timeout_ms },
    watch: {
      paths:
        watch.paths ??
        defaultWatchPaths(
          docroot,
          source,
          tree.pools.flatMap((pool) => pool.worker_script ?? []),
        ),
      include: watch.include,
      ignore: watch.ignore,
      debounceMs: watch.debounce_ms,
      pollMs: watch.poll_ms,
    },
    admin: {
      listener: admin.enabled ? { kind: "tcp", host: withoutBrackets(admin.host), port: admin.port } : null,
    },
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

function settleWorkerMode(worker: ConfigTree["worker"]): WorkerModeConfig {
  return {
    reset: worker.reset,
    onException: worker.on_exception,
    bootTimeoutMs: worker.boot_timeout_ms,
    bootAttempts: worker.boot_attempts,
    template: worker.template,
    reforkAfter: worker.refork_after,
    paranoid: worker.paranoid,
  };
}

/** What a pool says of worker mode itself, over what is said for all. */
function workerModeOf(pool: PoolTree, common: ConfigTree["worker"]): WorkerModeConfig {
  const own = Object.fromEntries(Object.entries(pool.worker).filter(([, value]) => value !== null));
  return settleWorkerMode({ ...common, ...own });
}

function settlePool(pool: PoolTree, isolation: Isolation, common: ConfigTree["worker"]): PoolConfig {
  const count = pool.worker_count === "auto" ? Math.max(2, cpuCount() * 2) : pool.worker_count;
  const runAs = findRunAs(pool.user, pool.group);
  const cpus = pool.cpu_affinity === null ? [] : parseCpuList(pool.cpu_affinity);
  return {
    name: pool.name,
    isolation: pool.isolation ?? isolation,
    mode: pool.mode ?? (pool.worker_script === null ? "classic" : "worker"),
    workerScript: pool.worker_script,
    worker: workerModeOf(pool, common),
    workers: typeof count === "number" ? { min: count, max: count } : { min: count.min, max: count.max },
    idleTimeoutMs: pool.idle_timeout_ms,
    memoryLimitBytes: pool.memory_limit_mb * MIB,
    memoryKillBytes: (pool.memory_kill_mb ?? 2 * pool.memory_limit_mb) * MIB,
    maxRequests: pool.max_requests,
    timeoutMs: pool.timeout_ms,
    killAfterMs: pool.kill_after_ms,
    slowMs: pool.slow_ms,
    retry: pool.retry,
    patterns: pool.patterns,
    hosts: pool.hosts.map((host) => host.toLowerCase()),
    methods: pool.methods.map((method) => method.toUpperCase()),
    queue: { max: pool.queue.max, timeoutMs: pool.queue.timeout_ms },
    responseBufferBytes: bytes(pool.response_buffer_bytes),
    responseSpoolBytes: bytes(pool.response_spool_bytes),
    nice: pool.nice,
    // What is wrong with an account or a processor has its message in the cross checks.
    runAs: runAs !== null && "rule" in runAs ? null : runAs,
    cpuAffinity: typeof cpus === "string" ? [] : cpus,
    emergencyRestart: {
      threshold: pool.emergency_restart.threshold,
      intervalMs: pool.emergency_restart.interval_ms,
    },
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
