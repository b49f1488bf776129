/* phprun_handle_request(): the way of one request through the worker script. */
#include "app.h"

#include <Zend/zend_exceptions.h>
#include <ext/spl/spl_exceptions.h>
#include <ext/standard/basic_functions.h>
#include <unistd.h>

/* What the request registers itself runs at its end, and what the boot registered when the worker ends. */
static void set_shutdown_functions_aside(struct app *app)
{
    app->shutdown_of_boot = BG(user_shutdown_function_names);
    BG(user_shutdown_function_names) = NULL;
}

static void run_shutdown_functions(struct app *app)
{
    if (BG(user_shutdown_function_names) != NULL) {
        php_call_shutdown_functions();
        app_settle_exception(app);
        php_free_shutdown_functions();
        /* What a destructor of theirs threw. */
        app_settle_exception(app);
    }
    BG(user_shutdown_function_names) = app->shutdown_of_boot;
    app->shutdown_of_boot = NULL;
}

/* False when nobody waits for it, or it is none. */
static bool begin(struct app *app, uint32_t slot, uint64_t started_ns)
{
    struct worker *worker = app->worker;
    worker_note_busy(worker, slot, started_ns);
    if (!request_begin(&app->request, worker, slot)) {
        worker_note_idle(worker);
        return false;
    }
    app->stage = APP_HANDLING;
    EG(exit_status) = 0;
    set_shutdown_functions_aside(app);
    fresh_begin(app);
    session_begin();
    return true;
}

/* A function of ours may swallow a bailout, as PHP's own do at the end of a request: the script is not to go on. */
static void stop_if_unclean(void)
{
    if (CG(unclean_shutdown)) {
        zend_bailout();
    }
}

/* A child that the script has forked: the loop is its parent's. */
static void leave_if_forked(const struct app *app)
{
    if (app->request.disowned) {
        _exit(EG(exit_status));
    }
}

/* The handler has come back: the answer is made complete, and on its way before the script goes on. */
static void respond(struct app *app)
{
    struct request *request = &app->request;
    app_settle_exception(app);
    leave_if_forked(app);
    request_mark_failed(request);
    /* Some builds of PHP end a script without memory as exit() does: it is fatal all the same. */
    stop_if_unclean();
    run_shutdown_functions(app);
    stop_if_unclean();
    php_output_end_all();
    app_settle_exception(app);
    session_end();
    app_settle_exception(app);
    stop_if_unclean();
    fresh_end_output();
    /* Headers go out there at the latest, and with them what the request has registered for that. */
    app_settle_exception(app);
    if (!request->finished) {
        request_finish(request, PHPRUN_RESPONDED);
    }
    app->stage = APP_AFTER;
}

void app_leave(struct app *app)
{
    struct worker *worker = app->worker;
    const uint64_t started_ns = app->request.slot->started_ns;
    fresh_leave(app);
    app->stage = APP_WAITING;
    /* An uncaught exception was its request's: when the script ends, it tells how that has ended. */
    EG(exit_status) = 0;
    worker_note_idle(worker);
    /* The next request must not run as somebody else; see worker_run(). */
    if (app->leaving == PHPRUN_LEAVING_NOT) {
        app->leaving = worker_wants_to_leave(worker, started_ns);
    }
}

/* The probe asks whether the application has booted. It has. */
static void answer_probe(struct app *app)
{
    worker_answer_probe();
    respond(app);
    app_leave(app);
}

static void call_handler(struct app *app, zend_fcall_info *handler, zend_fcall_info_cache *cache)
{
    zval result;
    ZVAL_UNDEF(&result);
    handler->retval = &result;
    /* What the client does while PHP still reads its form may already have stopped the request. */
    if (EG(exception) == NULL && zend_call_function(handler, cache) == SUCCESS) {
        zval_ptr_dtor(&result);
    }
    respond(app);
}

bool app_handle(struct app *app, zend_fcall_info *handler, zend_fcall_info_cache *cache)
{
    if (app->stage == APP_AFTER) {
        leave_if_forked(app);
        app_leave(app);
    }
    if (app->stage == APP_ENDING) {
        zend_error_noreturn(E_ERROR, "phprun_handle_request() has returned false: the worker script has to leave its "
                                     "loop and end");
    }
    if (app->stage == APP_BOOTING) {
        if (getpid() != app->pid) {
            _exit(EG(exit_status)); /* forked by the script while it booted */
        }
        if (!app_booted(app)) {
            return false; /* what it has thrown is the script's to catch */
        }
    }
    while (app->leaving == PHPRUN_LEAVING_NOT) {
        const int32_t slot = phprun_worker_take(app->worker->pool, app->worker->number);
        if (slot == PHPRUN_TAKE_PROMOTE) {
            if (!app_promote(app)) {
                return false;
            }
            continue;
        }
        if (slot < 0) {
            app_end(app, PHPRUN_LEAVING_ASKED);
            return false;
        }
        if (!begin(app, (uint32_t)slot, phprun_now_ns())) {
            continue;
        }
        if (app->request.slot->options & PHPRUN_REQUEST_PROBE) {
            answer_probe(app);
            continue;
        }
        app->handled++;
        call_handler(app, handler, cache);
        return true;
    }
    app_end(app, app->leaving);
    return false;
}

PHP_FUNCTION(phprun_handle_request)
{
    zend_fcall_info handler;
    zend_fcall_info_cache cache;
    ZEND_PARSE_PARAMETERS_START(1, 1)
        Z_PARAM_FUNC(handler, cache)
    ZEND_PARSE_PARAMETERS_END();

    struct app *app = app_current();
    if (app == NULL) {
        zend_throw_exception(spl_ce_RuntimeException,
                             "phprun_handle_request() can be called in worker mode only (pools[].worker_script)", 0);
        RETURN_THROWS();
    }
    if (app->stage == APP_HANDLING) {
        zend_throw_exception(spl_ce_RuntimeException,
                             "phprun_handle_request() cannot be called while a request is handled", 0);
        RETURN_THROWS();
    }
    if (template_hooks_run()) {
        zend_throw_exception(spl_ce_RuntimeException,
                             "phprun_handle_request() cannot be called in a hook of the fork", 0);
        RETURN_THROWS();
    }
    RETURN_BOOL(app_handle(app, &handler, &cache));
}
