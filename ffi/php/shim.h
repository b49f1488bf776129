/* What the files of the shim share. Private to ffi/php. */
#ifndef PHPRUN_SHIM_H
#define PHPRUN_SHIM_H

#include "descriptors.h"
#include "php.h"

#include <main/php.h>
#include <main/SAPI.h>
#include <main/php_main.h>
#include <pthread.h>
#include <stdbool.h>

/* With threads each has PHP's globals of its own, found through this pointer. */
#ifdef ZTS
ZEND_TSRMLS_CACHE_EXTERN()
#endif

/* The workers of this host are threads of its process. */
extern bool phprun_threads;
/* JSON bodies are parsed into $_POST. */
extern bool phprun_json_post;
/* FrankenPHP's names are there too. */
extern bool phprun_frankenphp;

/* One worker: what its loop and the callbacks of its requests need. */
struct worker {
    struct phprun_pool *pool;
    uint32_t number;
    int spool_fd;
    int statm_fd; /* its own /proc/self/statm; -1 for a thread */
    uid_t user;   /* that it was started as */
    bool has_folder; /* a thread whose working directory is its own */
    char *folder;    /* then: the one it is in, NULL when not known */
    pid_t thread; /* the one that runs PHP */
    zend_executor_globals *executor; /* of that thread */
    _Atomic uint32_t look_wanted;    /* id of the request whose place is to be told; 0: none */
    uint32_t looks_seen;             /* `look` of the worker's record when it was last heeded */
    pthread_t look_thread;           /* see look.c */
    bool has_look_thread;
    _Atomic bool look_ended;         /* the thread of the slow log is to end */
    void *crash_stack;               /* see crash.c */
};

/* One request, from phprun_worker_take() to phprun_finish(). Reached through SG(server_context). */
struct request {
    struct worker *worker;
    struct phprun_slot *slot;
    uint32_t number; /* of the slot */
    const char *fields[FIELD_COUNT];
    const char *pairs;     /* name, value, … */
    const char *pairs_end;
    const uint8_t *body; /* NULL: in the spool file */
    uint64_t body_read;
    bool finished;     /* the response is complete; later output is dropped */
    bool disowned;     /* we are a child that the script has forked: the answer is not ours */
    bool posted;       /* the front may have seen the head */
    bool filtered;     /* the filter extension has its copy of $_SERVER */
    bool fatal;        /* an error of a fatal type was raised; the script may have handled it */
    bool head_refused; /* the headers did not fit */
    volatile bool timed_out;
    bool too_large; /* it was ended for the memory it held */
};

static inline struct request *current_request(void)
{
#ifdef ZTS
    /* A thread that is none of PHP's, or that PHP still prepares: settings may be complained of then. */
    if (TSRMLS_CACHE == NULL) {
        return NULL;
    }
#endif
    return SG(server_context);
}

/* sapi.c */
extern sapi_module_struct phprun_sapi;
extern const char *phprun_pool_name;

/* request.c: fills `request` from its slot. False when the block is not well formed. */
bool request_read(struct request *request, struct worker *worker, uint32_t slot);
/* The value of a request variable, or NULL. */
const char *request_variable(const struct request *request, const char *name, size_t name_length);
/* Whether the script has ended in a fatal error or an uncaught exception. */
bool request_failed(const struct request *request);
/* worker.c: fills it and marks its begin. False when it need not run, and has been ended. */
bool request_begin(struct request *request, struct worker *worker, uint32_t slot);
/* What PHP is to know of it, before its start-up. */
void request_set_info(const struct request *request);
/* A fatal error is not a 200, as far as the head has not gone out. */
void request_mark_failed(const struct request *request);
/* Completes the response. `phase` is RESPONDED when the script goes on, ENDED when the worker is done. */
void request_finish(struct request *request, enum phprun_phase phase);

/* variables.c */
extern const char *const phprun_field_names[FIELD_COUNT];
void variables_startup(void);
void register_server_variables(zval *array);

