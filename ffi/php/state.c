/*
 * The state-bleed detector (worker.paranoid), for development: after each request it takes stock of what outlives
 * requests, and tells what is there that was not before. Only types, sizes and names are told, never values.
 *
 * What it looks at: static properties and variables, globals, constants, ini settings, environment, handlers,
 * resources and sockets, how many objects of each class there are, and how much the arrays in their properties hold.
 */
#include "app.h"

#include <Zend/zend_constants.h>
#include <Zend/zend_smart_str.h>
#include <dirent.h>
#include <ext/standard/basic_functions.h>
#include <main/php_variables.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* One request seldom leaves more; the first one of a framework does. */
#define MOST_LINES 40
#define DEEPEST 6
#define MOST_ELEMENTS 200000u

enum kind {
    KIND_VALUE, /* every difference counts */
    KIND_COUNT, /* only growth does */
};

struct item {
    enum kind kind;
    uint8_t type;     /* IS_*; of a count IS_UNDEF */
    uint64_t size;    /* bytes, elements, or how many */
    uint64_t within;  /* elements of an array, with those of the arrays in it */
    uint64_t content; /* a hash; of objects their number */
    char class_name[64];
};

static _Thread_local HashTable *before;
static _Thread_local uint32_t budget;

static void free_item(zval *item)
{
    free(Z_PTR_P(item));
}

static HashTable *new_stock(void)
{
    HashTable *stock = pemalloc(sizeof *stock, 1);
    zend_hash_init(stock, 512, NULL, free_item, 1);
    return stock;
}

static void free_stock(HashTable *stock)
{
    if (stock != NULL) {
        zend_hash_destroy(stock);
        pefree(stock, 1);
    }
}

static void add(HashTable *stock, const struct item *item, const char *format, va_list arguments)
{
    char name[512];
    const int length = vsnprintf(name, sizeof name, format, arguments);
    struct item *copy = malloc(sizeof *copy);
    if (copy != NULL) {
        *copy = *item;
        zend_hash_str_update_ptr(stock, name, length < (int)sizeof name ? (size_t)length : sizeof name - 1, copy);
    }
}

/* ---- values ------------------------------------------------------------------------------------------------------ */

static uint64_t elements_within(const HashTable *array, int depth)
{
    uint64_t count = zend_hash_num_elements(array);
    if (depth == DEEPEST) {
        return count;
    }
    zval *value;
    ZEND_HASH_FOREACH_VAL((HashTable *)array, value) {
        ZVAL_DEREF(value);
        if (budget == 0) {
            return count;
        }
        budget--;
        if (Z_TYPE_P(value) == IS_ARRAY) {
            count += elements_within(Z_ARRVAL_P(value), depth + 1);
        }
    } ZEND_HASH_FOREACH_END();
    return count;
}

static struct item item_of(zval *value)
{
    ZVAL_DEREF(value);
    struct item item = {.kind = KIND_VALUE, .type = Z_TYPE_P(value)};
    switch (Z_TYPE_P(value)) {
    case IS_LONG:
        item.content = (uint64_t)Z_LVAL_P(value);
        break;
    case IS_DOUBLE:
        memcpy(&item.content, &Z_DVAL_P(value), sizeof item.content);
        break;
    case IS_STRING:
        item.size = Z_STRLEN_P(value);
        item.content = zend_hash_func(Z_STRVAL_P(value), Z_STRLEN_P(value));
        break;
    case IS_ARRAY:
        item.size = zend_hash_num_elements(Z_ARRVAL_P(value));
        item.within = elements_within(Z_ARRVAL_P(value), 1);
        break;
    case IS_CONSTANT_AST:
        item.type = IS_UNDEF; /* an expression that nobody has asked for yet */
        break;
    case IS_OBJECT:
        item.content = Z_OBJ_HANDLE_P(value);
        snprintf(item.class_name, sizeof item.class_name, "%s", ZSTR_VAL(Z_OBJCE_P(value)->name));
        break;
    default:
        break;
    }
    return item;
}

static void add_value(HashTable *stock, zval *value, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const struct item item = item_of(value);
    add(stock, &item, format, arguments);
    va_end(arguments);
}

static void add_count(HashTable *stock, uint64_t count, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const struct item item = {.kind = KIND_COUNT, .size = count};
    add(stock, &item, format, arguments);
    va_end(arguments);
}

