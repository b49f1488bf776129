/*
 * What each request finds anew in worker mode, though PHP's own request goes on: superglobals, headers and status,
 * output, the body, uploads, the time limit, and what little else PHP keeps of a request. The order is that of
 * php_request_startup() and php_request_shutdown().
 */
#define _GNU_SOURCE
#include "app.h"

#include <ext/standard/basic_functions.h>
#include <ext/standard/file.h>
#include <ext/standard/php_filestat.h>
#include <ext/standard/url_scanner_ex.h>
#include <main/php_output.h>
#include <main/php_variables.h>
#include <string.h>
#include <sys/stat.h>

/* Extensions whose state is the request's: they are told of its begin and its end. Those that are not there are NULL. */
static zend_module_entry *filter_module, *zlib_module, *random_module, *opcache_module;
static zend_function *clear_last_error, *clear_xml_errors;
/* Of the libphp that runs, which may be newer than the headers this was compiled with. */
static char powered_by[64];

static zend_module_entry *find_module(const char *name)
{
    return zend_hash_str_find_ptr(&module_registry, name, strlen(name));
}

void fresh_startup(void)
{
    filter_module = find_module("filter");
    zlib_module = find_module("zlib");
    random_module = find_module("random");
    opcache_module = find_module("zend opcache");
    const zend_module_entry *standard = find_module("standard");
    snprintf(powered_by, sizeof powered_by, "X-Powered-By: PHP/%s", standard != NULL ? standard->version : PHP_VERSION);
    clear_last_error = zend_hash_str_find_ptr(CG(function_table), ZEND_STRL("error_clear_last"));
    clear_xml_errors = zend_hash_str_find_ptr(CG(function_table), ZEND_STRL("libxml_clear_errors"));
}

static void tell_begin(const zend_module_entry *module)
{
    if (module != NULL && module->request_startup_func != NULL) {
        module->request_startup_func(module->type, module->module_number);
    }
}

static void tell_end(const zend_module_entry *module)
{
    if (module != NULL && module->request_shutdown_func != NULL) {
        module->request_shutdown_func(module->type, module->module_number);
    }
}

/* ---- superglobals ------------------------------------------------------------------------------------------------ */

static const struct {
    uint32_t track; /* in PG(http_globals) */
    const char *name;
    size_t length;
} inputs[] = {
    {TRACK_VARS_GET, ZEND_STRL("_GET")},
    {TRACK_VARS_POST, ZEND_STRL("_POST")},
    {TRACK_VARS_COOKIE, ZEND_STRL("_COOKIE")},
    {TRACK_VARS_FILES, ZEND_STRL("_FILES")},
};

/*
 * A superglobal is made when a script that names it is compiled, which in worker mode was long ago: what has been made
 * once is made for each request. $_ENV is the application's, and $GLOBALS is no array of its own.
 */
static void make_superglobals(void)
{
    zend_auto_global *global;
    /* PHP makes this one only where there is none, and counts a reference that an empty array cannot have. */
    ZVAL_UNDEF(&PG(http_globals)[TRACK_VARS_FILES]);
    ZEND_HASH_FOREACH_PTR(CG(auto_globals), global) {
        if (global->auto_global_callback == NULL || zend_string_equals_literal(global->name, "_ENV") ||
            zend_string_equals_literal(global->name, "GLOBALS")) {
            continue;
        }
        if (!global->jit || !global->armed) {
            global->armed = global->auto_global_callback(global->name);
        }
    } ZEND_HASH_FOREACH_END();
}

static void set_global(const char *name, size_t length, zval *value)
{
    zend_hash_str_update(&EG(symbol_table), name, length, value);
}

