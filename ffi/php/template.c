/*
 * Workers forked from an application that has booted. The host runs the worker script up to its first
 * phprun_handle_request(), and serves forks from inside that call: each copy comes back from it as a worker, warm, with
 * the memory of the boot shared until it is written to.
 *
 * What cannot be shared is a connection: two processes on one socket, or in one SQLite database, would read each
 * other's answers. Hooks of the application close what it has opened, and open it anew in each worker.
 */
#define _GNU_SOURCE
#include "app.h"
#include "refork.h"

#include <Zend/zend_exceptions.h>
#include <arpa/inet.h>
#include <ext/spl/spl_exceptions.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static bool waits;
static zval before_fork, after_fork; /* lists of callables */

bool template_waits(void)
{
    return waits;
}

/* ---- connections that are open ----------------------------------------------------------------------------------- */

static int connections;

static void describe_socket(int fd, char *text, size_t room)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_un path;
    } peer;
    socklen_t length = sizeof peer;
    char address[INET6_ADDRSTRLEN] = "";
    memset(&peer, 0, sizeof peer);
    if (getpeername(fd, &peer.any, &length) != 0) {
        snprintf(text, room, "a socket without a peer");
    } else if (peer.any.sa_family == AF_INET) {
        inet_ntop(AF_INET, &peer.v4.sin_addr, address, sizeof address);
        snprintf(text, room, "a connection to %s:%u", address, ntohs(peer.v4.sin_port));
    } else if (peer.any.sa_family == AF_INET6) {
        inet_ntop(AF_INET6, &peer.v6.sin6_addr, address, sizeof address);
        snprintf(text, room, "a connection to [%s]:%u", address, ntohs(peer.v6.sin6_port));
    } else {
        snprintf(text, room, "a connection to %s", peer.path.sun_path[0] != '\0' ? peer.path.sun_path : "a local socket");
    }
}

/* https://www.sqlite.org/fileformat.html; and https://www.sqlite.org/howtocorrupt.html, section 2.6 */
static bool is_sqlite_database(int fd)
{
    char head[16];
    return pread(fd, head, sizeof head, 0) == sizeof head && memcmp(head, "SQLite format 3", sizeof head) == 0;
}

static bool describe_connection(int fd, char *text, size_t room)
{
    struct stat about;
    if (fstat(fd, &about) != 0) {
        return false;
    }
    if (S_ISSOCK(about.st_mode)) {
        describe_socket(fd, text, room);
        return true;
    }
    if (!S_ISREG(about.st_mode) || !is_sqlite_database(fd)) {
        return false;
    }
    char link[32], path[512];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    const ssize_t length = readlink(link, path, sizeof path - 1);
    path[length < 0 ? 0 : length] = '\0';
    snprintf(text, room, "the SQLite database %s", path);
    return true;
}

static const char *warning, *remedy; /* around the name of what is open */

static void look_at(int fd)
{
    char text[640];
    if (describe_connection(fd, text, sizeof text)) {
        connections++;
        log_text(LOG_LEVEL_WARN, "%s %s open%s", warning, text, remedy);
    }
}

/* What the application has open when it is about to be copied is told; false when it is then not to be. */
static bool may_be_copied(const char *what_has, const char *what_to_do)
{
    connections = 0;
    warning = what_has;
    remedy = what_to_do;
    /* What it has opened while it booted, log files and the like, its workers have too. */
    descriptors_after_boot(look_at);
    return connections == 0 || !app_has(PHPRUN_APP_TEMPLATE_STRICT);
}

static bool may_boot_template(void)
{
    return may_be_copied("The application has",
                         app_has(PHPRUN_APP_TEMPLATE_STRICT)
                             ? " when it has booted, which copies of it would share; so each worker boots by itself. "
                               "Close it in phprun_before_fork() and open it in phprun_after_fork() to have workers "
                               "forked, or set worker.template: false"
                             : " at the fork: its workers share it, and will read each other's answers. Close it in "
                               "phprun_before_fork() and open it in phprun_after_fork(), or set worker.template: false");
}

/* Of a worker that is to become the template. */
static bool may_promote(void)
{
    return app_has(PHPRUN_APP_TEMPLATE_STRICT)
               ? may_be_copied("A warm worker does not become the template (worker.refork_after): it has",
                               ", which copies of it would share. Close it in phprun_before_fork() and open it in "
                               "phprun_after_fork()")
               : may_be_copied("A warm worker that becomes the template has",
                               ": its copies share it, and will read each other's answers. Close it in "
                               "phprun_before_fork() and open it in phprun_after_fork()");
}

