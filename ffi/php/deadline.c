/*
 * The soft deadline. The front marks the slot and has the worker signalled; PHP ends the script at its next
 * interrupt check with a fatal error of its own, so shutdown functions and destructors still run.
 *
 * A real-time signal, because zend-signals defers the usual ones while PHP is inside its own critical
 * sections. No SA_RESTART: a script that sleeps or waits must come back to the VM. One signal may come right before it
 * goes to sleep, so the front repeats it until the mark is gone.
 */
#define _GNU_SOURCE
#include "shim.h"

#include <signal.h>

static bool is_due(const struct request *request)
{
    return request != NULL && atomic_load_explicit(&request->slot->flags, memory_order_relaxed) & PHPRUN_DEADLINE;
}

static void on_signal(int number)
{
    (void)number;
    /* The worker may be at another request by now: the mark in the slot decides. */
    if (is_due(current_request())) {
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

void deadline_startup(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigemptyset(&action.sa_mask);
    sigaction(PHPRUN_DEADLINE_SIGNAL, &action, NULL);
}
