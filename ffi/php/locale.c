/*
 * The locale of a request, where workers are threads of one process. C's setlocale() changes that of the process;
 * here setlocale() gives the thread one of its own (uselocale), which C's functions heed as they do the other. With
 * the request it is gone.
 */
#define _GNU_SOURCE
#include "shim.h"

#include <Zend/zend_smart_str.h>
#include <ext/standard/basic_functions.h>
#include <langinfo.h>
#include <locale.h>
#include <string.h>

/* In the order in which C lists them. */
static const struct {
    int category;
    const char *name;
} categories[] = {
    {LC_CTYPE, "LC_CTYPE"},
    {LC_NUMERIC, "LC_NUMERIC"},
    {LC_TIME, "LC_TIME"},
    {LC_COLLATE, "LC_COLLATE"},
    {LC_MONETARY, "LC_MONETARY"},
    {LC_MESSAGES, "LC_MESSAGES"},
    {LC_PAPER, "LC_PAPER"},
    {LC_NAME, "LC_NAME"},
    {LC_ADDRESS, "LC_ADDRESS"},
    {LC_TELEPHONE, "LC_TELEPHONE"},
    {LC_MEASUREMENT, "LC_MEASUREMENT"},
    {LC_IDENTIFICATION, "LC_IDENTIFICATION"},
};
#define CATEGORY_COUNT (sizeof categories / sizeof categories[0])

/* PHP's own limit. */
#define LONGEST_NAME 254

#define KEPT_COUNT 4u

static __thread struct {
    locale_t current; /* NULL: the process's */
    /* The last ones before it. C unloads the files of a locale that nobody has; the next request may want it. */
    locale_t kept[KEPT_COUNT];
    uint32_t next;      /* of `kept`, to be replaced */
    zend_string *ctype; /* BG(ctype_string), which PHP would free with the request */
    locale_t of_boot;   /* worker mode: what each request begins with; NULL: the process's */
    bool changed;       /* since then */
} own;

static bool is_category(int category)
{
    for (size_t i = 0; i < CATEGORY_COUNT; i++) {
        if (categories[i].category == category) {
            return true;
        }
    }
    return category == LC_ALL;
}

static const char *current_name(size_t index)
{
    return nl_langinfo(NL_LOCALE_NAME(categories[index].category));
}

/* What C's setlocale() answers: one name, or one for each category where they differ. */
static zend_string *current_names(int category)
{
    bool same = true;
    for (size_t i = 0; i < CATEGORY_COUNT; i++) {
        if (categories[i].category == category) {
            return zend_string_init(current_name(i), strlen(current_name(i)), 0);
        }
        same = same && strcmp(current_name(i), current_name(0)) == 0;
    }
    if (same) {
        return zend_string_init(current_name(0), strlen(current_name(0)), 0);
    }
    smart_str text = {0};
    for (size_t i = 0; i < CATEGORY_COUNT; i++) {
        if (i > 0) {
            smart_str_appendc(&text, ';');
        }
        smart_str_appends(&text, categories[i].name);
        smart_str_appendc(&text, '=');
        smart_str_appends(&text, current_name(i));
    }
    return smart_str_extract(&text);
}

/* The name that the environment gives for a category; that of the request. */
static const char *name_from_environment(const char *category)
{
    const char *const variables[] = {"LC_ALL", category, "LANG"};
    for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++) {
        const char *name = environment_get(variables[i]);
        if (name != NULL && *name != '\0') {
            return name;
        }
    }
    return "C";
}

/* What `base` becomes with another name for some category. Takes it over; NULL when there is no such locale. */
static locale_t with_name(locale_t base, int category, const char *name)
{
    const locale_t changed = newlocale(1 << category, name, base);
    if (changed == NULL) {
        freelocale(base);
    }
    return changed;
}

/* The locale that `category` and `name` lead to from the one in force; NULL when there is none. */
static locale_t new_locale(int category, const char *name)
{
    if (category == LC_ALL && *name != '\0') {
        return newlocale(LC_ALL_MASK, name, NULL);
    }
    locale_t locale = duplocale(own.current != NULL ? own.current : LC_GLOBAL_LOCALE);
    for (size_t i = 0; i < CATEGORY_COUNT && locale != NULL; i++) {
        if (category == LC_ALL || category == categories[i].category) {
            locale = with_name(locale, categories[i].category,
                               *name != '\0' ? name : name_from_environment(categories[i].name));
        }
    }
    return locale;
}

static void keep(locale_t locale)
{
    if (own.kept[own.next] != NULL) {
        freelocale(own.kept[own.next]);
    }
    own.kept[own.next] = locale;
    own.next = (own.next + 1) % KEPT_COUNT;
}

