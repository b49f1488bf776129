import type { FFIFunction } from "bun:ffi";

/** ffi/transport/transport.h and system.h, line for line. */
export const transportSymbols = {
  phprun_transport_abi: { args: [], returns: "u32" },
  phprun_transport_layout: {
    args: [
      "ptr", // uint32_t *out
      "u32", // uint32_t count
    ],
    returns: "i32", // count, or -EPROTO
  },
  phprun_pool_create: {
    args: [
      "u32", // uint32_t slots
      "u32", // uint32_t workers
      "u32", // uint32_t request_bytes
      "u32", // uint32_t response_bytes
    ],
    returns: "i32", // descriptor, or -errno
  },
  phprun_pool_map: { args: ["i32"], returns: "ptr" }, // NULL on failure
  phprun_pool_unmap: { args: ["ptr"], returns: "void" },
  phprun_pool_base: { args: ["ptr"], returns: "ptr" },
  phprun_submit: { args: ["ptr", "u32"], returns: "i32" },
  phprun_wake_one_worker: { args: ["ptr"], returns: "void" },
  phprun_begin_drain: { args: ["ptr"], returns: "void" },
  phprun_next_completed: { args: ["ptr"], returns: "i32" }, // slot, or -1
  phprun_consume: {
    args: [
      "ptr",
      "u32", // uint32_t slot
      "u32", // uint32_t bytes
    ],
    returns: "void",
  },
  phprun_client_gone: { args: ["ptr", "u32"], returns: "void" },
  phprun_deadline: { args: ["ptr", "u32"], returns: "void" },
  phprun_withdraw: { args: ["ptr", "u32"], returns: "i32" }, // 1, or 0 when a worker has it
  phprun_release: { args: ["ptr", "u32"], returns: "void" },
  phprun_worker_retire: { args: ["ptr", "u32"], returns: "void" },
  phprun_set_memory_limit: {
    args: [
      "ptr",
      "f64", // double bytes
    ],
    returns: "void",
  },
  phprun_set_memory_kill: {
    args: [
      "ptr",
      "f64", // double bytes
    ],
    returns: "void",
  },
  phprun_worker_look: {
    args: [
      "ptr",
      "u32", // uint32_t worker
      "u32", // uint32_t id
    ],
    returns: "void",
  },
  phprun_worker_overdue: { args: ["ptr", "u32"], returns: "void" },
  phprun_worker_bury: { args: ["ptr", "u32"], returns: "i32" }, // slot it ran, or -1
  phprun_resubmit_orphans: { args: ["ptr"], returns: "i32" },
  phprun_socketpair: { args: ["ptr"], returns: "i32" }, // int32_t out[2]
  phprun_punch: {
    args: [
      "i32", // int32_t fd
      "f64", // double offset
      "f64", // double bytes
    ],
    returns: "i32",
  },
  phprun_raise_open_files: { args: [], returns: "f64" },
  phprun_open_global: {
    args: [
      "ptr", // const char *path
      "ptr", // char *error
      "u32", // uint32_t cap
    ],
    returns: "i32", // 0, or the length of the message in `error`
  },
  phprun_limit_open_files: { args: ["f64"], returns: "f64" }, // what it is now, or -errno
  phprun_notify: {
    args: [
      "ptr", // const char *address
      "ptr", // const uint8_t *message
      "u32", // uint32_t bytes
    ],
    returns: "i32",
  },
  phprun_try_socket: { args: ["ptr"], returns: "i32" },
  phprun_monotonic_us: { args: [], returns: "f64" },
  phprun_listener_address: {
    args: [
      "i32", // int32_t fd
      "ptr", // char *out
      "u32", // uint32_t cap
    ],
    returns: "i32", // length, or -errno
  },
  phprun_make_private: { args: ["i32"], returns: "i32" },
  phprun_replace_watched: {
    args: [
      "i32", // int32_t epoll
      "i32", // int32_t fd
      "i32", // int32_t given
      "u32", // uint32_t events
      "u32", // uint32_t data_low
      "u32", // uint32_t data_high
    ],
    returns: "i32",
  },
  phprun_reap: { args: ["i32"], returns: "i32" }, // 1, or 0 when it still runs
  phprun_set_nice: { args: ["i32"], returns: "i32" },
  phprun_set_affinity: {
    args: [
      "ptr", // const int32_t *processors
      "u32", // uint32_t count
    ],
    returns: "i32",
  },
  phprun_become_user: {
    args: [
      "ptr", // const char *name
      "u32", // uint32_t uid
      "u32", // uint32_t gid
      "ptr", // char *error
      "u32", // uint32_t cap
    ],
    returns: "i32", // 0, or the length of the message in `error`
  },
  phprun_die_with_parent: { args: ["i32"], returns: "i32" },
  phprun_home_of: {
    args: [
      "u32", // uint32_t uid
      "ptr", // char *out
      "u32", // uint32_t cap
    ],
    returns: "i32", // length, or -errno
  },
} as const satisfies Record<string, FFIFunction>;

/** What a Bun Worker of a host needs of ffi/php/php.h. */
export const phpThreadSymbols = {
  phprun_socketpair: { args: ["ptr"], returns: "i32" }, // int32_t out[2]
  phprun_thread_start: {
    args: [
      "u32", // uint32_t worker
      "u32", // uint32_t generation
      "i32", // int32_t life_fd
    ],
    returns: "i32", // thread id, or -errno
  },
  phprun_thread_join: { args: ["u32"], returns: "void" },
} as const satisfies Record<string, FFIFunction>;

/** ffi/php/php.h, line for line. */
export const phpSymbols = {
  phprun_php_abi: { args: [], returns: "u32" },
  phprun_php_built_for: { args: ["ptr"], returns: "void" }, // uint32_t out[4]
  phprun_php_start: {
    args: [
      "ptr", // const char *ini_entries
      "ptr", // const char *sapi_name
      "ptr", // const char *pool_name
      "u32", // uint32_t options
      "i32", // int32_t log_fd
    ],
    returns: "i32",
  },
  phprun_app_configure: {
    args: [
      "ptr", // const char *script
      "ptr", // const char *script_name
      "ptr", // const char *document_root
      "u32", // uint32_t options
    ],
    returns: "void",
  },
  phprun_php_evaluate: {
    args: [
      "ptr", // const char *code
      "ptr", // char *out
      "u32", // uint32_t cap
    ],
    returns: "i32", // length, or -errno
  },
  phprun_host_run: {
    args: [
      "i32", // int32_t pool_fd
      "i32", // int32_t control_fd
      "i32", // int32_t wake_fd
      "i32", // int32_t spool_fd
      "u32", // uint32_t options
    ],
    returns: "i32",
  },
  phprun_threads_open: {
    args: [
      "i32", // int32_t pool_fd
      "i32", // int32_t wake_fd
      "i32", // int32_t spool_fd
      "u32", // uint32_t options
      "f64", // double stack_bytes
    ],
    returns: "i32",
  },
  ...phpThreadSymbols,
  phprun_thread_deadline: { args: ["u32"], returns: "void" },
  phprun_threads_measure: { args: [], returns: "void" },
  phprun_exit_now: { args: ["i32"], returns: "void" },
} as const satisfies Record<string, FFIFunction>;
