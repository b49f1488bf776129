/*
 * opcache in a host whose workers are threads, or in worker mode: where it must not restart in place. What follows is
 * said of threads; in worker mode scripts keep what is in opcache's memory from the boot on, so that it is in use for
 * as long as a worker lives: opcache would wait for that, and in the end kill the workers (opcache.force_restart_timeout).
 *
 * opcache restarts in place: it waits until nobody uses its memory, then starts to fill it anew. It finds out by a
 * lock on its lock file, which the system grants a process against itself; so among threads it never sees anybody,
 * and takes the memory from under running scripts (https://github.com/php/php-src/issues/8739). So we hold a lock of
 * the kind that belongs to an open file and not to the process: opcache is always told to wait, and what it waits
 * for, memory to begin anew with, comes with a new generation, which is what we ask the front for.
 *
 * While it waits, opcache leaves what runs alone and compiles the scripts of later requests each time: right, but slow.
 */
#define _GNU_SOURCE
#include "shim.h"

#include <Zend/zend_extensions.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOOK_INTERVAL_NS 1000000000u

/* The byte that stands for "somebody uses the memory". */
#define USE_BYTE 1

/* opcache's reasons, by their numbers. */
enum { OUT_OF_MEMORY, OUT_OF_KEYS, OTHER_REASON };
static const char *const reasons[] = {
    [OUT_OF_MEMORY] = "opcache has run out of memory and wants to restart",
    [OUT_OF_KEYS] = "opcache has run out of keys (opcache.max_accelerated_files) and wants to restart",
    [OTHER_REASON] = "opcache wants to restart",
};

static bool asks; /* this PHP has to be asked whether opcache waits to restart */
static _Atomic uint64_t looked_ns;
static _Atomic bool told;

/* A lock of this kind goes with the last descriptor of its open file: this one, which is never closed. */
static int lock_held = -1;

static bool is_lock_file(const char *link)
{
    const char *slash = strrchr(link, '/');
    return slash != NULL &&
           (strncmp(slash, "/memfd:opcache_lock", 19) == 0 || strncmp(slash, "/.ZendSem.", 10) == 0);
}

/* The descriptor that opcache has opened for itself, or -1. */
static int find_lock_file(void)
{
    DIR *folder = opendir("/proc/self/fd");
    if (folder == NULL) {
        return -1;
    }
    int found = -1;
    for (const struct dirent *entry = readdir(folder); entry != NULL && found < 0; entry = readdir(folder)) {
        char link[512];
        const ssize_t length = readlinkat(dirfd(folder), entry->d_name, link, sizeof link - 1);
        if (length > 0) {
            link[length] = '\0';
            found = is_lock_file(link) ? atoi(entry->d_name) : -1;
        }
    }
    closedir(folder);
    return found;
}

/* Asks as opcache does. */
static bool is_seen_in_use(int lock_file)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = USE_BYTE, .l_len = 1};
    return fcntl(lock_file, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

/* NULL, or what was in the way. */
static const char *hold_lock(int lock_file)
{
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", lock_file);
    /* Never closed, not even on failure: closing one descriptor of a file drops the process's locks on it. */
    lock_held = open(path, O_RDONLY | O_CLOEXEC);
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = USE_BYTE, .l_len = 1};
    if (lock_held < 0 || fcntl(lock_held, F_OFD_SETLK, &lock) != 0) {
        return strerror(errno);
    }
    return is_seen_in_use(lock_file) ? NULL : "the lock on its lock file does not hold";
}

static int spared_file = -1;

/*
 * opcache locks that byte for each request, and lets it go behind it: two system calls that say what our own lock says
 * for good. Its other locks, and those of others, are as they are.
 */
static int lock_unless_held(int fd, int command, ...)
{
    va_list arguments;
    va_start(arguments, command);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    if (fd == spared_file && command == F_SETLK) {
        const struct flock *lock = argument;
        if (lock->l_start == USE_BYTE && lock->l_len == 1) {
            return 0;
        }
    }
    return fcntl(fd, command, argument);
}

/* opcache.restrict_api: only scripts below that path may call opcache's functions. */
static bool is_allowed(void)
{
    const char *folder = zend_ini_string("opcache.restrict_api", sizeof "opcache.restrict_api" - 1, 0);
    if (folder == NULL || *folder == '\0') {
        return true;
    }
    const char *script = SG(request_info).path_translated;
    if (script != NULL && strncmp(script, folder, strlen(folder)) == 0) {
        return true;
    }
    zend_error(E_WARNING, "Zend OPcache API is restricted by \"restrict_api\" configuration directive");
    return false;
}

