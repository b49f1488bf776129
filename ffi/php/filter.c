/*
 * filter_input(INPUT_SERVER) reads a copy of $_SERVER that the filter extension keeps, filled variable by variable
 * through the SAPI's input filter: four allocations each, more than all else that $_SERVER costs, for a function
 * few requests call. So the copy is filled when one of those functions is first asked for it.
 *
 * Only while filter.default is what it always is (unsafe_raw); otherwise the filter changes the values themselves.
 */
#include "shim.h"

#include <main/php_variables.h>
#include <string.h>

#define INPUT_SERVER_NUMBER PARSE_SERVER /* the extension's constant is the parser's */

static const char *const names[] = {"filter_input", "filter_input_array", "filter_has_var"};
static zif_handler original[sizeof names / sizeof names[0]];
static bool postponed;

bool filter_is_postponed(void)
{
    return postponed;
}

static void fill_copy(void)
{
    struct request *request = current_request();
    if (request == NULL || request->filtered) {
        return;
    }
    request->filtered = true;
    zend_is_auto_global_str(ZEND_STRL("_SERVER"));
    zval *server = &PG(http_globals)[TRACK_VARS_SERVER];
    if (Z_TYPE_P(server) != IS_ARRAY) {
        return;
    }
    zend_string *name;
    zval *value;
    ZEND_HASH_FOREACH_STR_KEY_VAL(Z_ARRVAL_P(server), name, value) {
        if (name == NULL || Z_TYPE_P(value) != IS_STRING) {
            continue;
        }
        char *copy = estrndup(Z_STRVAL_P(value), Z_STRLEN_P(value));
        size_t length;
        sapi_module.input_filter(PARSE_SERVER, ZSTR_VAL(name), &copy, Z_STRLEN_P(value), &length);
        efree(copy);
    } ZEND_HASH_FOREACH_END();
}

static void run_filled(size_t which, INTERNAL_FUNCTION_PARAMETERS)
{
    if (ZEND_NUM_ARGS() > 0) {
        const zval *type = ZEND_CALL_ARG(execute_data, 1);
        if (Z_TYPE_P(type) == IS_LONG && Z_LVAL_P(type) == INPUT_SERVER_NUMBER) {
            fill_copy();
        }
    }
    original[which](INTERNAL_FUNCTION_PARAM_PASSTHRU);
}

static ZEND_NAMED_FUNCTION(filled_filter_input)
{
    run_filled(0, INTERNAL_FUNCTION_PARAM_PASSTHRU);
}

static ZEND_NAMED_FUNCTION(filled_filter_input_array)
{
    run_filled(1, INTERNAL_FUNCTION_PARAM_PASSTHRU);
}

static ZEND_NAMED_FUNCTION(filled_filter_has_var)
{
    run_filled(2, INTERNAL_FUNCTION_PARAM_PASSTHRU);
}

void filter_startup(void)
{
    static const zif_handler ours[] = {filled_filter_input, filled_filter_input_array, filled_filter_has_var};
    const char *filter = zend_ini_string("filter.default", sizeof "filter.default" - 1, 0);
    if (filter == NULL || strcmp(filter, "unsafe_raw") != 0) {
        return;
    }
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        /* One that is not there (disable_functions) nobody can call. */
        postponed |= replace_function(names[i], ours[i], &original[i]);
    }
}