/* One more of them. */
static void count_up(HashTable *stock, uint64_t by, const char *format, const char *first, const char *second)
{
    char name[512];
    snprintf(name, sizeof name, format, first, second);
    struct item *item = zend_hash_str_find_ptr(stock, name, strlen(name));
    if (item != NULL) {
        item->size += by;
    } else {
        add_count(stock, by, "%s", name);
    }
}

/* ---- static properties and variables, globals, constants --------------------------------------------------------- */

static void look_at_function(HashTable *stock, const zend_function *function)
{
    if (function->type != ZEND_USER_FUNCTION) {
        return;
    }
    HashTable *variables = ZEND_MAP_PTR_GET(function->op_array.static_variables_ptr);
    if (variables == NULL) {
        variables = function->op_array.static_variables; /* as declared: it has not been called yet */
    }
    if (variables == NULL || function->common.function_name == NULL) {
        return;
    }
    const zend_class_entry *scope = function->common.scope;
    zend_string *name;
    zval *value;
    ZEND_HASH_FOREACH_STR_KEY_VAL(variables, name, value) {
        add_value(stock, value, "%s%s%s() $%s", scope != NULL ? ZSTR_VAL(scope->name) : "", scope != NULL ? "::" : "",
                  ZSTR_VAL(function->common.function_name), ZSTR_VAL(name));
    } ZEND_HASH_FOREACH_END();
}

static void look_at_class(HashTable *stock, zend_class_entry *class)
{
    /* Until the class is first used they are as declared. */
    zval *members = CE_STATIC_MEMBERS(class) != NULL ? CE_STATIC_MEMBERS(class) : class->default_static_members_table;
    if (class->default_static_members_count > 0 && members != NULL) {
        zend_property_info *property;
        ZEND_HASH_FOREACH_PTR(&class->properties_info, property) {
            if ((property->flags & ZEND_ACC_STATIC) == 0 || property->ce != class) {
                continue;
            }
            zval *value = members + property->offset;
            ZVAL_DEINDIRECT(value);
            add_value(stock, value, "%s::$%s", ZSTR_VAL(class->name), zend_get_unmangled_property_name(property->name));
        } ZEND_HASH_FOREACH_END();
    }
    zend_function *function;
    ZEND_HASH_FOREACH_PTR(&class->function_table, function) {
        if (function->common.scope == class) {
            look_at_function(stock, function);
        }
    } ZEND_HASH_FOREACH_END();
}

static void look_at_code(HashTable *stock)
{
    zend_class_entry *class;
    zend_string *name;
    zval *entry;
    ZEND_HASH_FOREACH_STR_KEY_VAL(EG(class_table), name, entry) {
        class = Z_PTR_P(entry);
        /* Under its own name, and not under those it is called by too. */
        if (class->type == ZEND_USER_CLASS && name != NULL && zend_string_equals_ci(name, class->name)) {
            look_at_class(stock, class);
        }
    } ZEND_HASH_FOREACH_END();
    zend_function *function;
    ZEND_HASH_FOREACH_PTR(EG(function_table), function) {
        look_at_function(stock, function);
    } ZEND_HASH_FOREACH_END();
}

static void look_at_globals(HashTable *stock)
{
    zend_string *name;
    zval *value;
    ZEND_HASH_FOREACH_STR_KEY_VAL(&EG(symbol_table), name, value) {
        ZVAL_DEINDIRECT(value);
        if (name == NULL || Z_TYPE_P(value) == IS_UNDEF || zend_hash_exists(CG(auto_globals), name)) {
            continue;
        }
        add_value(stock, value, "$%s", ZSTR_VAL(name));
    } ZEND_HASH_FOREACH_END();
}

static void look_at_constants(HashTable *stock)
{
    zend_constant *constant;
    ZEND_HASH_FOREACH_PTR(EG(zend_constants), constant) {
        if (ZEND_CONSTANT_MODULE_NUMBER(constant) == PHP_USER_CONSTANT && constant->name != NULL) {
            add_value(stock, &constant->value, "const %s", ZSTR_VAL(constant->name));
        }
    } ZEND_HASH_FOREACH_END();
}

/* ---- settings, environment, handlers ----------------------------------------------------------------------------- */

