/* $_SERVER. */
#include "app.h"

#include <main/php_variables.h>
#include <string.h>

const char *const phprun_field_names[FIELD_COUNT] = {
    [FIELD_REQUEST_METHOD] = "REQUEST_METHOD",
    [FIELD_REQUEST_URI] = "REQUEST_URI",
    [FIELD_QUERY_STRING] = "QUERY_STRING",
    [FIELD_SCRIPT_FILENAME] = "SCRIPT_FILENAME",
    [FIELD_SCRIPT_NAME] = "SCRIPT_NAME",
    [FIELD_PATH_INFO] = "PATH_INFO",
    [FIELD_DOCUMENT_ROOT] = "DOCUMENT_ROOT",
    [FIELD_CONTENT_TYPE] = "CONTENT_TYPE",
    [FIELD_CONTENT_LENGTH] = "CONTENT_LENGTH",
    [FIELD_SERVER_PROTOCOL] = "SERVER_PROTOCOL",
    [FIELD_REQUEST_SCHEME] = "REQUEST_SCHEME",
    [FIELD_SERVER_NAME] = "SERVER_NAME",
    [FIELD_SERVER_ADDR] = "SERVER_ADDR",
    [FIELD_SERVER_PORT] = "SERVER_PORT",
    [FIELD_REMOTE_ADDR] = "REMOTE_ADDR",
    [FIELD_REMOTE_PORT] = "REMOTE_PORT",
    [FIELD_HTTP_HOST] = "HTTP_HOST",
    [FIELD_HTTP_COOKIE] = "HTTP_COOKIE",
    [FIELD_HTTP_AUTHORIZATION] = "HTTP_AUTHORIZATION",
};

/* nginx and php-fpm set these even when they are empty; the others only when the client sent them. */
static bool is_always_set(int field)
{
    return field < FIELD_HTTP_HOST && field != FIELD_PATH_INFO;
}

static zend_string *field_keys[FIELD_COUNT];
static zend_string *worker_key;

void variables_startup(void)
{
    for (int field = 0; field < FIELD_COUNT; field++) {
        const char *name = phprun_field_names[field];
        field_keys[field] = zend_string_init_interned(name, strlen(name), 1);
    }
    worker_key = zend_string_init_interned(ZEND_STRL("PHPRUN_WORKER"), 1);
}

/*
 * Sets one variable. The names are ours or have been mapped to [A-Z0-9_] by the front, so they need none of
 * the mangling of php_register_variable(); the input filter (filter_input(INPUT_SERVER)) must see them all.
 */
static void set_variable(HashTable *server, zend_string *name, const char *value, size_t length)
{
    zval entry;
    if (filter_is_postponed() || sapi_module.input_filter == php_default_input_filter) {
        ZVAL_STRINGL_FAST(&entry, value, length);
        zend_symtable_update(server, name, &entry);
        return;
    }
    char *filtered = estrndup(value, length);
    size_t filtered_length = length;
    if (sapi_module.input_filter(PARSE_SERVER, ZSTR_VAL(name), &filtered, length, &filtered_length)) {
        ZVAL_STRINGL_FAST(&entry, filtered, filtered_length);
        zend_symtable_update(server, name, &entry);
    }
    efree(filtered);
}

static void set_named(HashTable *server, const char *name, size_t name_length, const char *value)
{
    zend_string *key = zend_string_init(name, name_length, 0);
    set_variable(server, key, value, strlen(value));
    zend_string_release(key);
}

#define SET_LITERAL(server, name, value) set_named(server, name, sizeof(name) - 1, value)

/* nginx passes these two under both names, as headers like any other. */
static void set_body_headers(HashTable *server, const struct request *request)
{
    if (*request->fields[FIELD_CONTENT_TYPE] != '\0') {
        SET_LITERAL(server, "HTTP_CONTENT_TYPE", request->fields[FIELD_CONTENT_TYPE]);
    }
    if (*request->fields[FIELD_CONTENT_LENGTH] != '\0') {
        SET_LITERAL(server, "HTTP_CONTENT_LENGTH", request->fields[FIELD_CONTENT_LENGTH]);
    }
}

/* While a worker script boots: as in a request, as far as there is none. */
static void set_boot_variables(HashTable *server)
{
    SET_LITERAL(server, "SCRIPT_FILENAME", app_config.script);
    SET_LITERAL(server, "SCRIPT_NAME", app_config.script_name);
    SET_LITERAL(server, "PHP_SELF", app_config.script_name);
    SET_LITERAL(server, "DOCUMENT_ROOT", app_config.document_root);
}

/* By which code written for FrankenPHP tells worker mode. */
static void set_mode_variables(HashTable *server)
{
    if (app_config.script != NULL && phprun_frankenphp) {
        SET_LITERAL(server, "FRANKENPHP_WORKER", "1");
    }
}

static void set_script_variables(HashTable *server, const struct request *request)
{
    const char *name = request->fields[FIELD_SCRIPT_NAME];
    const char *path_info = request->fields[FIELD_PATH_INFO];
    if (*path_info == '\0') {
        SET_LITERAL(server, "DOCUMENT_URI", name);
        SET_LITERAL(server, "PHP_SELF", name);
        return;
    }
    zend_string *self = zend_string_concat2(name, strlen(name), path_info, strlen(path_info));
    SET_LITERAL(server, "DOCUMENT_URI", ZSTR_VAL(self));
    SET_LITERAL(server, "PHP_SELF", ZSTR_VAL(self));
    zend_string_release(self);

    const char *root = request->fields[FIELD_DOCUMENT_ROOT];
    zend_string *translated = zend_string_concat2(root, strlen(root), path_info, strlen(path_info));
    SET_LITERAL(server, "PATH_TRANSLATED", ZSTR_VAL(translated));
    zend_string_release(translated);
}

void register_server_variables(zval *array)
{
    const struct request *request = current_request();
    /* The environment first, as in php-fpm: a request variable of the same name wins. */
    php_import_environment_variables(array);
    HashTable *server = Z_ARRVAL_P(array);
    if (app_config.script != NULL) {
        set_mode_variables(server);
        if (request == NULL) {
            set_boot_variables(server);
        }
    }
    if (request == NULL) {
        return;
    }
    for (int field = 0; field < FIELD_COUNT; field++) {
        const char *value = request->fields[field];
        if (*value != '\0' || is_always_set(field)) {
            set_variable(server, field_keys[field], value, strlen(value));
        }
    }
    for (const char *at = request->pairs; at < request->pairs_end;) {
        const char *name = at;
        const size_t name_length = strlen(name);
        const char *value = name + name_length + 1;
        set_named(server, name, name_length, value);
        at = value + strlen(value) + 1;
    }
    if (request->slot->options & PHPRUN_REQUEST_HTTPS) {
        SET_LITERAL(server, "HTTPS", "on");
    }
    SET_LITERAL(server, "GATEWAY_INTERFACE", "CGI/1.1");
    /* php.env may say otherwise, for applications that look for a server they know. */
    if (!zend_hash_str_exists(server, ZEND_STRL("SERVER_SOFTWARE"))) {
        SET_LITERAL(server, "SERVER_SOFTWARE", "phprun");
    }
    /* php-cgi builds refuse to run without it, and applications have come to look for it. */
    SET_LITERAL(server, "REDIRECT_STATUS", "200");
    SET_LITERAL(server, "PHPRUN_POOL", phprun_pool_name);
    set_body_headers(server, request);
    set_script_variables(server, request);

    char number[16];
    const int digits = snprintf(number, sizeof number, "%u", request->worker->number);
    set_variable(server, worker_key, number, (size_t)digits);
}
