/*
 * The life of a worker script. It runs inside one request of PHP's own, from its boot to its end; the requests of
 * clients come and go within. When the script ends, for whatever reason, its worker ends: nothing is repaired in
 * place.
 */
#define _GNU_SOURCE
#include "app.h"

#include <ext/standard/basic_functions.h>
#include <stdlib.h>
#include <string.h>
#include <Zend/zend_exceptions.h>
#include <sys/time.h>
#include <unistd.h>

struct app_config app_config;

static _Thread_local struct app *current;

struct app *app_current(void)
{
    return current;
}

static const char *copy_or_null(const char *text)
{
    return *text != '\0' ? strdup(text) : NULL;
}

void phprun_app_configure(const char *script, const char *script_name, const char *document_root, uint32_t options)
{
    app_config = (struct app_config){
        .script = copy_or_null(script),
        .script_name = strdup(script_name),
        .document_root = strdup(document_root),
        .options = options,
    };
    if (app_config.script != NULL) {
        fresh_startup();
        reset_startup();
        session_startup();
    }
}

static double unix_time(void)
{
    struct timeval now;
    gettimeofday(&now, NULL);
    return (double)now.tv_sec + (double)now.tv_usec / 1e6;
}

static struct phprun_worker *record_of(const struct app *app)
{
    return &app->worker->pool->workers[app->worker->number];
}

static void set_state(const struct app *app, enum phprun_worker_state state)
{
    if (app->worker != NULL) {
        atomic_store_explicit(&record_of(app)->state, state, memory_order_release);
    }
}

static void note_ready(struct app *app)
{
    struct phprun_worker *record = record_of(app);
    app->stage = APP_WAITING;
    atomic_store_explicit(&record->overdue, 0, memory_order_relaxed);
    atomic_store_explicit(&record->booted_ns, phprun_now_ns(), memory_order_relaxed);
    set_state(app, PHPRUN_WORKER_IDLE);
}

/* A worker that has just been forked: what its hooks print goes to the log, and no other draws their random numbers. */
static void begin_forked(void)
{
    fresh_ending();
    fresh_after_fork();
    template_after_fork();
}

/* The fork, with the application's hooks before and behind it. */
static bool fork_from_template(struct app *app)
{
    template_before_fork();
    if (EG(exception) != NULL) {
        return false;
    }
    fresh_booted(app);
    app->worker = template_serve();
    app->pid = getpid();
    begin_forked();
    if (EG(exception) != NULL) {
        return false;
    }
    fresh_close();
    return true;
}

bool app_booted(struct app *app)
{
    app->booted_at = unix_time();
    session_close_boots();
    if (!template_waits()) {
        fresh_booted(app);
    } else if (!fork_from_template(app)) {
        return false;
    }
    app->stage = APP_WAITING;
    session_booted();
    reset_booted();
    if (app_has(PHPRUN_APP_PARANOID)) {
        state_booted();
    }
    note_ready(app);
    return true;
}

bool app_promote(struct app *app)
{
    /* Hooks have the time that a boot has. */
    set_state(app, PHPRUN_WORKER_STARTING);
    fresh_ending();
    template_before_fork();
    fresh_close();
    if (EG(exception) != NULL) {
        /* A script that catches it and asks again is to get a request, and not this again. */
        template_decline(app->worker);
        note_ready(app);
        return false;
    }
    app->worker = template_promote(app->worker);
    if (getpid() != app->pid) {
        app->pid = getpid();
        app->handled = 0;
    }
    begin_forked();
    fresh_close();
    if (EG(exception) != NULL) {
        return false;
    }
    note_ready(app);
    return true;
}

void app_end(struct app *app, enum phprun_leaving why)
{
    app->stage = APP_ENDING;
    if (app->leaving == PHPRUN_LEAVING_NOT) {
        app->leaving = why;
    }
    set_state(app, PHPRUN_WORKER_ENDING);
    fresh_ending();
}

/* The first request of PHP's own, which is nobody's: what $_SERVER has in it is set by register_server_variables(). */
static void set_boot_info(void)
{
    SG(server_context) = NULL;
    fresh_set_no_request();
    SG(sapi_headers).http_response_code = 200;
}

static void run_script(struct worker *worker)
{
    enter_folder_of(worker, app_config.script);
    SG(options) |= SAPI_OPTION_NO_CHDIR;
    zend_file_handle script;
    zend_stream_init_filename(&script, app_config.script);
    script.primary_script = 1;
    php_execute_script(&script);
    zend_destroy_file_handle(&script);
}

/*
 * The script has ended within a request: by a fatal error. As anywhere, all shutdown functions run now: those of the
 * boot first, among them the one by which the application tells of such errors.
 */
static void join_shutdown_functions(struct app *app)
{
    HashTable *boot = app->shutdown_of_boot, *request = BG(user_shutdown_function_names);
    app->shutdown_of_boot = NULL;
    if (boot == NULL) {
        return;
    }
    if (request != NULL) {
        zval *entry;
        ZEND_HASH_FOREACH_VAL(request, entry) {
            zend_hash_next_index_insert(boot, entry);
        } ZEND_HASH_FOREACH_END();
        request->pDestructor = NULL; /* moved, not copied */
        zend_hash_destroy(request);
        FREE_HASHTABLE(request);
    }
    BG(user_shutdown_function_names) = boot;
}

