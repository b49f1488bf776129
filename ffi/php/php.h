/*
 * What a host calls: PHP brought up once by libphp, then a fork server whose children serve requests.
 *
 * The shim does not link libphp. The host opens the chosen libphp for the whole process first
 * (phprun_open_global), so one build of the shim serves any libphp of the same API number.
 */
#ifndef PHPRUN_PHP_H
#define PHPRUN_PHP_H

#include "../transport/transport.h"

/* Grows with every change of a signature or of the request block; ffi/library.ts compares it at load. */
#define PHPRUN_PHP_ABI 5u

/* Status of a worker in which an extension or a library called exit(). */
#define PHPRUN_EXIT_CALLED 250
/* Status of a worker, or of a template, whose worker script ended before it asked for a request. */
#define PHPRUN_EXIT_BOOT 251
/* Status of a template whose application has connections open that its copies would share. */
#define PHPRUN_EXIT_CONNECTIONS 252

/* Options of phprun_host_run() and phprun_threads_open() */
#define PHPRUN_HOST_SLOW_LOG 1u /* workers can be asked where they are (phprun_worker_look) */

/* phprun_slot.options */
#define PHPRUN_REQUEST_HTTPS 1u
#define PHPRUN_REQUEST_PROBE 2u /* no script: PHP itself answers that it runs */

/*
 * The request block: NUL-terminated values one after the other. First these, in this order (empty when
 * absent), then name, value, name, value, … for everything else. No value can hold a NUL: the front refuses
 * such requests, and the count of values in the slot must match.
 * The order is that of REQUEST_FIELDS in src/http/request-block.ts.
 */
enum phprun_field {
    FIELD_REQUEST_METHOD,
    FIELD_REQUEST_URI,
    FIELD_QUERY_STRING,
    FIELD_SCRIPT_FILENAME,
    FIELD_SCRIPT_NAME,
    FIELD_PATH_INFO,
    FIELD_DOCUMENT_ROOT,
    FIELD_CONTENT_TYPE,
    FIELD_CONTENT_LENGTH,
    FIELD_SERVER_PROTOCOL,
    FIELD_REQUEST_SCHEME,
    FIELD_SERVER_NAME,
    FIELD_SERVER_ADDR,
    FIELD_SERVER_PORT,
    FIELD_REMOTE_ADDR,
    FIELD_REMOTE_PORT,
    FIELD_HTTP_HOST,
    FIELD_HTTP_COOKIE,
    FIELD_HTTP_AUTHORIZATION,
    FIELD_COUNT,
};

PHPRUN_API uint32_t phprun_php_abi(void);

/* Fills out[0..3] with what the shim was compiled for: ZEND_MODULE_API_NO, ZTS, debug; and PHP_VERSION_ID. */
PHPRUN_API void phprun_php_built_for(uint32_t *out);

/*
 * Brings PHP up (module start-up). Once per process, on its main thread. Strings are copied.
 * The caller has made sure that libphp is of the API the shim was built for. Returns 0, or -EIO when PHP did
 * not start (the reason has gone to the log).
 */
PHPRUN_API int32_t phprun_php_start(const char *ini_entries, const char *sapi_name, const char *pool_name,
                                    uint32_t options, int32_t log_fd);

/* Options of phprun_php_start() */
#define PHPRUN_PHP_JSON_POST 1u /* JSON bodies are parsed into $_POST */
#define PHPRUN_PHP_THREADS 2u   /* workers will be threads of this process; ZTS only */
#define PHPRUN_PHP_FRANKENPHP 4u /* the names of FrankenPHP's functions are there too */

/*
 * Worker mode: workers run `script`, which boots the application once and asks for request after request
 * (phprun_handle_request). After phprun_php_start(), before any worker. Strings are copied; an empty script is
 * classic mode. `script_name` and `document_root` are what the script finds in $_SERVER while it boots.
 */
PHPRUN_API void phprun_app_configure(const char *script, const char *script_name, const char *document_root,
                                     uint32_t options);

/* Options of phprun_app_configure() */
#define PHPRUN_APP_RESET_INI 1u          /* after each request, what it was after the boot: ini settings, */
#define PHPRUN_APP_RESET_ENV 2u          /* the environment, */
#define PHPRUN_APP_RESET_CWD 4u          /* the working directory, */
#define PHPRUN_APP_RESET_HANDLERS 8u     /* handlers of errors and exceptions, */
#define PHPRUN_APP_RESET_TIMEZONE 16u    /* the time zone, */
#define PHPRUN_APP_RESET_LOCALE 32u      /* the locale */
#define PHPRUN_APP_RECYCLE_ON_EXCEPTION 64u /* an uncaught exception costs the worker */
#define PHPRUN_APP_TEMPLATE 128u         /* processes: the host boots the application, and forks workers from it */
#define PHPRUN_APP_TEMPLATE_STRICT 256u  /* it ends (PHPRUN_EXIT_CONNECTIONS) rather than share a connection */
#define PHPRUN_APP_PARANOID 512u         /* tells what each request leaves behind */
#define PHPRUN_APP_REFORK 1024u          /* with a template: a warm worker may become the next one */

/*
 * Runs a piece of PHP in a forked child and writes the string it returns to `out`, so that the host stays
 * as it was. Returns the length (cut to `cap`), or -errno; -EIO when the child died.
 */
PHPRUN_API int32_t phprun_php_evaluate(const char *code, char *out, uint32_t cap);

/*
 * The fork server: starts, signals and reaps workers as told on the control socket until it closes or says
 * END. Returns when every worker is gone. Blocks the calling thread for good: main thread only, because
 * workers are told to die with the thread that forked them.
 */
PHPRUN_API int32_t phprun_host_run(int32_t pool_fd, int32_t control_fd, int32_t wake_fd, int32_t spool_fd,
                                   uint32_t options);

/* ---- a host whose workers are threads: thread.c. -ENOSYS where libphp is not thread-safe ------------------ */

/* Maps the pool. Once, on the process's main thread, before any worker. Returns 0 or -errno. */
PHPRUN_API int32_t phprun_threads_open(int32_t pool_fd, int32_t wake_fd, int32_t spool_fd, uint32_t options,
                                       double stack_bytes);

/*
 * Starts a worker on a thread of its own and waits until PHP is ready there, about a millisecond. Returns its thread
 * id, or -errno. When it has ended, `life_fd` (taken over) gets one byte and is closed. From any thread, but by one
 * at a time for each worker.
 */
PHPRUN_API int32_t phprun_thread_start(uint32_t worker, uint32_t generation, int32_t life_fd);

/* After the byte on `life_fd`: frees what the thread had. */
PHPRUN_API void phprun_thread_join(uint32_t worker);

/* Signals the worker that the deadline of its request has passed; the mark in the slot decides. */
PHPRUN_API void phprun_thread_deadline(uint32_t worker);

/* Has every worker with a request note its memory, and end the request when it holds more than it may. */
PHPRUN_API void phprun_threads_measure(void);

/* Ends the process at once, without Bun's exit handlers: threads of ours may still run. */
PHPRUN_API void phprun_exit_now(int32_t status);

#endif
