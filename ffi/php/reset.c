/*
 * worker.reset: what each request is to find as it was after the boot, though the one before has changed it. Off by
 * default but for the working directory: frameworks set much of it when they first need it, and rely on it later.
 */
#define _GNU_SOURCE
#include "app.h"

#include <ext/date/php_date.h>
#include <ext/standard/basic_functions.h>
#include <limits.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct handler {
    zval callable;
    int errors; /* the levels an error handler is for */
    int depth;  /* of those that it stands on */
};

/* As it was after the boot, of this thread. */
static _Thread_local struct {
    HashTable *ini; /* name → value, of what had been changed by then */
    HashTable putenv;
    bool has_putenv;
    zval env; /* $_ENV */
    char *folder;
    char *timezone; /* NULL: none had been set */
    char *locale;
    struct handler error, exception;
} boot;

static zend_module_entry *date_module;
static zif_handler original_chdir;
static _Thread_local bool has_moved;

static ZEND_NAMED_FUNCTION(noted_chdir)
{
    has_moved = true;
    original_chdir(INTERNAL_FUNCTION_PARAM_PASSTHRU);
}

void reset_startup(void)
{
    date_module = zend_hash_str_find_ptr(&module_registry, ZEND_STRL("date"));
    if (app_has(PHPRUN_APP_RESET_CWD)) {
        replace_function("chdir", noted_chdir, &original_chdir);
    }
}

/* ---- ini --------------------------------------------------------------------------------------------------------- */

static void note_ini(void)
{
    ALLOC_HASHTABLE(boot.ini);
    zend_hash_init(boot.ini, 8, NULL, ZVAL_PTR_DTOR, 0);
    if (EG(modified_ini_directives) == NULL) {
        return;
    }
    zend_ini_entry *entry;
    ZEND_HASH_FOREACH_PTR(EG(modified_ini_directives), entry) {
        zval value;
        if (entry->value != NULL) {
            ZVAL_STR_COPY(&value, entry->value);
        } else {
            ZVAL_NULL(&value);
        }
        zend_hash_update(boot.ini, entry->name, &value);
    } ZEND_HASH_FOREACH_END();
}

static bool is_as_booted(const zend_ini_entry *entry, const zval *value)
{
    if (value == NULL) {
        return false;
    }
    return Z_TYPE_P(value) == IS_STRING ? entry->value != NULL && zend_string_equals(entry->value, Z_STR_P(value))
                                        : entry->value == NULL;
}

static void reset_ini_entry(zend_ini_entry *entry)
{
    zval *value = zend_hash_find(boot.ini, entry->name);
    if (is_as_booted(entry, value)) {
        return;
    }
    /* The entry's own name goes with its place among the modified ones. */
    zend_string *name = zend_string_copy(entry->name);
    if (value != NULL && Z_TYPE_P(value) == IS_STRING) {
        zend_alter_ini_entry_ex(name, Z_STR_P(value), PHP_INI_USER, PHP_INI_STAGE_DEACTIVATE, 1);
    } else {
        zend_restore_ini_entry(name, PHP_INI_STAGE_DEACTIVATE);
    }
    zend_string_release(name);
}

/* ini_restore() takes back what the boot has set, too. */
static void restore_what_boot_has_set(void)
{
    zend_string *name;
    ZEND_HASH_FOREACH_STR_KEY(boot.ini, name) {
        zend_ini_entry *entry = zend_hash_find_ptr(EG(ini_directives), name);
        if (entry != NULL) {
            reset_ini_entry(entry);
        }
    } ZEND_HASH_FOREACH_END();
}

static void reset_ini(void)
{
    if (EG(modified_ini_directives) != NULL) {
        /* It changes under our hands. */
        HashTable *modified = zend_array_dup(EG(modified_ini_directives));
        zend_ini_entry *entry;
        ZEND_HASH_FOREACH_PTR(modified, entry) {
            reset_ini_entry(entry);
        } ZEND_HASH_FOREACH_END();
        zend_array_destroy(modified);
    }
    restore_what_boot_has_set();
}

/* ---- environment ------------------------------------------------------------------------------------------------- */

/*
 * PHP notes what putenv() has changed, and takes it back when it forgets that. What the boot has changed is set aside;
 * requests begin with a note of their own. Where workers are threads, environment.c does the like.
 */
static void note_env(void)
{
    /* Where no script has named it yet, a request would make it, and leave it behind. */
    zend_is_auto_global_str(ZEND_STRL("_ENV"));
    zval *env = zend_hash_str_find(&EG(symbol_table), ZEND_STRL("_ENV"));
    if (env != NULL) {
        ZVAL_DEREF(env);
        ZVAL_COPY(&boot.env, env);
    }
    if (phprun_threads) {
        environment_note_boot();
        return;
    }
    boot.putenv = BG(putenv_ht);
    boot.has_putenv = true;
    zend_hash_init(&BG(putenv_ht), 1, NULL, boot.putenv.pDestructor, 0);
}

static void reset_env(void)
{
    if (Z_TYPE(boot.env) == IS_ARRAY) {
        zval copy;
        ZVAL_COPY(&copy, &boot.env);
        zend_hash_str_update(&EG(symbol_table), ZEND_STRL("_ENV"), &copy);
    }
    if (phprun_threads) {
        environment_reset();
        return;
    }
    if (zend_hash_num_elements(&BG(putenv_ht)) > 0) {
        zend_hash_clean(&BG(putenv_ht));
    }
}

/* ---- handlers of errors and exceptions --------------------------------------------------------------------------- */

static void note_handler(struct handler *handler, const zval *callable, int errors, const zend_stack *below)
{
    ZVAL_COPY(&handler->callable, callable);
    handler->errors = errors;
    handler->depth = zend_stack_count(below);
}

