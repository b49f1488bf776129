/*
 * Functions of PHP's own that are ours in part: their entry stays, with its arguments and its documentation, and
 * leads to a handler of ours, which may call the one before.
 *
 * Each thread has a function table. From PHP 8.3 on they share their entries, so what the host's main thread replaces
 * is replaced for all. PHP 8.2 gives a new thread copies, of entries that lie where we cannot reach them; so what has
 * been replaced is noted, for each thread to replace it in its own table.
 */
#include "shim.h"

#include <string.h>

#define MOST_REPLACED 64

static struct {
    const char *name;
    zif_handler handler;
} replaced[MOST_REPLACED];
static size_t replaced_count;

static zend_internal_function *find_internal(const char *name)
{
    zend_function *function = zend_hash_str_find_ptr(CG(function_table), name, strlen(name));
    return function != NULL && function->type == ZEND_INTERNAL_FUNCTION ? &function->internal_function : NULL;
}

bool replace_function(const char *name, zif_handler handler, zif_handler *original)
{
    zend_internal_function *function = find_internal(name);
    if (function == NULL || replaced_count == MOST_REPLACED) {
        return false;
    }
    if (original != NULL) {
        *original = function->handler;
    }
    function->handler = handler;
    replaced[replaced_count].name = name;
    replaced[replaced_count].handler = handler;
    replaced_count++;
    return true;
}

void replace_in_thread(void)
{
    for (size_t i = 0; i < replaced_count; i++) {
        zend_internal_function *function = find_internal(replaced[i].name);
        /* Not written where it is shared: other threads read it. */
        if (function != NULL && function->handler != replaced[i].handler) {
            function->handler = replaced[i].handler;
        }
    }
}