static void look_at_settings(HashTable *stock)
{
    if (EG(modified_ini_directives) != NULL) {
        zend_ini_entry *entry;
        ZEND_HASH_FOREACH_PTR(EG(modified_ini_directives), entry) {
            zval value;
            if (entry->value != NULL) {
                ZVAL_STR(&value, entry->value);
            } else {
                ZVAL_NULL(&value);
            }
            add_value(stock, &value, "ini %s", ZSTR_VAL(entry->name));
        } ZEND_HASH_FOREACH_END();
    }
    zval environment;
    array_init(&environment);
    php_import_environment_variables(&environment);
    zend_string *name;
    zval *value;
    ZEND_HASH_FOREACH_STR_KEY_VAL(Z_ARRVAL(environment), name, value) {
        if (name != NULL) {
            add_value(stock, value, "env %s", ZSTR_VAL(name));
        }
    } ZEND_HASH_FOREACH_END();
    zval_ptr_dtor(&environment);
    char folder[MAXPATHLEN];
    if (VCWD_GETCWD(folder, sizeof folder) != NULL) {
        zval place;
        ZVAL_STRING(&place, folder);
        add_value(stock, &place, "working directory");
        zval_ptr_dtor(&place);
    }
}

static uint64_t autoloaders(void)
{
    zend_function *ask = zend_hash_str_find_ptr(EG(function_table), ZEND_STRL("spl_autoload_functions"));
    zval list;
    uint64_t count = 0;
    ZVAL_UNDEF(&list);
    if (ask != NULL) {
        zend_call_known_function(ask, NULL, NULL, &list, 0, NULL, NULL);
        count = Z_TYPE(list) == IS_ARRAY ? zend_hash_num_elements(Z_ARRVAL(list)) : 0;
        zval_ptr_dtor(&list);
    }
    return count;
}

static void look_at_handlers(HashTable *stock)
{
    add_value(stock, &EG(user_error_handler), "error handler");
    add_value(stock, &EG(user_exception_handler), "exception handler");
    add_count(stock, (uint64_t)zend_stack_count(&EG(user_error_handlers)), "error handlers below it");
    add_count(stock, (uint64_t)zend_stack_count(&EG(user_exception_handlers)), "exception handlers below it");
    const HashTable *shutdown = BG(user_shutdown_function_names);
    add_count(stock, shutdown != NULL ? zend_hash_num_elements(shutdown) : 0, "shutdown functions of the boot");
    add_count(stock, autoloaders(), "autoloaders");
    add_count(stock, BG(user_tick_functions) != NULL ? zend_llist_count(BG(user_tick_functions)) : 0, "tick functions");
}

/* ---- connections and objects ------------------------------------------------------------------------------------- */

static void look_at_resources(HashTable *stock)
{
    zend_resource *resource;
    ZEND_HASH_FOREACH_PTR(&EG(regular_list), resource) {
        const char *type = zend_rsrc_list_get_rsrc_type(resource);
        count_up(stock, 1, "resources of type %s%s", type != NULL ? type : "closed", "");
    } ZEND_HASH_FOREACH_END();
    add_count(stock, zend_hash_num_elements(&EG(persistent_list)), "persistent resources");
    DIR *folder = opendir("/proc/self/fd");
    if (folder == NULL) {
        return;
    }
    uint64_t sockets = 0, files = 0;
    for (const struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        struct stat about;
        if (entry->d_name[0] != '.' && fstat(atoi(entry->d_name), &about) == 0) {
            *(S_ISSOCK(about.st_mode) ? &sockets : &files) += 1;
        }
    }
    closedir(folder);
    /* Of threads they are the whole host's. */
    if (!phprun_threads) {
        add_count(stock, sockets, "open sockets");
        add_count(stock, files, "open files");
    }
}

static void look_at_object(HashTable *stock, zend_object *object)
{
    zend_class_entry *class = object->ce;
    count_up(stock, 1, "objects of %s%s", ZSTR_VAL(class->name), "");
    for (int i = 0; i < class->default_properties_count; i++) {
        zval *value = OBJ_PROP_NUM(object, i);
        ZVAL_DEREF(value);
        const zend_property_info *property = class->properties_info_table != NULL ? class->properties_info_table[i] : NULL;
        if (Z_TYPE_P(value) == IS_ARRAY && property != NULL) {
            count_up(stock, elements_within(Z_ARRVAL_P(value), 1), "elements in %s->%s", ZSTR_VAL(class->name),
                     zend_get_unmangled_property_name(property->name));
        }
    }
}

static void look_at_objects(HashTable *stock)
{
    for (uint32_t i = 1; i < EG(objects_store).top; i++) {
        zend_object *object = EG(objects_store).object_buckets[i];
        if (IS_OBJ_VALID(object)) {
            look_at_object(stock, object);
        }
    }
}

