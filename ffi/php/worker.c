/* A worker's life: take a slot, run PHP on it, complete it. Only C and PHP, never JavaScript. */
#define _GNU_SOURCE
#include "shim.h"

#include <Zend/zend_alloc.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

bool worker_is_at(const struct phprun_pool *pool, uint32_t number, uint32_t id)
{
    if (number >= pool->worker_count) {
        return false;
    }
    const uint32_t slot = atomic_load(&pool->workers[number].slot);
    return slot < pool->slot_count && pool->slots[slot].id == id;
}

static void set_request_info(const struct request *request)
{
    const char *const *fields = request->fields;
    const char *content_type = fields[FIELD_CONTENT_TYPE];
    const char *query = fields[FIELD_QUERY_STRING];
    const char *authorization = fields[FIELD_HTTP_AUTHORIZATION];

    SG(request_info).request_method = fields[FIELD_REQUEST_METHOD];
    SG(request_info).query_string = (char *)query;
    SG(request_info).request_uri = (char *)fields[FIELD_REQUEST_URI];
    SG(request_info).path_translated = (char *)fields[FIELD_SCRIPT_FILENAME];
    SG(request_info).content_type = *content_type != '\0' ? content_type : NULL;
    SG(request_info).content_length = (zend_long)request->slot->body_bytes;
    SG(request_info).proto_num = strcmp(fields[FIELD_SERVER_PROTOCOL], "HTTP/1.0") == 0 ? 1000 : 1001;
    /* The engine does not reset it; without this a request inherits the status of the one before. */
    SG(sapi_headers).http_response_code = 200;
    php_handle_auth_data(*authorization != '\0' ? authorization : NULL);
}

/*
 * Scripts start in their own folder. php_execute_script() would go there and back on every request, which takes
 * four system calls; most requests find the worker there already, which takes one to see.
 */
static void enter_folder(const char *script)
{
    char folder[PATH_MAX], current[PATH_MAX];
    const char *slash = strrchr(script, '/');
    const size_t length = slash == NULL ? 0 : slash == script ? 1 : (size_t)(slash - script);
    if (length == 0 || length >= sizeof folder) {
        return;
    }
    memcpy(folder, script, length);
    folder[length] = '\0';
    if (getcwd(current, sizeof current) != NULL && strcmp(current, folder) == 0) {
        return;
    }
    if (chdir(folder) != 0) {
        log_text(LOG_LEVEL_WARN, "Cannot enter %s: %s", folder, strerror(errno));
    }
}

static void run_script(const struct request *request)
{
    enter_folder(request->fields[FIELD_SCRIPT_FILENAME]);
    SG(options) |= SAPI_OPTION_NO_CHDIR;
    zend_file_handle script;
    zend_stream_init_filename(&script, request->fields[FIELD_SCRIPT_FILENAME]);
    script.primary_script = 1;
    /* Swallows bailouts: a fatal error shows in request->fatal alone (see note_error). */
    php_execute_script(&script);
    zend_destroy_file_handle(&script);
}

/* PHP runs, from request start-up to output: all there is to know of a generation whose scripts nobody has named. */
static void answer_probe(void)
{
    zend_eval_string("header('Content-Type: text/plain'); echo 'ready';", NULL, "phprun probe");
}

/*
 * A fatal error is not a 200, whatever display_errors says. PHP itself sees to it only when
 * display_errors is off.
 */
static void mark_failed(const struct request *request)
{
    if (!SG(headers_sent) && SG(sapi_headers).http_response_code == 200 && request_failed(request)) {
        SG(sapi_headers).http_response_code = 500;
    }
}

static void serve(struct worker *worker, uint32_t number)
{
    struct request request;
    const bool well_formed = request_read(&request, worker, number);
    request.slot->started_ns = phprun_now_ns();
    const bool gone = atomic_load(&request.slot->flags) & PHPRUN_CLIENT_GONE;
    if (!well_formed || gone) {
        atomic_store(&request.slot->outcome, well_formed ? PHPRUN_OUTCOME_NOT_RUN : PHPRUN_OUTCOME_BAD_REQUEST);
        phprun_finish(worker->pool, number, worker->number, PHPRUN_ENDED);
        return;
    }

    SG(server_context) = &request;
    zend_first_try {
        set_request_info(&request);
        if (php_request_startup() == SUCCESS) {
            if (request.slot->options & PHPRUN_REQUEST_PROBE) {
                answer_probe();
            } else {
                run_script(&request);
            }
        } else {
            request.fatal = true;
            EG(exit_status) = 255;
        }
        mark_failed(&request);
    } zend_end_try();
    /* What the script left unread of its body need not be read now. */
    SG(post_read) = 1;
    zend_try {
        php_request_shutdown(NULL);
    } zend_end_try();

    /* Only when shutdown itself bailed out before it came to our deactivate callback. */
    if (SG(server_context) != NULL) {
        request.fatal = true;
        request_finish(&request, PHPRUN_ENDED);
        SG(server_context) = NULL;
    }
}