/* ---- hooks ------------------------------------------------------------------------------------------------------- */

static void add_hook(INTERNAL_FUNCTION_PARAMETERS, zval *list)
{
    zend_fcall_info hook;
    zend_fcall_info_cache cache;
    ZEND_PARSE_PARAMETERS_START(1, 1)
        Z_PARAM_FUNC(hook, cache)
    ZEND_PARSE_PARAMETERS_END();

    zend_release_fcall_info_cache(&cache);
    const struct app *app = app_current();
    if (app != NULL && app->stage != APP_BOOTING) {
        zend_throw_exception(spl_ce_RuntimeException,
                             "Hooks of the fork can be set only before the first call of phprun_handle_request()", 0);
        RETURN_THROWS();
    }
    if (!waits) {
        return; /* nobody is forked from here */
    }
    if (Z_TYPE_P(list) != IS_ARRAY) {
        array_init(list);
    }
    zval copy;
    ZVAL_COPY(&copy, ZEND_CALL_ARG(execute_data, 1));
    add_next_index_zval(list, &copy);
    (void)return_value;
}

PHP_FUNCTION(phprun_before_fork)
{
    add_hook(INTERNAL_FUNCTION_PARAM_PASSTHRU, &before_fork);
}

PHP_FUNCTION(phprun_after_fork)
{
    add_hook(INTERNAL_FUNCTION_PARAM_PASSTHRU, &after_fork);
}

static bool hooks_run;

bool template_hooks_run(void)
{
    return hooks_run;
}

/* Stops at the first that throws: the exception is the script's. */
static void run_hooks(zval *list)
{
    if (Z_TYPE_P(list) != IS_ARRAY) {
        return;
    }
    zval *hook;
    hooks_run = true;
    ZEND_HASH_FOREACH_VAL(Z_ARRVAL_P(list), hook) {
        zval result;
        ZVAL_UNDEF(&result);
        if (EG(exception) != NULL) {
            break;
        }
        call_user_function(NULL, NULL, hook, &result, 0, NULL);
        zval_ptr_dtor(&result);
    } ZEND_HASH_FOREACH_END();
    hooks_run = false;
}

void template_before_fork(void)
{
    run_hooks(&before_fork);
}

void template_after_fork(void)
{
    run_hooks(&after_fork);
}

void template_forget(void)
{
    if (phprun_threads) {
        return; /* they have none, and share these */
    }
    zval_ptr_dtor(&before_fork);
    zval_ptr_dtor(&after_fork);
    ZVAL_UNDEF(&before_fork);
    ZVAL_UNDEF(&after_fork);
}

/* ---- the fork ---------------------------------------------------------------------------------------------------- */

struct worker *template_serve(void)
{
    if (!may_boot_template()) {
        _exit(PHPRUN_EXIT_CONNECTIONS);
    }
    struct worker *worker = host_serve_template();
    waits = false;
    worker_prepare(worker);
    return worker;
}

void template_decline(const struct worker *worker)
{
    uint32_t promote = PHPRUN_PROMOTE;
    /* It may have been asked to end meanwhile. */
    atomic_compare_exchange_strong(&worker->pool->workers[worker->number].retire, &promote, 0);
    refork_decline(worker->number);
}

struct worker *template_promote(struct worker *worker)
{
    if (!may_promote()) {
        template_decline(worker);
        return worker;
    }
    look_worker_shutdown(worker);
    crash_worker_shutdown(worker);
    log_as_worker(NULL);
    uint32_t generation;
    const uint32_t number = refork_serve(worker->number, &generation);
    phprun_worker_prepare(worker->pool, number, generation);
    struct worker *next = host_become_worker(number, refork_host());
    worker_prepare(next);
    return next;
}

/* Bun's crash reporter has nothing to say of a crash in PHP; and no JavaScript runs in this process any more. */
static void leave_crashes_to_the_system(void)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        signal(signals[i], SIG_DFL);
    }
}

int template_run(void)
{
    waits = true;
    ZVAL_UNDEF(&before_fork);
    ZVAL_UNDEF(&after_fork);
    descriptors_before_boot();
    deadline_startup();
    /* Programs that the application starts while it boots are not to find them ignored. */
    ignore_stop_signals();
    leave_crashes_to_the_system();
    return app_run(NULL);
}
