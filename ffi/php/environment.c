/*
 * The environment of a request, where workers are threads of one process. That of the process belongs to all of them:
 * what one request put there the others would see, and a library that reads a variable while another thread changes
 * one may read freed memory. So nobody changes it. What putenv() has changed is noted for the thread until its
 * request ends, and getenv(), $_ENV, libraries that PHP uses and programs that the script starts see it from there.
 */
#include "shim.h"

#include <main/php_variables.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * Name → "NAME=value", or NULL for one that was removed. Not in the request's memory: it outlives that, and the
 * functions of C that hand it out may be called at any time.
 */
static __thread HashTable *changes;
/* Worker mode: what the boot has changed, which each request begins with. */
static __thread HashTable *changes_of_boot;

static void (*import_from_process)(zval *array);

static void free_change(zval *change)
{
    free(Z_PTR_P(change));
}

static void note_change(const char *setting)
{
    const size_t name_length = strcspn(setting, "=");
    if (name_length == 0) {
        return; /* begins with a NUL: there is no such variable to remove */
    }
    if (changes == NULL) {
        changes = pemalloc(sizeof *changes, 1);
        zend_hash_init(changes, 8, NULL, free_change, 1);
    }
    char *entry = setting[name_length] == '=' ? strdup(setting) : NULL;
    zend_hash_str_update_ptr(changes, setting, name_length, entry);
}

char *environment_get(const char *name)
{
    const size_t length = strlen(name);
    const zval *change = changes != NULL ? zend_hash_str_find(changes, name, length) : NULL;
    if (change == NULL) {
        return getenv(name);
    }
    char *entry = Z_PTR_P(change);
    return entry != NULL ? entry + length + 1 : NULL;
}

static bool is_changed(const char *entry)
{
    return zend_hash_str_exists(changes, entry, strcspn(entry, "="));
}

char **environment_list(void)
{
    if (changes == NULL) {
        return NULL;
    }
    size_t count = zend_hash_num_elements(changes) + 1;
    for (char **entry = environ; *entry != NULL; entry++) {
        count++;
    }
    char **list = pemalloc(count * sizeof *list, 1);
    char **end = list;
    for (char **entry = environ; *entry != NULL; entry++) {
        if (!is_changed(*entry)) {
            *end++ = *entry;
        }
    }
    char *entry;
    ZEND_HASH_FOREACH_PTR(changes, entry) {
        if (entry != NULL) {
            *end++ = entry;
        }
    } ZEND_HASH_FOREACH_END();
    *end = NULL;
    return list;
}

/* Names that PHP leaves out of $_ENV. */
static bool is_imported(const zend_string *name)
{
    return strpbrk(ZSTR_VAL(name), " .[") == NULL;
}

static void import_environment(zval *array)
{
    import_from_process(array);
    if (changes == NULL) {
        return;
    }
    zend_string *name;
    const char *entry;
    ZEND_HASH_FOREACH_STR_KEY_PTR(changes, name, entry) {
        if (!is_imported(name)) {
            continue;
        }
        if (entry == NULL) {
            zend_symtable_str_del(Z_ARRVAL_P(array), ZSTR_VAL(name), ZSTR_LEN(name));
        } else {
            zval value;
            ZVAL_STRING(&value, entry + ZSTR_LEN(name) + 1);
            zend_symtable_str_update(Z_ARRVAL_P(array), ZSTR_VAL(name), ZSTR_LEN(name), &value);
        }
    } ZEND_HASH_FOREACH_END();
}

static ZEND_NAMED_FUNCTION(put)
{
    char *setting;
    size_t length;
    ZEND_PARSE_PARAMETERS_START(1, 1)
        Z_PARAM_STRING(setting, length)
    ZEND_PARSE_PARAMETERS_END();

    if (length == 0 || *setting == '=') {
        zend_argument_value_error(1, "must have a valid syntax");
        RETURN_THROWS();
    }
    note_change(setting);
    RETURN_TRUE;
}

static ZEND_NAMED_FUNCTION(get)
{
    char *name = NULL;
    size_t length;
    bool local_only = false;
    ZEND_PARSE_PARAMETERS_START(0, 2)
        Z_PARAM_OPTIONAL
        Z_PARAM_STRING_OR_NULL(name, length)
        Z_PARAM_BOOL(local_only)
    ZEND_PARSE_PARAMETERS_END();

    if (name == NULL) {
        array_init(return_value);
        php_import_environment_variables(return_value);
        return;
    }
    char *of_request = local_only ? NULL : sapi_getenv(name, length);
    if (of_request != NULL) {
        RETVAL_STRING(of_request);
        efree(of_request);
        return;
    }
    const char *value = environment_get(name);
    if (value == NULL) {
        RETURN_FALSE;
    }
    RETURN_STRING(value);
}

void environment_thread_startup(void)
{
    replace_function("putenv", put, NULL);
    replace_function("getenv", get, NULL);
    import_from_process = php_import_environment_variables;
    php_import_environment_variables = import_environment;
    replace_import("getenv", (void *)environment_get);
}

static void forget(HashTable **table)
{
    if (*table != NULL) {
        zend_hash_destroy(*table);
        pefree(*table, 1);
        *table = NULL;
    }
}

void environment_request_shutdown(void)
{
    forget(&changes);
}

static HashTable *copy_of(HashTable *table)
{
    if (table == NULL) {
        return NULL;
    }
    HashTable *copy = pemalloc(sizeof *copy, 1);
    zend_hash_init(copy, zend_hash_num_elements(table), NULL, free_change, 1);
    zend_string *name;
    const char *entry;
    ZEND_HASH_FOREACH_STR_KEY_PTR(table, name, entry) {
        zend_hash_str_update_ptr(copy, ZSTR_VAL(name), ZSTR_LEN(name), entry != NULL ? strdup(entry) : NULL);
    } ZEND_HASH_FOREACH_END();
    return copy;
}

void environment_note_boot(void)
{
    changes_of_boot = copy_of(changes);
}

void environment_reset(void)
{
    forget(&changes);
    changes = copy_of(changes_of_boot);
}

void environment_forget_boot(void)
{
    forget(&changes_of_boot);
}
