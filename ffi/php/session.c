/*
 * The session is each request's own: it is written and closed with it, and no id, no data and no handler of it is
 * left for the next. Handlers that the boot has set stay: they are the application's.
 *
 * The extension is not linked: PHP may have been built without it.
 */
#include "app.h"

#include <ext/session/php_session.h>
#include <string.h>

static zend_module_entry *module;

/* The functions of a handler of the script's. Their names and their number differ between versions, their form does not. */
#define HANDLER_FUNCTIONS (sizeof(((php_ps_globals *)NULL)->mod_user_names) / sizeof(zval))

/* What the boot has set, of this thread. */
static _Thread_local struct {
    zval functions[HANDLER_FUNCTIONS];
    zend_string *save_handler; /* the ini setting */
} boot;

static php_ps_globals *globals(void)
{
#ifdef ZTS
    return TSRMG_BULK(*module->globals_id_ptr, php_ps_globals *);
#else
    return module->globals_ptr;
#endif
}

static zval *handler_functions(void)
{
    return (zval *)&globals()->mod_user_names;
}

static zend_string *save_handler(void)
{
    zend_ini_entry *entry = zend_hash_str_find_ptr(EG(ini_directives), ZEND_STRL("session.save_handler"));
    return entry != NULL ? entry->value : NULL;
}

void session_startup(void)
{
    module = zend_hash_str_find_ptr(&module_registry, ZEND_STRL("session"));
}

/* One that the boot itself has opened is not the first client's; nor is its lock the template's. */
void session_close_boots(void)
{
    if (module == NULL || globals()->session_status != php_session_active) {
        return;
    }
    /* With session.auto_start PHP has opened it, and not the script. */
    if (!globals()->auto_start) {
        log_text(LOG_LEVEL_WARN, "The worker script has started a session while it booted: it is closed, sessions "
                                 "belong to requests");
    }
    php_session_flush(1);
}

void session_booted(void)
{
    if (module == NULL) {
        return;
    }
    for (size_t i = 0; i < HANDLER_FUNCTIONS; i++) {
        ZVAL_COPY(&boot.functions[i], &handler_functions()[i]);
    }
    boot.save_handler = save_handler() != NULL ? zend_string_copy(save_handler()) : NULL;
    session_end();
}

/* Of the request's: which module keeps sessions, and the functions of a handler of its own. */
static void restore_handler(void)
{
    php_ps_globals *ps = globals();
    for (size_t i = 0; i < HANDLER_FUNCTIONS; i++) {
        /* The request's are gone by now. */
        ZVAL_COPY(&handler_functions()[i], &boot.functions[i]);
    }
    zend_string *now = save_handler();
    if (boot.save_handler == NULL || now == NULL || zend_string_equals(now, boot.save_handler)) {
        return;
    }
    zend_string *name = ZSTR_INIT_LITERAL("session.save_handler", 0);
    ps->set_handler = 1; /* or "user" would be refused */
    zend_alter_ini_entry_ex(name, boot.save_handler, PHP_INI_USER, PHP_INI_STAGE_DEACTIVATE, 1);
    ps->set_handler = 0;
    zend_string_release(name);
}

void session_begin(void)
{
    if (module != NULL) {
        module->request_startup_func(module->type, module->module_number);
    }
}

void session_end(void)
{
    if (module == NULL) {
        return;
    }
    module->request_shutdown_func(module->type, module->module_number);
    restore_handler();
}

void session_forget(void)
{
    if (module == NULL) {
        return;
    }
    for (size_t i = 0; i < HANDLER_FUNCTIONS; i++) {
        zval_ptr_dtor(&boot.functions[i]);
        ZVAL_UNDEF(&boot.functions[i]);
    }
    if (boot.save_handler != NULL) {
        zend_string_release(boot.save_handler);
        boot.save_handler = NULL;
    }
}
