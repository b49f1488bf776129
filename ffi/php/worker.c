/* A worker's life: take a slot, run PHP on it, complete it. Only C and PHP, never JavaScript. */
#define _GNU_SOURCE
#include "app.h"

#include <Zend/zend_alloc.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool worker_is_at(const struct phprun_pool *pool, uint32_t number, uint32_t id)
{
    if (number >= pool->worker_count) {
        return false;
    }
    const uint32_t slot = atomic_load(&pool->workers[number].slot);
    return slot < pool->slot_count && __atomic_load_n(&pool->slots[slot].id, __ATOMIC_RELAXED) == id;
}

bool worker_is_overdue(const struct phprun_pool *pool, uint32_t number)
{
    if (number >= pool->worker_count) {
        return false;
    }
    /* Worker mode: its script, where it has no request. */
    if (atomic_load(&pool->workers[number].overdue) != 0) {
        return true;
    }
    const uint32_t slot = atomic_load(&pool->workers[number].slot);
    return slot < pool->slot_count && atomic_load(&pool->slots[slot].flags) & PHPRUN_DEADLINE;
}

void request_set_info(const struct request *request)
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

static void warn_of_folder(const char *folder)
{
    log_text(LOG_LEVEL_WARN, "Cannot enter %s: %s", folder, strerror(errno));
}

#ifdef VIRTUAL_DIR
/*
 * PHP for threads keeps a working directory per thread itself, and starts each request in the process's. Where the
 * kernel keeps one per thread too, it follows, for libraries that know nothing of PHP's.
 */
void enter_folder(struct worker *worker, const char *folder)
{
    if (VCWD_CHDIR(folder) != 0) {
        warn_of_folder(folder);
        return;
    }
    if (worker->has_folder && (worker->folder == NULL || strcmp(worker->folder, folder) != 0) && chdir(folder) == 0) {
        free(worker->folder);
        worker->folder = strdup(folder);
    }
}
#else
/*
 * php_execute_script() would go there and back on every request, which takes four system calls; most requests find
 * the worker there already, which takes one to see.
 */
void enter_folder(struct worker *worker, const char *folder)
{
    (void)worker;
    char current[PATH_MAX];
    if ((getcwd(current, sizeof current) == NULL || strcmp(current, folder) != 0) && chdir(folder) != 0) {
        warn_of_folder(folder);
    }
}
#endif

void enter_folder_of(struct worker *worker, const char *script)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(script, '/');
    const size_t length = slash == NULL ? 0 : slash == script ? 1 : (size_t)(slash - script);
    if (length == 0 || length >= sizeof folder) {
        return;
    }
    memcpy(folder, script, length);
    folder[length] = '\0';
    enter_folder(worker, folder);
}

static void run_script(const struct request *request)
{
    enter_folder_of(request->worker, request->fields[FIELD_SCRIPT_FILENAME]);
    SG(options) |= SAPI_OPTION_NO_CHDIR;
    zend_file_handle script;
    zend_stream_init_filename(&script, request->fields[FIELD_SCRIPT_FILENAME]);
    script.primary_script = 1;
    /* Swallows bailouts: a fatal error shows in request->fatal alone (see note_error). */
    php_execute_script(&script);
    zend_destroy_file_handle(&script);
}

/* PHP runs, from request start-up to output: all there is to know of a generation whose scripts nobody has named. */
void worker_answer_probe(void)
{
    zend_eval_string("header('Content-Type: text/plain'); echo 'ready';", NULL, "phprun probe");
}

/*
 * A fatal error is not a 200, whatever display_errors says. PHP itself sees to it only when
 * display_errors is off.
 */
void request_mark_failed(const struct request *request)
{
    if (!SG(headers_sent) && SG(sapi_headers).http_response_code == 200 && request_failed(request)) {
        SG(sapi_headers).http_response_code = 500;
    }
}

bool request_begin(struct request *request, struct worker *worker, uint32_t number)
{
    const bool well_formed = request_read(request, worker, number);
    request->slot->started_ns = phprun_now_ns();
    const bool gone = atomic_load(&request->slot->flags) & PHPRUN_CLIENT_GONE;
    if (!well_formed || gone) {
        atomic_store(&request->slot->outcome, well_formed ? PHPRUN_OUTCOME_NOT_RUN : PHPRUN_OUTCOME_BAD_REQUEST);
        phprun_finish(worker->pool, number, worker->number, PHPRUN_ENDED);
        return false;
    }
    return true;
}