static void install(locale_t locale)
{
    uselocale(locale);
    if (own.current != NULL) {
        keep(own.current);
    }
    own.current = locale;
    own.changed = true;
}

static bool use(int category, const char *name)
{
    /* A list of names is for all categories. */
    if (category != LC_ALL && strchr(name, ';') != NULL) {
        return false;
    }
    const locale_t locale = new_locale(category, name);
    if (locale == NULL) {
        return false;
    }
    install(locale);
    return true;
}

static void forget_ctype(void)
{
    if (own.ctype != NULL) {
        zend_string_release_ex(own.ctype, 1);
        own.ctype = NULL;
    }
}

/* What PHP keeps of LC_CTYPE: for preg_match(), which does not ask C. "C" is NULL there. */
static void note_ctype(const zend_string *name)
{
    zend_update_current_locale();
    forget_ctype();
    if (!zend_string_equals_literal(name, "C")) {
        own.ctype = zend_string_init(ZSTR_VAL(name), ZSTR_LEN(name), 1);
    }
    BG(ctype_string) = own.ctype;
}

/* One candidate. The names that are in force then; NULL when it is none. */
static zend_string *try_name(int category, const zend_string *name)
{
    if (zend_string_equals_literal(name, "0")) {
        return is_category(category) ? current_names(category) : NULL;
    }
    if (ZSTR_LEN(name) > LONGEST_NAME) {
        php_error_docref(NULL, E_WARNING, "Specified locale name is too long");
        return NULL;
    }
    if (!is_category(category) || !use(category, ZSTR_VAL(name))) {
        return NULL;
    }
    zend_string *names = current_names(category);
    /* Not BG(locale_changed): with it PHP would set the process's locale at the end of the request. */
    if (category == LC_CTYPE || category == LC_ALL) {
        note_ctype(names);
    }
    return names;
}

static zend_string *try_value(int category, zval *value)
{
    zend_string *temporary;
    const zend_string *name = zval_try_get_tmp_string(value, &temporary);
    if (name == NULL) {
        return NULL;
    }
    zend_string *names = try_name(category, name);
    zend_tmp_string_release(temporary);
    return names;
}

static zend_string *try_argument(int category, zval *argument)
{
    if (Z_TYPE_P(argument) != IS_ARRAY) {
        return try_value(category, argument);
    }
    zval *value;
    ZEND_HASH_FOREACH_VAL(Z_ARRVAL_P(argument), value) {
        zend_string *names = try_value(category, value);
        if (names != NULL || EG(exception) != NULL) {
            return names;
        }
    } ZEND_HASH_FOREACH_END();
    return NULL;
}

static ZEND_NAMED_FUNCTION(set)
{
    zend_long category;
    zval *arguments;
    uint32_t count;
    ZEND_PARSE_PARAMETERS_START(2, -1)
        Z_PARAM_LONG(category)
        Z_PARAM_VARIADIC('+', arguments, count)
    ZEND_PARSE_PARAMETERS_END();

    for (uint32_t i = 0; i < count; i++) {
        zend_string *names = try_argument((int)category, &arguments[i]);
        if (EG(exception) != NULL) {
            if (names != NULL) {
                zend_string_release(names);
            }
            RETURN_THROWS();
        }
        if (names != NULL) {
            RETURN_STR(names);
        }
    }
    RETURN_FALSE;
}

void locale_thread_startup(void)
{
    replace_function("setlocale", set, NULL);
}

void locale_worker_startup(void)
{
    /* PHP has done so for the main thread alone. */
    zend_update_current_locale();
}

void locale_request_shutdown(void)
{
    if (own.current == NULL) {
        return;
    }
    uselocale(LC_GLOBAL_LOCALE);
    keep(own.current);
    own.current = NULL;
    forget_ctype();
    BG(ctype_string) = NULL;
    zend_update_current_locale();
}

void locale_note_boot(void)
{
    own.of_boot = own.current != NULL ? duplocale(own.current) : NULL;
    own.changed = false;
}

void locale_reset(void)
{
    if (!own.changed) {
        return;
    }
    locale_request_shutdown();
    if (own.of_boot != NULL) {
        install(duplocale(own.of_boot));
        zend_string *ctype = current_names(LC_CTYPE);
        note_ctype(ctype);
        zend_string_release(ctype);
    }
    own.changed = false;
}

void locale_forget_boot(void)
{
    if (own.of_boot != NULL) {
        freelocale(own.of_boot);
        own.of_boot = NULL;
    }
}

void locale_worker_shutdown(void)
{
    for (uint32_t i = 0; i < KEPT_COUNT; i++) {
        if (own.kept[i] != NULL) {
            freelocale(own.kept[i]);
            own.kept[i] = NULL;
        }
    }
}