/* Every call asks, also the second: the scripts may have changed since the first. */
static ZEND_NAMED_FUNCTION(renew_for_reset)
{
    ZEND_PARSE_PARAMETERS_NONE();
    if (!is_allowed() || !zend_ini_long("opcache.enable", sizeof "opcache.enable" - 1, 0)) {
        RETURN_FALSE;
    }
    log_renew("opcache_reset() was called");
    RETURN_TRUE;
}

/* On the thread of the request that filled the memory, which holds opcache's lock. Must return. */
static void renew_for_restart(int reason)
{
    if (!atomic_exchange(&told, true)) {
        log_renew(reasons[reason < 0 || reason > OTHER_REASON ? OTHER_REASON : reason]);
    }
}

/* PHP 8.4 and later tell. Looked up and not linked: before, there is no such variable. */
static bool set_hook(void)
{
    void (**hook)(int) = dlsym(RTLD_DEFAULT, "zend_accel_schedule_restart_hook");
    if (hook == NULL) {
        return false;
    }
    *hook = renew_for_restart;
    return true;
}

static const zval *field_of(const zval *array, const char *name)
{
    return array != NULL && Z_TYPE_P(array) == IS_ARRAY ? zend_hash_str_find(Z_ARRVAL_P(array), name, strlen(name))
                                                        : NULL;
}

/* It does not tell why. Of the two reasons there are, opcache_reset() being ours, one shows: no key is left. */
static int guess_reason(const zval *status)
{
    const zval *statistics = field_of(status, "opcache_statistics");
    const zval *keys = field_of(statistics, "num_cached_keys");
    const zval *most = field_of(statistics, "max_cached_keys");
    const bool known = keys != NULL && most != NULL && Z_TYPE_P(keys) == IS_LONG && Z_TYPE_P(most) == IS_LONG;
    return known && Z_LVAL_P(keys) >= Z_LVAL_P(most) ? OUT_OF_KEYS : OUT_OF_MEMORY;
}

/* False when it does not wait. */
static bool waits_to_restart(int *reason)
{
    zend_function *ask =
        zend_hash_str_find_ptr(CG(function_table), "opcache_get_status", sizeof "opcache_get_status" - 1);
    if (ask == NULL) {
        return false;
    }
    /* We may ask, whatever scripts may. */
    char *script = SG(request_info).path_translated;
    SG(request_info).path_translated = zend_ini_string("opcache.restrict_api", sizeof "opcache.restrict_api" - 1, 0);
    bool waits = false;
    zend_try {
        zval with_scripts, status;
        ZVAL_FALSE(&with_scripts);
        ZVAL_UNDEF(&status);
        zend_call_known_function(ask, NULL, NULL, &status, 1, &with_scripts, NULL);
        const zval *pending = field_of(&status, "restart_pending");
        waits = pending != NULL && Z_TYPE_P(pending) == IS_TRUE;
        *reason = guess_reason(&status);
        zval_ptr_dtor(&status);
    } zend_end_try();
    SG(request_info).path_translated = script;
    return waits;
}

void opcache_look(const struct request *request)
{
    if (!asks || atomic_load_explicit(&told, memory_order_relaxed) || request_failed(request)) {
        return;
    }
    const uint64_t now = phprun_now_ns();
    uint64_t last = atomic_load_explicit(&looked_ns, memory_order_relaxed);
    /* One thread of the host at a time. */
    if (now - last < LOOK_INTERVAL_NS || !atomic_compare_exchange_strong(&looked_ns, &last, now)) {
        return;
    }
    int reason = OTHER_REASON;
    if (waits_to_restart(&reason)) {
        renew_for_restart(reason);
    }
}

/* Whether opcache has memory that it could want to restart. */
static bool has_memory(void)
{
    /* Not in the list when it did not start. */
    return zend_get_extension("Zend OPcache") != NULL &&
           zend_ini_long("opcache.enable", sizeof "opcache.enable" - 1, 0) &&
           !zend_ini_long("opcache.file_cache_only", sizeof "opcache.file_cache_only" - 1, 0);
}

void opcache_hold(void)
{
    const int lock_file = find_lock_file();
    if (lock_file < 0 && !has_memory()) {
        return;
    }
    const char *obstacle = lock_file < 0 ? "its lock file was not found" : hold_lock(lock_file);
    if (obstacle != NULL) {
        log_text(LOG_LEVEL_ERROR,
                 "Cannot keep opcache from restarting under running scripts, which crashes them: %s. "
                 "Use isolation: process, or opcache.enable=0",
                 obstacle);
    } else {
        spared_file = lock_file;
        replace_import("fcntl", lock_unless_held);
    }
    asks = !set_hook();
    replace_function("opcache_reset", renew_for_reset, NULL);
}
