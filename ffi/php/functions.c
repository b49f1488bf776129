/* The functions phprun gives to scripts, and its section in phpinfo(). */
#include "app.h"
#include "log_function.h"

#include <ext/standard/head.h>
#include <ext/standard/info.h>
#include <string.h>

ZEND_BEGIN_ARG_WITH_RETURN_TYPE_INFO_EX(arginfo_bool, 0, 0, _IS_BOOL, 0)
ZEND_END_ARG_INFO()

ZEND_BEGIN_ARG_WITH_RETURN_TYPE_INFO_EX(arginfo_array, 0, 0, IS_ARRAY, 0)
ZEND_END_ARG_INFO()

/* Sends the response and lets the script go on. False when it has been sent already. */
PHP_FUNCTION(phprun_finish_request)
{
    ZEND_PARSE_PARAMETERS_NONE();
    struct request *request = current_request();
    if (request == NULL || request->finished) {
        RETURN_FALSE;
    }
    php_output_end_all();
    php_header();
    request_finish(request, PHPRUN_RESPONDED);
    RETURN_TRUE;
}

/* HTTP_ACCEPT_LANGUAGE → Accept-Language, as php-fpm spells it. */
static void add_request_header(zval *array, const char *name, const char *value)
{
    const size_t length = strlen(name);
    zend_string *pretty = zend_string_alloc(length, 0);
    bool start = true;
    for (size_t i = 0; i < length; i++) {
        const char c = name[i];
        ZSTR_VAL(pretty)[i] = c == '_' ? '-' : (start || c < 'A' || c > 'Z') ? c : (char)(c + ('a' - 'A'));
        start = c == '_';
    }
    ZSTR_VAL(pretty)[length] = '\0';
    zval entry;
    ZVAL_STRING(&entry, value);
    zend_symtable_update(Z_ARRVAL_P(array), pretty, &entry);
    zend_string_release(pretty);
}

static void add_if_header(zval *array, const char *name, const char *value)
{
    if (strncmp(name, "HTTP_", 5) == 0) {
        add_request_header(array, name + 5, value);
    }
}

PHP_FUNCTION(apache_request_headers)
{
    ZEND_PARSE_PARAMETERS_NONE();
    array_init(return_value);
    const struct request *request = current_request();
    if (request == NULL) {
        return;
    }
    for (int field = 0; field < FIELD_COUNT; field++) {
        const char *name = phprun_field_names[field];
        const char *value = request->fields[field];
        if (*value == '\0') {
            continue;
        }
        if (field == FIELD_CONTENT_TYPE || field == FIELD_CONTENT_LENGTH) {
            add_request_header(return_value, name, value);
        } else {
            add_if_header(return_value, name, value);
        }
    }
    for (const char *at = request->pairs; at < request->pairs_end;) {
        const char *value = at + strlen(at) + 1;
        add_if_header(return_value, at, value);
        at = value + strlen(value) + 1;
    }
}

static void add_response_header(void *data, void *array)
{
    const sapi_header_struct *header = data;
    const char *colon = memchr(header->header, ':', header->header_len);
    if (colon == NULL) {
        return;
    }
    const char *value = colon + 1;
    while (*value == ' ' || *value == '\t') {
        value++;
    }
    zval entry;
    ZVAL_STRING(&entry, value);
    zend_symtable_str_update(Z_ARRVAL_P((zval *)array), header->header, (size_t)(colon - header->header), &entry);
}

PHP_FUNCTION(apache_response_headers)
{
    ZEND_PARSE_PARAMETERS_NONE();
    array_init(return_value);
    zend_llist_apply_with_argument(&SG(sapi_headers).headers, add_response_header, return_value);
}

/* Who answers, and since when. */
PHP_FUNCTION(phprun_worker_info)
{
    ZEND_PARSE_PARAMETERS_NONE();
    const struct worker *worker = log_worker();
    const struct app *app = app_current();
    array_init(return_value);
    add_assoc_string(return_value, "mode", app_config.script != NULL ? "worker" : "classic");
    add_assoc_string(return_value, "pool", (char *)phprun_pool_name);
    if (worker == NULL) {
        /* A template, while it boots: it is no worker yet. */
        add_assoc_null(return_value, "worker");
        add_assoc_null(return_value, "generation");
        add_assoc_long(return_value, "requests", 0);
    } else {
        const struct phprun_worker *record = &worker->pool->workers[worker->number];
        add_assoc_long(return_value, "worker", (zend_long)worker->number);
        add_assoc_long(return_value, "generation", (zend_long)record->generation);
        add_assoc_long(return_value, "requests", (zend_long)atomic_load(&record->requests));
    }
    if (app != NULL && app->booted_at != 0) {
        add_assoc_double(return_value, "booted_at", app->booted_at);
    } else {
        add_assoc_null(return_value, "booted_at");
    }
}

ZEND_BEGIN_ARG_WITH_RETURN_TYPE_INFO_EX(arginfo_handle, 0, 1, _IS_BOOL, 0)
    ZEND_ARG_TYPE_INFO(0, handler, IS_CALLABLE, 0)
ZEND_END_ARG_INFO()