/* Never left half freed: extensions read them too. */
static void empty_superglobals(struct app *app)
{
    zval empty;
    for (size_t i = 0; i < sizeof inputs / sizeof inputs[0]; i++) {
        zval *input = &PG(http_globals)[inputs[i].track];
        zval_ptr_dtor(input);
        ZVAL_EMPTY_ARRAY(input);
        ZVAL_EMPTY_ARRAY(&empty);
        set_global(inputs[i].name, inputs[i].length, &empty);
    }
    if (zend_hash_str_exists(&EG(symbol_table), ZEND_STRL("_REQUEST"))) {
        ZVAL_EMPTY_ARRAY(&empty);
        set_global(ZEND_STRL("_REQUEST"), &empty);
    }
    zend_hash_str_del(&EG(symbol_table), ZEND_STRL("_SESSION"));
    if (Z_TYPE(app->server_of_boot) == IS_ARRAY && Z_TYPE(PG(http_globals)[TRACK_VARS_SERVER]) == IS_ARRAY) {
        zval *server = &PG(http_globals)[TRACK_VARS_SERVER];
        zval_ptr_dtor(server);
        ZVAL_COPY(server, &app->server_of_boot);
        zval copy;
        ZVAL_COPY(&copy, server);
        set_global(ZEND_STRL("_SERVER"), &copy);
    }
}

/* ---- output ------------------------------------------------------------------------------------------------------ */

static void start_output(void)
{
    php_output_activate();
    PG(header_is_being_sent) = 0;
    PG(connection_status) = PHP_CONNECTION_NORMAL;
}

/* As php_request_startup() starts them. */
static void start_output_handlers(void)
{
    if (PG(output_handler) != NULL && PG(output_handler)[0] != '\0') {
        zval handler;
        ZVAL_STRING(&handler, PG(output_handler));
        php_output_start_user(&handler, 0, PHP_OUTPUT_HANDLER_STDFLAGS);
        zval_ptr_dtor(&handler);
    } else if (PG(output_buffering)) {
        php_output_start_user(NULL, PG(output_buffering) > 1 ? (size_t)PG(output_buffering) : 0,
                              PHP_OUTPUT_HANDLER_STDFLAGS);
    } else if (PG(implicit_flush)) {
        php_output_set_implicit_flush(1);
    }
}

void fresh_end_output(void)
{
    tell_end(zlib_module);
    php_output_deactivate();
    /* What comes behind the answer is dropped: the request is finished. */
    php_output_activate();
}

/* ---- the time limit ---------------------------------------------------------------------------------------------- */

static _Thread_local bool timer_is_set_up;

static void start_timer(void)
{
    zend_atomic_bool_store_ex(&EG(timed_out), false);
    /* The signal's handler stays; the first time it is not there yet. */
    zend_set_timeout(EG(timeout_seconds), !timer_is_set_up);
    timer_is_set_up = true;
}

static void restore_setting(const char *setting, zend_long now, zend_long of_boot)
{
    if (now == of_boot) {
        return;
    }
    zend_string *name = zend_string_init(setting, strlen(setting), 0);
    zend_string *value = zend_long_to_str(of_boot);
    zend_alter_ini_entry_ex(name, value, PHP_INI_USER, PHP_INI_STAGE_DEACTIVATE, 1);
    zend_string_release(value);
    zend_string_release(name);
}

/* set_time_limit() and ignore_user_abort() are for their request. */
static void restore_settings(const struct app *app)
{
    restore_setting("max_execution_time", EG(timeout_seconds), app->seconds_of_boot);
    restore_setting("ignore_user_abort", PG(ignore_user_abort), app->ignores_abort_of_boot);
}

/* ---- what else PHP keeps ----------------------------------------------------------------------------------------- */

static ssize_t read_nothing(php_stream *stream, char *buffer, size_t count)
{
    (void)buffer, (void)count;
    stream->eof = 1;
    return 0;
}

static ssize_t write_nothing(php_stream *stream, const char *buffer, size_t count)
{
    (void)stream, (void)buffer, (void)count;
    return -1;
}

