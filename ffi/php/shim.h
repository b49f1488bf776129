/* What the files of the shim share. Private to ffi/php. */
#ifndef PHPRUN_SHIM_H
#define PHPRUN_SHIM_H

#include "descriptors.h"
#include "php.h"

#include <main/php.h>
#include <main/SAPI.h>
#include <main/php_main.h>
#include <stdbool.h>

/* One worker: what its loop and the callbacks of its requests need. */
struct worker {
    struct phprun_pool *pool;
    uint32_t number;
    int spool_fd;
    int statm_fd; /* its own /proc/self/statm */
    uid_t user;   /* that it was started as */
    pid_t thread; /* the one that runs PHP */
    zend_executor_globals *executor; /* of that thread */
    _Atomic uint32_t look_wanted;    /* id of the request whose place is to be told; 0: none */
    uint32_t looks_seen;             /* `look` of the worker's record when it was last heeded */
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
};

static inline struct request *current_request(void)
{
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

/* json_post.c */
void json_post_startup(void);

/* deadline.c */
#define PHPRUN_DEADLINE_SIGNAL (SIGRTMIN + 5)
void deadline_worker_startup(void);
/* At PHP's interrupt: ends a script that is overdue, and does not return then. */
void deadline_enforce(struct request *request);

/* interrupt.c */
void interrupt_startup(void);

/* backtrace.c: one line, NUL-terminated; returns its length. From any thread and any signal handler. */
#define BACKTRACE_BYTES 4000u
size_t backtrace_text(const zend_executor_globals *executor, char *bytes, size_t room);
/* The same of the innermost PHP code alone, cut to what fits phprun_worker.last_function. */
void crash_place_text(const zend_executor_globals *executor, char *bytes, size_t room);

/* look.c: starts the thread of the slow log. */
void look_worker_startup(struct worker *worker);
/* At PHP's interrupt: tells where the script is, if that was asked. */
void look_answer(struct request *request);

/* crash.c */
void crash_worker_startup(struct worker *worker);

/* log.c */
enum log_level {
    LOG_LEVEL_ERROR = 0,
    LOG_LEVEL_WARN = 1,
    LOG_LEVEL_INFO = 2,
    LOG_LEVEL_DEBUG = 3,
    LOG_LEVEL_SLOW = 4, /* no message: where a request is, see look.c */
};
void log_startup(int fd);
int log_descriptor(void);
void log_as_worker(struct worker *worker);
void log_text(enum log_level level, const char *format, ...) ZEND_ATTRIBUTE_FORMAT(printf, 2, 3);
void log_message(const char *message, int syslog_type);
/* One record, of at most BACKTRACE_BYTES. From any thread of the worker. */
void log_slow(struct worker *worker, uint32_t request, const char *text, size_t length);

/* host.c: what a host does first: it stands apart from the terminal and from the programs that scripts start. */
void become_host(void);

/* evaluate.c: evaluates `code`, writes the string it returns to `fd`, ends the process. */
ZEND_NORETURN void evaluate_to(const char *code, int fd);

/* filter.c: $_SERVER for filter_input(), filled only when it is asked for. After module start-up. */
void filter_startup(void);
bool filter_is_postponed(void);

/* heaps.c: notes Bun's heaps (before PHP has reserved anything), and gives their pages up in a worker. */
void heaps_note(void);
void heaps_let_go(void);

/* worker.c: never returns. */
ZEND_NORETURN void worker_main(struct worker *worker);
/* Whether a worker is still at the request that has this id. From any thread of worker and host. */
bool worker_is_at(const struct phprun_pool *pool, uint32_t number, uint32_t id);

#endif