/* A child that the script has forked: the worker's record, and what is said of its end, are the parent's. */
static bool is_scripts_child(const struct app *app)
{
    return getpid() != app->pid;
}

/* How the script has ended. */
static void conclude(struct app *app)
{
    if (is_scripts_child(app)) {
        join_shutdown_functions(app);
        return;
    }
    const bool failed = CG(unclean_shutdown) || EG(exit_status) == 255;
    if (app->stage == APP_HANDLING) {
        app->request.fatal = true;
        request_mark_failed(&app->request);
    }
    if (app->stage == APP_BOOTING) {
        app->leaving = PHPRUN_LEAVING_BOOT;
        if (!failed) {
            log_text(LOG_LEVEL_ERROR,
                     "The worker script %s ended without a call of phprun_handle_request(). It has to call it in a "
                     "loop, for as long as it returns true",
                     app_config.script);
        }
    } else if (failed) {
        app->leaving = PHPRUN_LEAVING_FATAL;
    } else if (app->leaving == PHPRUN_LEAVING_NOT) {
        app->leaving = PHPRUN_LEAVING_SCRIPT;
    }
    join_shutdown_functions(app);
    if (app->stage == APP_AFTER || app->stage == APP_WAITING) {
        set_state(app, PHPRUN_WORKER_ENDING);
    }
}

/* What the worker's record still shows of the request that the script has ended with. */
static void finish_record(struct app *app)
{
    if (SG(server_context) != NULL) {
        /* Shutdown itself bailed out before it came to our deactivate callback. */
        app->request.fatal = true;
        request_finish(&app->request, PHPRUN_ENDED);
        SG(server_context) = NULL;
    }
    if (app->worker == NULL) {
        return;
    }
    if (app->stage == APP_HANDLING || app->stage == APP_AFTER) {
        worker_note_idle(app->worker);
    }
    set_state(app, PHPRUN_WORKER_ENDING);
    worker_note_leaving(app->worker, app->leaving);
}

int app_run(struct worker *worker)
{
    struct app app = {.worker = worker, .stage = APP_BOOTING, .pid = getpid()};
    current = &app;
    ZVAL_UNDEF(&app.server_of_boot);
    zend_first_try {
        set_boot_info();
        if (php_request_startup() == SUCCESS) {
            run_script(worker);
        } else {
            EG(exit_status) = 255;
        }
        conclude(&app);
    } zend_end_try();
    zend_try {
        zval_ptr_dtor(&app.server_of_boot);
        template_forget();
        fresh_forget();
        session_forget();
        reset_forget();
        state_forget();
    } zend_end_try();
    zend_try {
        php_request_shutdown(NULL);
    } zend_end_try();
    if (is_scripts_child(&app)) {
        _exit(EG(exit_status));
    }
    finish_record(&app);
    current = NULL;
    if (phprun_threads) {
        isolate_request_shutdown();
    }
    return app.leaving == PHPRUN_LEAVING_BOOT ? PHPRUN_EXIT_BOOT : 0;
}

/*
 * As zend_user_exception_handler(), which drops what the handler itself throws: elsewhere that would have ended PHP's
 * request before it came back.
 */
static void call_exception_handler(void)
{
    zend_object *thrown = EG(exception);
    EG(exception) = NULL;
    zval handler, argument, result;
    ZVAL_COPY_VALUE(&handler, &EG(user_exception_handler));
    zend_stack_push(&EG(user_exception_handlers), &handler);
    ZVAL_UNDEF(&EG(user_exception_handler));
    ZVAL_OBJ(&argument, thrown);
    ZVAL_UNDEF(&result);
    call_user_function(NULL, NULL, &handler, &result, 1, &argument);
    zval_ptr_dtor(&result);
    OBJ_RELEASE(thrown);
    if (Z_TYPE(EG(user_exception_handler)) == IS_UNDEF) {
        const zval *before = zend_stack_top(&EG(user_exception_handlers));
        if (before != NULL) {
            ZVAL_COPY_VALUE(&EG(user_exception_handler), before);
            zend_stack_del_top(&EG(user_exception_handlers));
        }
    }
}

void app_settle_exception(struct app *app)
{
    if (EG(exception) == NULL) {
        return;
    }
    if (zend_is_unwind_exit(EG(exception)) || zend_is_graceful_exit(EG(exception))) {
        zend_clear_exception();
        return;
    }
    if (Z_TYPE(EG(user_exception_handler)) != IS_UNDEF) {
        call_exception_handler();
    }
    /* Its handler may have called exit(). */
    if (EG(exception) != NULL && !zend_is_unwind_exit(EG(exception)) && !zend_is_graceful_exit(EG(exception))) {
        zend_exception_error(EG(exception), E_ERROR);
    }
    zend_clear_exception();
    if (app_has(PHPRUN_APP_RECYCLE_ON_EXCEPTION)) {
        app->leaving = PHPRUN_LEAVING_EXCEPTION;
    }
}