/* As php_stream_input_close(). */
static int close_ended_input(php_stream *stream, int close_handle)
{
    (void)close_handle;
    efree(stream->abstract);
    stream->abstract = NULL;
    return 0;
}

/*
 * A php://input that the script still has reads from the body, or from the next request's: from here on it is at its
 * end. It is not closed: objects that read from it (SplFileObject, XMLReader) would be left with freed memory.
 */
static void end_inputs(void)
{
    static const php_stream_ops ended = {
        .write = write_nothing, .read = read_nothing, .close = close_ended_input, .label = "Input that has ended"};
    zend_resource *resource;
    const int kind = php_file_le_stream();
    ZEND_HASH_FOREACH_PTR(&EG(regular_list), resource) {
        php_stream *stream = resource != NULL && resource->type == kind ? resource->ptr : NULL;
        if (stream != NULL && strcmp(stream->ops->label, "Input") == 0) {
            stream->ops = &ended;
            stream->readpos = stream->writepos = 0;
            stream->eof = 1;
        }
    } ZEND_HASH_FOREACH_END();
}

static void free_body(void)
{
    php_stream *body = SG(request_info).request_body;
    if (body != NULL) {
        end_inputs();
        SG(request_info).request_body = NULL;
        php_stream_free(body, PHP_STREAM_FREE_CLOSE);
        /* It is read, as far as PHP is concerned. */
    }
    SG(post_read) = 1;
}

static void call(zend_function *function)
{
    zval nothing;
    zend_call_known_function(function, NULL, NULL, &nothing, 0, NULL, NULL);
}

static void forget_errors(void)
{
    if (PG(last_error_message) != NULL && clear_last_error != NULL) {
        call(clear_last_error);
    }
    /* Those that libxml_use_internal_errors() collects: they quote the document. */
    if (clear_xml_errors != NULL) {
        call(clear_xml_errors);
    }
}

static _Thread_local mode_t mask_of_boot;

/* PHP notes in BG(umask) that a script has changed it: from here on, that a request has. */
static void note_mask(void)
{
    mask_of_boot = umask(077);
    umask(mask_of_boot);
    BG(umask) = -1;
}

/* stream_context_set_default() of a request: headers and passwords of its user, as a rule. */
static _Thread_local bool had_default_context;
static _Thread_local zval default_options; /* of that of the boot */

static void note_default_context(void)
{
    had_default_context = FG(default_context) != NULL;
    if (had_default_context) {
        ZVAL_COPY(&default_options, &FG(default_context)->options);
    }
}

static void restore_default_context(void)
{
    php_stream_context *context = FG(default_context);
    if (context == NULL) {
        return;
    }
    if (!had_default_context) {
        FG(default_context) = NULL;
        zend_list_delete(context->res);
    } else if (Z_ARR(context->options) != Z_ARR(default_options)) {
        zval_ptr_dtor(&context->options);
        ZVAL_COPY(&context->options, &default_options);
    }
}

void fresh_forget(void)
{
    zval_ptr_dtor(&default_options);
    ZVAL_UNDEF(&default_options);
}

static void forget_small_things(void)
{
    php_clear_stat_cache(0, NULL, 0);
    if (BG(strtok_string) != NULL) {
        zend_string_release(BG(strtok_string));
        BG(strtok_string) = NULL;
        BG(strtok_last) = NULL;
    }
    if (BG(umask) != -1) {
        umask(mask_of_boot);
        BG(umask) = -1;
    }
    /* output_add_rewrite_var(), and session ids in URLs */
    php_url_scanner_reset_vars();
    php_url_scanner_reset_session_vars();
    restore_default_context();
    forget_errors();
    if (!Z_ISUNDEF(SG(callback_func))) {
        zval_ptr_dtor(&SG(callback_func));
        ZVAL_UNDEF(&SG(callback_func));
    }
}

/*
 * opcache looks at the clock at the begin of each of PHP's requests, and compares the age of files with that; and it
 * looks whether it may use its memory. Once a second it is told that one has ended, and another begun.
 */
