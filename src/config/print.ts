import { stringify } from "yaml";
import type { AdminConfig, Config, PoolConfig, WorkerModeConfig } from "./config.ts";
import { formatCpuList } from "./cpu-list.ts";
import { formatListen } from "./listen.ts";
import type { ConfigTree, PoolTree } from "./schema.ts";
import { formatSize } from "./size.ts";

const MIB = 1024 * 1024;

/** A settled configuration as it would be written: with every default, and all paths absolute. */
export function printConfig(config: Config): string {
  const tree = toTree(config);
  return stringify(tree, { lineWidth: 0, aliasDuplicateObjects: false });
}

type Printed = Omit<ConfigTree, "server"> & { server: Omit<ConfigTree["server"], "host" | "port"> };

export function toTree(config: Config): Printed {
  const { server, php, watch, logging } = config;
  const body = server.clientMaxBodyBytes;
  return {
    server: {
      listen: server.listeners.map(formatListen),
      client_max_body_size: formatSize(body),
      trusted_proxies: [...server.trustedProxies],
      keep_alive_timeout_ms: server.keepAliveTimeoutMs,
      receive_timeout_ms: server.receiveTimeoutMs,
      send_timeout_ms: server.sendTimeoutMs,
      stop_timeout_ms: server.stopTimeoutMs,
      request_id: server.requestId,
      spool_dir: server.spoolDir,
      control_socket: server.controlSocket ?? "off",
      memory_warn_mb: Number.isFinite(server.memoryWarnBytes) ? server.memoryWarnBytes / MIB : 0,
      pid_file: server.pidFile,
      server_header: server.serverHeader,
    },
    php: {
      docroot: php.docroot,
      libphp: php.libphp,
      isolation: php.isolation,
      thread_stack_size: formatSize(php.threadStackBytes),
      front_controller: php.frontController,
      script_extensions: [...php.scriptExtensions],
      index_files: [...php.indexFiles],
      symlinks: typeof php.symlinks === "string" ? php.symlinks : [...php.symlinks],
      ini: { ...php.ini },
      env: { ...php.env },
      clear_env: php.clearEnv,
      sapi_name: php.sapiName,
      json_post: php.jsonPost,
      compat: [...php.compat],
    },
    static: {
      enabled: config.static.enabled,
      cache_size: formatSize(config.static.cacheBytes),
      cache_max_file_size: formatSize(config.static.cacheMaxFileBytes),
      cache_control: config.static.cacheControl.map((rule) => ({ ...rule })),
      precompressed: config.static.precompressed.map((suffix) => suffix.slice(1) as "br" | "zst" | "gz"),
      compress: config.static.compress,
      etag: config.static.etag,
    },
    error_pages: { ...config.errorPages },
    worker: workerModeTree(config.worker),
    pools: config.pools.map(poolTree),
    health: { path: config.health.path, timeout_ms: config.health.timeoutMs },
    reload: { drain_timeout_ms: config.reload.drainTimeoutMs },
    watch: {
      paths: [...watch.paths],
      include: [...watch.include],
      ignore: [...watch.ignore],
      debounce_ms: watch.debounceMs,
      poll_ms: watch.pollMs,
    },
    admin: adminTree(config.admin),
    logging: {
      level: logging.level,
      format: logging.format,
      file: logging.file,
      access: logging.access,
      access_format: logging.accessFormat,
      access_file: logging.accessFile,
    },
  };
}

/** Where a listener that is off would be does not outlive settling, so its defaults stand in. */
function adminTree({ listener }: AdminConfig): ConfigTree["admin"] {
  const { host, port } = listener?.kind === "tcp" ? listener : { host: "127.0.0.1", port: 9180 };
  return { enabled: listener !== null, host, port };
}

function workerModeTree(worker: WorkerModeConfig): ConfigTree["worker"] {
  return {
    reset: [...worker.reset],
    on_exception: worker.onException,
    boot_timeout_ms: worker.bootTimeoutMs,
    boot_attempts: worker.bootAttempts,
    template: worker.template,
    refork_after: worker.reforkAfter,
    paranoid: worker.paranoid,
  };
}

function poolTree(pool: PoolConfig): PoolTree {
  const { min, max } = pool.workers;
  return {
    name: pool.name,
    isolation: pool.isolation,
    mode: pool.mode,
    worker_script: pool.workerScript,
    worker: workerModeTree(pool.worker),
    worker_count: min === max ? min : { min, max },
    idle_timeout_ms: pool.idleTimeoutMs,
    memory_limit_mb: pool.memoryLimitBytes / MIB,
    memory_kill_mb: pool.memoryKillBytes / MIB,
    max_requests: pool.maxRequests,
    timeout_ms: pool.timeoutMs,
    kill_after_ms: pool.killAfterMs,
    slow_ms: pool.slowMs,
    retry: pool.retry,
    patterns: [...pool.patterns],
    hosts: [...pool.hosts],
    methods: [...pool.methods],
    queue: { max: pool.queue.max, timeout_ms: pool.queue.timeoutMs },
    response_buffer_bytes: formatSize(pool.responseBufferBytes),
    response_spool_bytes: formatSize(pool.responseSpoolBytes),
    nice: pool.nice,
    user: pool.runAs?.name ?? null,
    group: pool.runAs?.gid ?? null,
    cpu_affinity: pool.cpuAffinity.length === 0 ? null : formatCpuList(pool.cpuAffinity),
    emergency_restart: {
      threshold: pool.emergencyRestart.threshold,
      interval_ms: pool.emergencyRestart.intervalMs,
    },
    ini: { ...pool.ini },
    env: { ...pool.env },
  };
}