/* response.c */
int send_headers(sapi_headers_struct *headers);
size_t write_body(const char *bytes, size_t length);
void flush_body(void *server_context);

/* functions.c */
extern zend_module_entry phprun_module;

/* json_post.c: for the calling thread. */
void json_post_startup(void);

/* deadline.c */
#define PHPRUN_DEADLINE_SIGNAL (SIGRTMIN + 5)
void deadline_startup(void);
/* At PHP's interrupt: ends a script that is overdue, and does not return then. */
void deadline_enforce(struct request *request);
/* Worker mode: the same of a script that takes too long between requests. */
void deadline_enforce_script(void);

/* interrupt.c */
void interrupt_startup(void);

/* backtrace.c: one line, NUL-terminated; returns its length. From any thread and any signal handler. */
#define BACKTRACE_BYTES 4000u
size_t backtrace_text(const zend_executor_globals *executor, char *bytes, size_t room);
/* The same of the innermost PHP code alone, cut to what fits phprun_worker.last_function. */
void crash_place_text(const zend_executor_globals *executor, char *bytes, size_t room);

/* look.c: starts the thread of the slow log, and ends it with its worker. */
void look_worker_startup(struct worker *worker);
void look_worker_shutdown(struct worker *worker);
/* At PHP's interrupt: tells where the script is, if that was asked. */
void look_answer(struct request *request);

/* crash.c: once per process; and for each worker, on its own thread. */
void crash_startup(void);
void crash_worker_startup(struct worker *worker);
void crash_worker_shutdown(struct worker *worker);
/* Where a worker is that is about to take its process with it; a thread thereby says that it was the one. */
void crash_note_place(const struct worker *worker);

/* memory.c: at PHP's interrupt, of a worker that is a thread. May not return: ends a script that holds too much. */
void memory_enforce(struct request *request);
/* After a request: whether the worker holds more than it may, so that it is to be replaced. */
void memory_worker_startup(struct worker *worker);
bool memory_is_too_much(const struct worker *worker, uint64_t request_started_ns);

/* log.c */
enum log_level {
    LOG_LEVEL_ERROR = 0,
    LOG_LEVEL_WARN = 1,
    LOG_LEVEL_INFO = 2,
    LOG_LEVEL_DEBUG = 3,
    LOG_LEVEL_SLOW = 4,  /* no message: where a request is, see look.c */
    LOG_LEVEL_RENEW = 5, /* no message: why this host is to be replaced */
};
void log_startup(int fd);
int log_descriptor(void);
void log_as_worker(struct worker *worker);
/* The worker that the calling thread is; NULL in a host. */
struct worker *log_worker(void);
void log_text(enum log_level level, const char *format, ...) ZEND_ATTRIBUTE_FORMAT(printf, 2, 3);
void log_message(const char *message, int syslog_type);
/* A message with fields, a JSON object (NULL: none). */
void log_with_fields(enum log_level level, const char *message, size_t length, const char *fields,
                     size_t fields_length);
/* One record, of at most BACKTRACE_BYTES. From any thread of the worker. */
void log_slow(struct worker *worker, uint32_t request, const char *text, size_t length);
/* Asks the front for a new generation in place of this host. */
void log_renew(const char *why);

/* host.c: what a host does first: it stands apart from the terminal and from the programs that scripts start. */
void become_host(void);
/* Signals that must not end the process, and that programs started by scripts must not find ignored. */
void ignore_stop_signals(void);
/* Of a child that a script has forked it says so; the answer is the parent's to give. */
void fork_startup(void);
/* A child that we have forked from a worker, to be one itself. */
void fork_is_ours(void);

/* evaluate.c: evaluates `code`, writes the string it returns to `fd`, ends the process. */
ZEND_NORETURN void evaluate_to(const char *code, int fd);