/* As FrankenPHP names it, for calls by name. */
ZEND_BEGIN_ARG_WITH_RETURN_TYPE_INFO_EX(arginfo_frankenphp_handle, 0, 1, _IS_BOOL, 0)
    ZEND_ARG_TYPE_INFO(0, callback, IS_CALLABLE, 0)
ZEND_END_ARG_INFO()

ZEND_BEGIN_ARG_WITH_RETURN_TYPE_INFO_EX(arginfo_hook, 0, 1, IS_VOID, 0)
    ZEND_ARG_TYPE_INFO(0, hook, IS_CALLABLE, 0)
ZEND_END_ARG_INFO()

ZEND_BEGIN_ARG_WITH_RETURN_TYPE_INFO_EX(arginfo_log, 0, 1, IS_VOID, 0)
    ZEND_ARG_TYPE_INFO(0, message, IS_STRING, 0)
    ZEND_ARG_TYPE_INFO_WITH_DEFAULT_VALUE(0, level, IS_LONG, 0, "PHPRUN_LOG_LEVEL_INFO")
    ZEND_ARG_TYPE_INFO_WITH_DEFAULT_VALUE(0, context, IS_ARRAY, 0, "[]")
ZEND_END_ARG_INFO()

static const zend_function_entry functions[] = {
    ZEND_NAMED_FE(phprun_handle_request, ZEND_FN(phprun_handle_request), arginfo_handle)
    ZEND_NAMED_FE(phprun_finish_request, ZEND_FN(phprun_finish_request), arginfo_bool)
    ZEND_NAMED_FE(phprun_worker_info, ZEND_FN(phprun_worker_info), arginfo_array)
    ZEND_NAMED_FE(phprun_log, ZEND_FN(phprun_log), arginfo_log)
    ZEND_NAMED_FE(phprun_before_fork, ZEND_FN(phprun_before_fork), arginfo_hook)
    ZEND_NAMED_FE(phprun_after_fork, ZEND_FN(phprun_after_fork), arginfo_hook)
    ZEND_NAMED_FE(fastcgi_finish_request, ZEND_FN(phprun_finish_request), arginfo_bool)
    ZEND_NAMED_FE(apache_request_headers, ZEND_FN(apache_request_headers), arginfo_array)
    ZEND_NAMED_FE(getallheaders, ZEND_FN(apache_request_headers), arginfo_array)
    ZEND_NAMED_FE(apache_response_headers, ZEND_FN(apache_response_headers), arginfo_array)
    ZEND_FE_END
};

/* php.compat: code written for FrankenPHP's worker mode runs as it is. */
static const zend_function_entry frankenphp_functions[] = {
    ZEND_NAMED_FE(frankenphp_handle_request, ZEND_FN(phprun_handle_request), arginfo_frankenphp_handle)
    ZEND_NAMED_FE(frankenphp_finish_request, ZEND_FN(phprun_finish_request), arginfo_bool)
    ZEND_NAMED_FE(frankenphp_request_headers, ZEND_FN(apache_request_headers), arginfo_array)
    ZEND_NAMED_FE(frankenphp_response_headers, ZEND_FN(apache_response_headers), arginfo_array)
    ZEND_NAMED_FE(frankenphp_log, ZEND_FN(phprun_log), arginfo_log)
    ZEND_FE_END
};

static PHP_MINFO_FUNCTION(phprun)
{
    (void)zend_module;
    php_info_print_table_start();
    php_info_print_table_row(2, "phprun", "enabled");
    php_info_print_table_row(2, "Pool", phprun_pool_name);
    const struct request *request = current_request();
    if (request != NULL) {
        struct phprun_worker *record = &request->worker->pool->workers[request->worker->number];
        char text[32];
        snprintf(text, sizeof text, "%u", request->worker->number);
        php_info_print_table_row(2, "Worker", text);
        snprintf(text, sizeof text, "%u", record->generation);
        php_info_print_table_row(2, "Generation", text);
        snprintf(text, sizeof text, ZEND_ULONG_FMT, (zend_ulong)atomic_load(&record->requests));
        php_info_print_table_row(2, "Requests served", text);
    }
    php_info_print_table_row(2, "Mode", app_config.script != NULL ? "worker" : "classic");
    php_info_print_table_row(2, "Isolation", phprun_threads ? "thread" : "process");
    php_info_print_table_end();
}

/* In module start-up and not after it: opcache takes over the table of interned strings in between. */
static PHP_MINIT_FUNCTION(phprun)
{
    variables_startup();
    interrupt_startup();
    log_function_startup(module_number, phprun_frankenphp);
    return phprun_frankenphp ? zend_register_functions(NULL, frankenphp_functions, NULL, type) : SUCCESS;
}

/* Behind shutdown functions and destructors: what they left unread of the body need not be read now. */
static PHP_RSHUTDOWN_FUNCTION(phprun)
{
    (void)type, (void)module_number;
    SG(post_read) = 1;
    return SUCCESS;
}

zend_module_entry phprun_module = {
    STANDARD_MODULE_HEADER,
    .name = "phprun",
    .functions = functions,
    .module_startup_func = PHP_MINIT(phprun),
    .request_shutdown_func = PHP_RSHUTDOWN(phprun),
    .info_func = PHP_MINFO(phprun),
    .version = PHP_VERSION,
    STANDARD_MODULE_PROPERTIES,
};