static void note_handlers(void)
{
    note_handler(&boot.error, &EG(user_error_handler), EG(user_error_handler_error_reporting),
                 &EG(user_error_handlers));
    note_handler(&boot.exception, &EG(user_exception_handler), 0, &EG(user_exception_handlers));
}

static bool is_same(const zval *a, const zval *b)
{
    return Z_TYPE_P(a) == Z_TYPE_P(b) && (Z_TYPE_P(a) == IS_UNDEF || zend_is_identical((zval *)a, (zval *)b));
}

static void reset_handler(const struct handler *handler, zval *callable, zend_stack *below, zend_stack *errors)
{
    while (zend_stack_count(below) > handler->depth) {
        zval *top = zend_stack_top(below);
        zval_ptr_dtor(top);
        zend_stack_del_top(below);
        if (errors != NULL && zend_stack_count(errors) > 0) {
            zend_stack_del_top(errors);
        }
    }
    if (is_same(callable, &handler->callable)) {
        return;
    }
    zval old;
    ZVAL_COPY_VALUE(&old, callable);
    ZVAL_COPY(callable, &handler->callable);
    zval_ptr_dtor(&old);
}

static void reset_handlers(void)
{
    reset_handler(&boot.error, &EG(user_error_handler), &EG(user_error_handlers),
                  &EG(user_error_handlers_error_reporting));
    EG(user_error_handler_error_reporting) = boot.error.errors;
    reset_handler(&boot.exception, &EG(user_exception_handler), &EG(user_exception_handlers), NULL);
}

/* ---- time zone and locale ---------------------------------------------------------------------------------------- */

static char **timezone_setting(void)
{
#ifdef ZTS
    return &TSRMG_BULK(*date_module->globals_id_ptr, zend_date_globals *)->timezone;
#else
    return &((zend_date_globals *)date_module->globals_ptr)->timezone;
#endif
}

static void reset_timezone(void)
{
    char **timezone = timezone_setting();
    if (*timezone == NULL ? boot.timezone == NULL : boot.timezone != NULL && strcmp(*timezone, boot.timezone) == 0) {
        return;
    }
    if (*timezone != NULL) {
        efree(*timezone);
    }
    *timezone = boot.timezone != NULL ? estrdup(boot.timezone) : NULL;
}

static void note_locale(void)
{
    if (phprun_threads) {
        locale_note_boot();
        return;
    }
    boot.locale = strdup(setlocale(LC_ALL, NULL));
    BG(locale_changed) = 0; /* since the boot */
}

static void reset_locale(void)
{
    if (phprun_threads) {
        locale_reset();
        return;
    }
    if (!BG(locale_changed)) {
        return;
    }
    BG(locale_changed) = 0;
    setlocale(LC_ALL, boot.locale);
    zend_update_current_locale();
    if (BG(ctype_string) != NULL) {
        zend_string_release(BG(ctype_string));
        BG(ctype_string) = NULL;
    }
    const char *ctype = setlocale(LC_CTYPE, NULL);
    if (strcmp(ctype, "C") != 0) {
        BG(ctype_string) = zend_string_init(ctype, strlen(ctype), 0);
    }
}

/* ---- all of it --------------------------------------------------------------------------------------------------- */

void reset_booted(void)
{
    char folder[PATH_MAX];
    if (app_has(PHPRUN_APP_RESET_CWD)) {
        has_moved = false;
        boot.folder = VCWD_GETCWD(folder, sizeof folder) != NULL ? strdup(folder) : NULL;
    }
    if (app_has(PHPRUN_APP_RESET_INI)) {
        note_ini();
    }
    if (app_has(PHPRUN_APP_RESET_ENV)) {
        note_env();
    }
    if (app_has(PHPRUN_APP_RESET_HANDLERS)) {
        note_handlers();
    }
    if (app_has(PHPRUN_APP_RESET_TIMEZONE) && *timezone_setting() != NULL) {
        boot.timezone = strdup(*timezone_setting());
    }
    if (app_has(PHPRUN_APP_RESET_LOCALE)) {
        note_locale();
    }
}

void reset_request(struct worker *worker)
{
    if (has_moved && boot.folder != NULL) {
        has_moved = false;
        enter_folder(worker, boot.folder);
    }
    /* First: handlers and time zones are settings too. */
    if (app_has(PHPRUN_APP_RESET_INI)) {
        reset_ini();
    }
    if (app_has(PHPRUN_APP_RESET_ENV)) {
        reset_env();
    }
    if (app_has(PHPRUN_APP_RESET_HANDLERS)) {
        reset_handlers();
    }
    if (app_has(PHPRUN_APP_RESET_TIMEZONE)) {
        reset_timezone();
    }
    if (app_has(PHPRUN_APP_RESET_LOCALE)) {
        reset_locale();
    }
}

static void forget_env(void)
{
    zval_ptr_dtor(&boot.env);
    if (phprun_threads) {
        environment_forget_boot();
    }
    if (boot.has_putenv) {
        boot.has_putenv = false;
        zend_hash_destroy(&BG(putenv_ht));
        BG(putenv_ht) = boot.putenv;
    }
}

void reset_forget(void)
{
    if (boot.ini != NULL) {
        zend_array_destroy(boot.ini);
        boot.ini = NULL;
    }
    if (app_has(PHPRUN_APP_RESET_ENV)) {
        forget_env();
    }
    if (phprun_threads && app_has(PHPRUN_APP_RESET_LOCALE)) {
        locale_forget_boot();
    }
    zval_ptr_dtor(&boot.error.callable);
    zval_ptr_dtor(&boot.exception.callable);
    free(boot.folder);
    free(boot.timezone);
    free(boot.locale);
    memset(&boot, 0, sizeof boot);
}