static void tell_opcache(void)
{
    static _Thread_local time_t told;
    const time_t now = (time_t)sapi_get_request_time();
    if (opcache_module == NULL || now == told) {
        return;
    }
    told = now;
    if (opcache_module->post_deactivate_func != NULL) {
        opcache_module->post_deactivate_func();
    }
    tell_begin(opcache_module);
}

/* ---- a request's begin and end ----------------------------------------------------------------------------------- */

void fresh_set_no_request(void)
{
    SG(request_info).request_method = NULL;
    SG(request_info).query_string = NULL;
    SG(request_info).request_uri = (char *)app_config.script_name;
    SG(request_info).path_translated = (char *)app_config.script;
    SG(request_info).content_type = NULL;
    SG(request_info).content_type_dup = NULL;
    SG(request_info).content_length = 0;
    SG(request_info).cookie_data = NULL;
    SG(request_info).request_body = NULL;
    SG(request_info).current_user = NULL;
}

void fresh_close(void)
{
    php_output_end_all();
    php_output_deactivate();
    sapi_deactivate();
    fresh_set_no_request();
}

void fresh_booted(struct app *app)
{
    zval *server = zend_hash_str_find(&EG(symbol_table), ZEND_STRL("_SERVER"));
    if (server != NULL) {
        ZVAL_DEREF(server);
        ZVAL_COPY(&app->server_of_boot, server);
    }
    note_mask();
    note_default_context();
    zend_unset_timeout();
    fresh_close();
    app->seconds_of_boot = EG(timeout_seconds);
    app->ignores_abort_of_boot = PG(ignore_user_abort);
}

void fresh_after_fork(void)
{
    timer_is_set_up = false;
    /* Or what hooks draw at random would be the same in all of them. */
    tell_begin(random_module);
}

/*
 * What PHP complains of before the script's turn, a form that is too large say, goes to the log alone, as anywhere: an
 * error handler of the application's would throw where nobody can catch it.
 */
static zval set_error_handler_aside(void)
{
    zval handler;
    ZVAL_COPY_VALUE(&handler, &EG(user_error_handler));
    ZVAL_UNDEF(&EG(user_error_handler));
    return handler;
}

void fresh_begin(struct app *app)
{
    const zval error_handler = set_error_handler_aside();
    request_set_info(&app->request);
    SG(server_context) = &app->request;
    PG(during_request_startup) = 1;
    start_output();
    sapi_activate();
    SG(sapi_started) = 1;
    start_timer();
    if (PG(expose_php)) {
        sapi_add_header(powered_by, strlen(powered_by), 1);
    }
    start_output_handlers();
    make_superglobals();
    /* zlib.output_compression; it looks in $_SERVER for what the client takes. */
    tell_begin(zlib_module);
    tell_begin(random_module);
    tell_opcache();
    ZVAL_COPY_VALUE(&EG(user_error_handler), &error_handler);
    PG(during_request_startup) = 0;
    zend_memory_reset_peak_usage();
}

void fresh_leave(struct app *app)
{
    php_output_end_all();
    php_output_deactivate();
    if (phprun_threads) {
        zend_unset_timeout(); /* theirs is a clock that goes on while they wait */
    }
    free_body();
    empty_superglobals(app);
    tell_end(filter_module);
    forget_small_things();
    restore_settings(app);
    reset_request(app->worker);
    opcache_look(&app->request);
    if (app_has(PHPRUN_APP_PARANOID)) {
        state_look(app);
    }
    /* Of destructors, those of garbage too: the next request has nothing to do with it. */
    app_settle_exception(app);
    /* Our callback in there gives the slot back. */
    sapi_deactivate();
    fresh_set_no_request();
}

void fresh_ending(void)
{
    fresh_set_no_request();
    start_output();
    SG(sapi_headers).http_response_code = 200;
    sapi_activate();
    SG(sapi_started) = 1;
}
