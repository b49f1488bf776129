/*
 * PHP's interrupt: a flag that the VM looks at on jumps and calls, where a script is in order and may be ended.
 * Whoever wants the script's thread sets it; all are asked in turn.
 */
#include "shim.h"

static void (*next_interrupt)(zend_execute_data *execute_data);

static void on_interrupt(zend_execute_data *execute_data)
{
    struct request *request = current_request();
    if (request != NULL) {
        look_answer(request);
        /* Behind the look: these may not return. */
        deadline_enforce(request);
        if (phprun_threads) {
            memory_enforce(request);
        }
    } else {
        deadline_enforce_script();
    }
    if (next_interrupt != NULL) {
        next_interrupt(execute_data);
    }
}

void interrupt_startup(void)
{
    next_interrupt = zend_interrupt_function;
    zend_interrupt_function = on_interrupt;
}