/* filter.c: $_SERVER for filter_input(), filled only when it is asked for. After module start-up. */
void filter_startup(void);
bool filter_is_postponed(void);

/* heaps.c: notes Bun's heaps (before PHP has reserved anything), and gives their pages up in a worker. */
void heaps_note(void);
void heaps_let_go(void);

/* worker.c: serves until the worker is to end. Returns the status it is to end with, as a process. */
int worker_run(struct worker *worker);
/* What comes before its first request, on its own thread. */
void worker_prepare(struct worker *worker);
/* app.c: the same of a worker in worker mode. NULL: in a host, whose forked workers come back from it. */
int app_run(struct worker *worker);
/* What the worker's record says it does. */
void worker_note_busy(const struct worker *worker, uint32_t slot, uint64_t started_ns);
void worker_note_idle(const struct worker *worker);
/* It leaves between two requests, to be replaced. */
void worker_note_leaving(const struct worker *worker, enum phprun_leaving why);
enum phprun_leaving worker_wants_to_leave(const struct worker *worker, uint64_t request_started_ns);
/* PHP runs, from request start-up to output. */
void worker_answer_probe(void);
/* Goes there; `worker` may be NULL: in a template. */
void enter_folder(struct worker *worker, const char *folder);
/* Scripts start in their own folder. */
void enter_folder_of(struct worker *worker, const char *script);
/* Whether a worker is still at the request that has this id. From any thread of worker and host. */
bool worker_is_at(const struct phprun_pool *pool, uint32_t number, uint32_t id);
/* Whether it is at a request whose deadline has passed, and that has not heard of it. */
bool worker_is_overdue(const struct phprun_pool *pool, uint32_t number);

/* replace.c: has an internal function run our handler. On the main thread, after module start-up; `name` is kept. */
bool replace_function(const char *name, zif_handler handler, zif_handler *original);
/* The same replacements for the calling thread, before its first request. */
void replace_in_thread(void);

/* opcache.c: for a host whose workers are threads, or in worker mode. On its main thread, after module start-up. */
void opcache_hold(void);
/* After a script, within its request: whether opcache waits to restart. Only for PHP that does not say so itself. */
void opcache_look(const struct request *request);

/* refused.c: functions that would act on the whole process of such a host. Likewise. */
void refused_thread_startup(void);

/* imports.c: has libraries call `function` in place of C's of that name. False when none does, or not all do. */
bool replace_import(const char *name, void *function);

/*
 * isolate.c: what a process has once each request has for itself, where workers are threads. On the host's main
 * thread, after module start-up; on each worker's thread, before its first request; there after each request, when
 * php_request_shutdown() is through, since scripts may run until then; and there at its end.
 */
void isolate_thread_startup(void);
void isolate_worker_startup(void);
void isolate_request_shutdown(void);
void isolate_worker_shutdown(void);

/* environment.c, programs.c, folder.c, locale.c, gettext.c, syslog.c: called by isolate.c at those times. */
void environment_thread_startup(void);
void environment_request_shutdown(void);
void programs_thread_startup(void);
void folder_thread_startup(void);
void timer_thread_startup(void);
void timer_worker_shutdown(void);
void locale_thread_startup(void);
void locale_worker_startup(void);
void locale_request_shutdown(void);
void locale_worker_shutdown(void);
void gettext_thread_startup(void);
void gettext_request_shutdown(void);
void syslog_thread_startup(void);

/* Worker mode: what a request has changed becomes what it was after the boot. For reset.c. */
void environment_note_boot(void);
void environment_reset(void);
void environment_forget_boot(void);
void locale_note_boot(void);
void locale_reset(void);
void locale_forget_boot(void);

/* environment.c: a variable of the request, or of the process when the request has not changed it. Like getenv(). */
char *environment_get(const char *name);
/* All of them, "NAME=value" and a NULL last: to be given to pefree(…, 1). NULL when they are those of the process. */
char **environment_list(void);

#endif
