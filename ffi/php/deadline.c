/*
 * The soft deadline. The front marks the slot and has the worker signalled; PHP ends the script at its next
 * interrupt check with a fatal error of its own, so shutdown functions and destructors still run.
 *
 * A real-time signal, because zend-signals defers the usual ones while PHP is inside its own critical
 * sections. No SA_RESTART: a script that sleeps or waits must come back to the VM. One signal may come right before it
 * goes to sleep, so the front repeats it until the mark is gone.
 */
#define _GNU_SOURCE
#include "app.h"

#include <signal.h>

static bool is_due(const struct request *request)
{
    return request != NULL && atomic_load_explicit(&request->slot->flags, memory_order_relaxed) & PHPRUN_DEADLINE;
}

/* Worker mode: a script that takes too long where no request has a deadline. To a template the signal says so itself. */
static bool is_script_overdue(void)
{
    const struct app *app = app_current();
    if (app == NULL || current_request() != NULL) {
        return false;
    }
    return app->worker == NULL ||
           atomic_load_explicit(&app->worker->pool->workers[app->worker->number].overdue, memory_order_relaxed) != 0;
}

/* Of this thread: others may have a script that takes too long, too. */
static _Thread_local volatile sig_atomic_t signalled;

static void on_signal(int number)
{
    (void)number;
    /* The worker may be at another request by now: the mark in the slot decides. */
    if (is_due(current_request()) || is_script_overdue()) {
        signalled = 1;
        zend_atomic_bool_store_ex(&EG(vm_interrupt), true);
    }
}

void deadline_enforce(struct request *request)
{
    if (is_due(request) && !request->timed_out) {
        request->timed_out = true;
        /* What shutdown functions wait for is not to be cut short. */
        atomic_fetch_and(&request->slot->flags, ~PHPRUN_DEADLINE);
        zend_error_noreturn(E_ERROR, "Maximum request time exceeded (timeout_ms of pool \"%s\")", phprun_pool_name);
    }
}

void deadline_enforce_script(void)
{
    if (!signalled || !is_script_overdue()) {
        return;
    }
    const struct app *app = app_current();
    signalled = 0;
    if (app->worker != NULL) {
        atomic_store(&app->worker->pool->workers[app->worker->number].overdue, 0);
    }
    if (app->stage == APP_BOOTING) {
        zend_error_noreturn(E_ERROR,
                            "Maximum boot time exceeded (worker.boot_timeout_ms of pool \"%s\"): the worker script has "
                            "not called phprun_handle_request()",
                            phprun_pool_name);
    }
    zend_error_noreturn(E_ERROR, "The worker script of pool \"%s\" takes too long to end", phprun_pool_name);
}

void deadline_startup(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigemptyset(&action.sa_mask);
    sigaction(PHPRUN_DEADLINE_SIGNAL, &action, NULL);
}