static HashTable *take_stock(void)
{
    budget = MOST_ELEMENTS;
    /* Garbage is no state. */
    gc_collect_cycles();
    HashTable *stock = new_stock();
    look_at_code(stock);
    look_at_globals(stock);
    look_at_constants(stock);
    look_at_settings(stock);
    look_at_handlers(stock);
    look_at_resources(stock);
    look_at_objects(stock);
    return stock;
}

/* ---- what is different ------------------------------------------------------------------------------------------- */

static void describe(const struct item *item, char *text, size_t room)
{
    const unsigned long long size = item->size, within = item->within;
    if (item->kind == KIND_COUNT) {
        snprintf(text, room, "%llu", size);
        return;
    }
    switch (item->type) {
    case IS_UNDEF:
        snprintf(text, room, "none");
        break;
    case IS_NULL:
        snprintf(text, room, "null");
        break;
    case IS_FALSE:
    case IS_TRUE:
        snprintf(text, room, item->type == IS_TRUE ? "true" : "false");
        break;
    case IS_LONG:
        snprintf(text, room, "int");
        break;
    case IS_DOUBLE:
        snprintf(text, room, "float");
        break;
    case IS_STRING:
        snprintf(text, room, "string:%llu", size);
        break;
    case IS_ARRAY:
        if (within > size) {
            snprintf(text, room, "array:%llu with %llu inside", size, within - size);
        } else {
            snprintf(text, room, "array:%llu", size);
        }
        break;
    case IS_OBJECT:
        snprintf(text, room, "%s", item->class_name);
        break;
    default:
        snprintf(text, room, "resource");
        break;
    }
}

static bool is_same(const struct item *a, const struct item *b)
{
    if (a->kind == KIND_COUNT) {
        return b->size <= a->size; /* fewer is no leak */
    }
    if (a->type == IS_ARRAY && b->type == IS_ARRAY) {
        return b->size <= a->size && b->within <= a->within;
    }
    return a->type == b->type && a->size == b->size && a->content == b->content;
}

static void tell(const struct app *app, const char *name, const struct item *old, const struct item *new)
{
    char from[128] = "new", to[128], growth[48] = "";
    if (old != NULL) {
        describe(old, from, sizeof from);
    }
    describe(new, to, sizeof to);
    const uint64_t was = old != NULL ? (new->type == IS_ARRAY ? old->within : old->size) : 0;
    const uint64_t is = new->type == IS_ARRAY ? new->within : new->size;
    const bool counts = new->kind == KIND_COUNT || new->type == IS_ARRAY || new->type == IS_STRING;
    const bool grew = old == NULL || (counts && is > was);
    if (old != NULL && counts && is > was) {
        snprintf(growth, sizeof growth, " (+%llu)", (unsigned long long)(is - was));
    } else if (old != NULL && strcmp(from, to) == 0) {
        snprintf(growth, sizeof growth, " (another)");
    }
    log_text(LOG_LEVEL_WARN, "state: %s %s %s \xe2\x86\x92 %s%s, request #%u %s %s", grew ? "\xe2\x86\x91" : "~", name,
             from, to, growth, app->handled, app->request.fields[FIELD_REQUEST_METHOD],
             app->request.fields[FIELD_REQUEST_URI]);
}

void state_booted(void)
{
    free_stock(before);
    before = take_stock();
}

void state_look(const struct app *app)
{
    HashTable *now = take_stock();
    uint32_t told = 0, untold = 0;
    zend_string *name;
    const struct item *item;
    ZEND_HASH_FOREACH_STR_KEY_PTR(now, name, item) {
        const struct item *old = zend_hash_find_ptr(before, name);
        if (old != NULL && old->kind == KIND_VALUE && old->type == IS_UNDEF && item->type == IS_UNDEF) {
            continue;
        }
        if (old != NULL ? is_same(old, item) : (item->kind == KIND_COUNT && item->size == 0)) {
            continue;
        }
        if (told == MOST_LINES) {
            untold++;
            continue;
        }
        told++;
        tell(app, ZSTR_VAL(name), old, item);
    } ZEND_HASH_FOREACH_END();
    if (untold > 0) {
        log_text(LOG_LEVEL_WARN, "state: and %u more, request #%u%s", untold, app->handled,
                 app->handled == 1 ? ", the first of its worker: much of that may be what it needs to be warm" : "");
    }
    free_stock(before);
    before = now;
}

void state_forget(void)
{
    free_stock(before);
    before = NULL;
}