static void serve(struct worker *worker, uint32_t number)
{
    struct request request;
    if (!request_begin(&request, worker, number)) {
        return;
    }

    SG(server_context) = &request;
    zend_first_try {
        request_set_info(&request);
        if (php_request_startup() == SUCCESS) {
            if (request.slot->options & PHPRUN_REQUEST_PROBE) {
                worker_answer_probe();
            } else {
                run_script(&request);
                opcache_look(&request);
            }
        } else {
            request.fatal = true;
            EG(exit_status) = 255;
        }
        request_mark_failed(&request);
    } zend_end_try();
    zend_try {
        php_request_shutdown(NULL);
    } zend_end_try();
    if (phprun_threads) {
        isolate_request_shutdown();
    }

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

void fork_is_ours(void)
{
    is_scripts_child = false;
}

void fork_startup(void)
{
    pthread_atfork(NULL, NULL, note_fork);
}

void worker_note_leaving(const struct worker *worker, enum phprun_leaving why)
{
    atomic_store_explicit(&worker->pool->workers[worker->number].leaving, why, memory_order_relaxed);
    phprun_wake_one_worker(worker->pool); /* the wake-up that got us here may have been for more */
}

void worker_note_busy(const struct worker *worker, uint32_t slot, uint64_t started_ns)
{
    struct phprun_worker *record = &worker->pool->workers[worker->number];
    atomic_store_explicit(&record->slot, slot, memory_order_relaxed);
    atomic_store_explicit(&record->started_ns, started_ns, memory_order_relaxed);
    atomic_store_explicit(&record->state, PHPRUN_WORKER_BUSY, memory_order_release);
}

void worker_note_idle(const struct worker *worker)
{
    struct phprun_worker *record = &worker->pool->workers[worker->number];
    atomic_store_explicit(&record->memory_bytes, zend_memory_peak_usage(1), memory_order_relaxed);
    atomic_fetch_add_explicit(&record->requests, 1, memory_order_relaxed);
    atomic_store_explicit(&record->started_ns, 0, memory_order_relaxed);
    atomic_store_explicit(&record->slot, PHPRUN_NONE, memory_order_relaxed);
    atomic_store_explicit(&record->state, PHPRUN_WORKER_IDLE, memory_order_release);
}

enum phprun_leaving worker_wants_to_leave(const struct worker *worker, uint64_t request_started_ns)
{
    if (memory_is_too_much(worker, request_started_ns)) {
        return PHPRUN_LEAVING_MEMORY;
    }
    /* The next script must not run as somebody else; and the kernel has forgotten that we die with the host. */
    return geteuid() != worker->user ? PHPRUN_LEAVING_USER : PHPRUN_LEAVING_NOT;
}

static void serve_scripts(struct worker *worker)
{
    atomic_store(&worker->pool->workers[worker->number].state, PHPRUN_WORKER_IDLE);
    enum phprun_leaving leaving = PHPRUN_LEAVING_NOT;
    while (leaving == PHPRUN_LEAVING_NOT) {
        const int32_t slot = phprun_worker_take(worker->pool, worker->number);
        if (slot < 0) {
            return;
        }
        const uint64_t started_ns = phprun_now_ns();
        worker_note_busy(worker, (uint32_t)slot, started_ns);
        serve(worker, (uint32_t)slot);
        if (is_scripts_child) {
            _exit(EG(exit_status));
        }
        worker_note_idle(worker);
        leaving = worker_wants_to_leave(worker, started_ns);
    }
    worker_note_leaving(worker, leaving);
}

void worker_prepare(struct worker *worker)
{
    /*
     * The body is here before the script starts, so there is no input time to limit; PHP then arms its timer
     * once per request and not twice. ini_get() still says what php.ini says.
     */
    PG(max_input_time) = -1;
    worker->pool->workers[worker->number].pid = (uint32_t)worker->thread;
    worker->user = geteuid();
    memory_worker_startup(worker);
}

int worker_run(struct worker *worker)
{
    worker_prepare(worker);
    if (app_config.script != NULL) {
        return app_run(worker);
    }
    serve_scripts(worker);
    return 0;
}
