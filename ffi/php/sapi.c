/* The SAPI module: its table, and bringing PHP up. */
#include "shim.h"

#include <Zend/zend_extensions.h>
#include <Zend/zend_observer.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#ifdef ZTS
ZEND_TSRMLS_CACHE_DEFINE()
#endif

bool phprun_threads;
bool phprun_json_post;
bool phprun_frankenphp;
const char *phprun_pool_name = "";

static const char *sapi_name = "phprun";

static int sapi_start(sapi_module_struct *module)
{
    return php_module_startup(module, &phprun_module);
}

/*
 * opcache of PHP ≤ 8.4 starts only for SAPI names on its own list, and looks when extensions start: after
 * this callback, and after PHP_SAPI has been registered. phprun_php_start() sets our own name back.
 */
static void ini_defaults(HashTable *configuration)
{
    static const struct {
        const char *name, *value;
    } defaults[] = {{"display_errors", "0"}, {"log_errors", "1"}};

    for (size_t i = 0; i < sizeof defaults / sizeof defaults[0]; i++) {
        zval value;
        ZVAL_NEW_STR(&value, zend_string_init(defaults[i].value, strlen(defaults[i].value), 1));
        zend_hash_str_update(configuration, defaults[i].name, strlen(defaults[i].name), &value);
    }
#if PHP_VERSION_ID < 80500
    sapi_module.name = "fpm-fcgi"; /* the copy that sapi_startup() made */
#endif
}

static size_t read_post(char *buffer, size_t count)
{
    struct request *request = current_request();
    const uint64_t left = request->slot->body_bytes - request->body_read;
    if (count > left) {
        count = (size_t)left;
    }
    if (request->body != NULL) {
        memcpy(buffer, request->body + request->body_read, count);
    } else if (count > 0) {
        ssize_t got;
        do {
            got = pread(request->worker->spool_fd, buffer, count,
                        (off_t)(request->slot->body_offset + request->body_read));
        } while (got < 0 && errno == EINTR);
        if (got <= 0) {
            log_text(LOG_LEVEL_ERROR, "Cannot read the request body: %s",
                     got == 0 ? "the spool file is shorter than it should be" : strerror(errno));
            return 0;
        }
        count = (size_t)got;
    }
    request->body_read += count;
    return count;
}

static char *read_cookies(void)
{
    const char *cookie = current_request()->fields[FIELD_HTTP_COOKIE];
    return *cookie != '\0' ? (char *)cookie : NULL;
}

static char *get_variable(const char *name, size_t length)
{
    const struct request *request = current_request();
    return request != NULL ? (char *)request_variable(request, name, length) : NULL;
}

/*
 * The last step of a request in which PHP code could still matter: what follows only frees memory, and the
 * client need not wait for it.
 */
static int deactivate(void)
{
    struct request *request = current_request();
    if (request != NULL) {
        request_finish(request, PHPRUN_ENDED);
        SG(server_context) = NULL;
    }
    return SUCCESS;
}

sapi_module_struct phprun_sapi = {
    .name = "phprun",
    .pretty_name = "phprun",
    .startup = sapi_start,
    .shutdown = php_module_shutdown_wrapper,
    .deactivate = deactivate,
    .ub_write = write_body,
    .flush = flush_body,
    .getenv = get_variable,
    .sapi_error = php_error,
    .send_headers = send_headers,
    .read_post = read_post,
    .read_cookies = read_cookies,
    .register_server_variables = register_server_variables,
    .log_message = log_message,
    .ini_defaults = ini_defaults,
    .php_ini_ignore_cwd = 1,
};

uint32_t phprun_php_abi(void)
{
    return PHPRUN_PHP_ABI;
}

void phprun_php_built_for(uint32_t *out)
{
    out[0] = ZEND_MODULE_API_NO;
    out[1] = USING_ZTS;
    out[2] = ZEND_DEBUG;
    out[3] = PHP_VERSION_ID;
}

/* Marks errors of a fatal type: php_execute_script() swallows the bailout that follows them. */
static void note_error(int type, zend_string *file, uint32_t line, zend_string *message)
{
    (void)file, (void)line, (void)message;
    struct request *request = current_request();
    if (request != NULL && (type & E_FATAL_ERRORS)) {
        request->fatal = true;
    }
}

int32_t phprun_php_start(const char *ini_entries, const char *name, const char *pool_name, uint32_t options,
                         int32_t log_fd)
{
    /* For the host alone; scripts need not see it in their environment. */
    unsetenv("PHPRUN_HOST_OPTIONS");
    become_host();
    log_startup(log_fd);
    signal(SIGPIPE, SIG_IGN);
    /* Until deadline_startup(): it may come for a host that has not got so far, and would end it. */
    signal(PHPRUN_DEADLINE_SIGNAL, SIG_IGN);

    sapi_name = strdup(name);
    phprun_pool_name = strdup(pool_name);
    phprun_sapi.name = (char *)sapi_name;

    phprun_threads = (options & PHPRUN_PHP_THREADS) != 0;
    phprun_frankenphp = (options & PHPRUN_PHP_FRANKENPHP) != 0;

#ifdef ZTS
    php_tsrm_startup();
    ZEND_TSRMLS_CACHE_UPDATE();
#endif
    zend_signal_startup();
    sapi_startup(&phprun_sapi);
    /* Behind sapi_startup(), which clears it. */
    phprun_sapi.ini_entries = strdup(ini_entries);
    heaps_note();
    descriptors_before_php();
    if (phprun_sapi.startup(&phprun_sapi) != SUCCESS) {
        return -EIO;
    }
    filter_startup();
    descriptors_after_php();
    sapi_module.name = (char *)sapi_name;
#ifdef ZEND_SIGNALS
    SIGG(reset) = 0;
#endif
    zend_observer_error_register(note_error);
    phprun_json_post = (options & PHPRUN_PHP_JSON_POST) != 0;
    if (phprun_json_post) {
        json_post_startup();
    }
    return 0;
}
