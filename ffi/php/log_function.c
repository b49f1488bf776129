/* phprun_log(): a message of the application's, with its level and fields of its own. */
#include "log_function.h"

#include <Zend/zend_smart_str.h>
#include <ext/json/php_json.h>

/* As in FrankenPHP and Go's log/slog. What lies between two of them counts as the lower. */
enum { LEVEL_DEBUG = -4, LEVEL_INFO = 0, LEVEL_WARN = 4, LEVEL_ERROR = 8 };

void log_function_startup(int module_number, bool frankenphp)
{
    static const struct {
        const char *name;
        int level;
    } levels[] = {{"DEBUG", LEVEL_DEBUG}, {"INFO", LEVEL_INFO}, {"WARN", LEVEL_WARN}, {"ERROR", LEVEL_ERROR}};
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++) {
        char name[64];
        int length = snprintf(name, sizeof name, "PHPRUN_LOG_LEVEL_%s", levels[i].name);
        zend_register_long_constant(name, (size_t)length, levels[i].level, CONST_PERSISTENT, module_number);
        if (frankenphp) {
            length = snprintf(name, sizeof name, "FRANKENPHP_LOG_LEVEL_%s", levels[i].name);
            zend_register_long_constant(name, (size_t)length, levels[i].level, CONST_PERSISTENT, module_number);
        }
    }
}

static enum log_level level_of(zend_long level)
{
    return level >= LEVEL_ERROR  ? LOG_LEVEL_ERROR
           : level >= LEVEL_WARN ? LOG_LEVEL_WARN
           : level >= LEVEL_INFO ? LOG_LEVEL_INFO
                                 : LOG_LEVEL_DEBUG;
}

PHP_FUNCTION(phprun_log)
{
    zend_string *message;
    zend_long level = LEVEL_INFO;
    zval *context = NULL;
    ZEND_PARSE_PARAMETERS_START(1, 3)
        Z_PARAM_STR(message)
        Z_PARAM_OPTIONAL
        Z_PARAM_LONG(level)
        Z_PARAM_ARRAY(context)
    ZEND_PARSE_PARAMETERS_END();

    if (context == NULL || zend_hash_num_elements(Z_ARRVAL_P(context)) == 0) {
        log_with_fields(level_of(level), ZSTR_VAL(message), ZSTR_LEN(message), NULL, 0);
        return;
    }
    smart_str json = {0};
    php_json_encode(&json, context,
                    PHP_JSON_UNESCAPED_SLASHES | PHP_JSON_UNESCAPED_UNICODE | PHP_JSON_PARTIAL_OUTPUT_ON_ERROR |
                        PHP_JSON_INVALID_UTF8_SUBSTITUTE);
    /* An object in it may have thrown: the message goes out all the same. */
    smart_str_0(&json);
    log_with_fields(level_of(level), ZSTR_VAL(message), ZSTR_LEN(message), json.s != NULL ? ZSTR_VAL(json.s) : NULL,
                    json.s != NULL ? ZSTR_LEN(json.s) : 0);
    smart_str_free(&json);
}