/*
 * A script that forks (pcntl_fork) has a child that takes itself for the worker. It may run the script to its end,
 * as it may anywhere; but the answer is the parent's to give, and so is the next request.
 */
static bool is_scripts_child;

static void note_fork(void)
{
    is_scripts_child = true;
    if (current_request() != NULL) {
        current_request()->disowned = true;
        current_request()->finished = true;
    }
}

/* Requests quicker than this hold little; of those only every so many-th is followed by a look at the memory. */
#define QUICK_NS 200000u
#define QUICK_REQUESTS 16u

/* Resident memory less what is shared with others: opcache, code, the pool. */
static uint64_t own_memory(int statm_fd)
{
    char text[96];
    const ssize_t length = pread(statm_fd, text, sizeof text - 1, 0);
    if (length <= 0) {
        return 0;
    }
    text[length] = '\0';
    unsigned long total, resident, shared;
    if (sscanf(text, "%lu %lu %lu", &total, &resident, &shared) != 3) {
        return 0;
    }
    return (uint64_t)(resident - shared) * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* Whether the worker holds more than it may, so that it is to be replaced. Called between two requests. */
static bool holds_too_much(const struct worker *worker, struct phprun_worker *record, uint64_t started_ns)
{
    const uint64_t limit = atomic_load_explicit(&worker->pool->header->memory_limit_bytes, memory_order_relaxed);
    const uint64_t requests = atomic_load_explicit(&record->requests, memory_order_relaxed);
    if (limit == 0 || worker->statm_fd < 0 ||
        (requests % QUICK_REQUESTS != 0 && phprun_now_ns() - started_ns < QUICK_NS)) {
        return false;
    }
    const uint64_t bytes = own_memory(worker->statm_fd);
    atomic_store_explicit(&record->own_bytes, bytes, memory_order_relaxed);
    return bytes > limit;
}

/* Ends between two requests, to be replaced. */
static ZEND_NORETURN void leave(const struct worker *worker, enum phprun_leaving why)
{
    atomic_store_explicit(&worker->pool->workers[worker->number].leaving, why, memory_order_relaxed);
    phprun_wake_one_worker(worker->pool); /* the wake-up that got us here may have been for more */
    _exit(0);
}

void worker_main(struct worker *worker)
{
    pthread_atfork(NULL, NULL, note_fork);
    struct phprun_worker *record = &worker->pool->workers[worker->number];
    /*
     * The body is here before the script starts, so there is no input time to limit; PHP then arms its timer
     * once per request and not twice. ini_get() still says what php.ini says.
     */
    PG(max_input_time) = -1;
    record->pid = (uint32_t)getpid();
    worker->user = geteuid();
    worker->statm_fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    atomic_store(&record->state, PHPRUN_WORKER_IDLE);
    for (;;) {
        const int32_t slot = phprun_worker_take(worker->pool, worker->number);
        if (slot < 0) {
            _exit(0);
        }
        atomic_store_explicit(&record->slot, (uint32_t)slot, memory_order_relaxed);
        const uint64_t started_ns = phprun_now_ns();
        atomic_store_explicit(&record->started_ns, started_ns, memory_order_relaxed);
        atomic_store_explicit(&record->state, PHPRUN_WORKER_BUSY, memory_order_release);
        serve(worker, (uint32_t)slot);
        if (is_scripts_child) {
            _exit(EG(exit_status));
        }
        atomic_store_explicit(&record->memory_bytes, zend_memory_peak_usage(1), memory_order_relaxed);
        atomic_fetch_add_explicit(&record->requests, 1, memory_order_relaxed);
        atomic_store_explicit(&record->started_ns, 0, memory_order_relaxed);
        atomic_store_explicit(&record->slot, PHPRUN_NONE, memory_order_relaxed);
        atomic_store_explicit(&record->state, PHPRUN_WORKER_IDLE, memory_order_release);
        if (holds_too_much(worker, record, started_ns)) {
            leave(worker, PHPRUN_LEAVING_MEMORY);
        }
        /* The next script must not run as somebody else; and the kernel has forgotten that we die with the host. */
        if (geteuid() != worker->user) {
            leave(worker, PHPRUN_LEAVING_USER);
        }
    }
}
