/*
 * openlog() where workers are threads of one process: C keeps one name, and one facility, for all of them, and the
 * end of each request would reset them. Here each thread keeps its own, and each message brings them along.
 */
#include "shim.h"

#include <stdarg.h>
#include <syslog.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static __thread struct {
    const char *name; /* PHP's, which keeps it until it has called closelog(); NULL: that of the process */
    int options;
    int facility;
} own;

static void openlog_of_request(const char *name, int options, int facility)
{
    own.name = name;
    own.options = options;
    own.facility = facility;
}

static void closelog_of_request(void)
{
    openlog_of_request(NULL, 0, 0);
}

static void log_arguments(int priority, const char *format, va_list arguments)
{
    pthread_mutex_lock(&lock);
    openlog(own.name, own.options, own.facility != 0 ? own.facility : LOG_USER);
    vsyslog(priority, format, arguments);
    closelog(); /* else C would keep the name */
    pthread_mutex_unlock(&lock);
}

static void syslog_of_request(int priority, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    log_arguments(priority, format, arguments);
    va_end(arguments);
}

/* What syslog() is in a PHP that was compiled with _FORTIFY_SOURCE. */
static void checked_syslog_of_request(int priority, int flag, const char *format, ...)
{
    (void)flag;
    va_list arguments;
    va_start(arguments, format);
    log_arguments(priority, format, arguments);
    va_end(arguments);
}

void syslog_thread_startup(void)
{
    const bool plain = replace_import("syslog", (void *)syslog_of_request);
    const bool checked = replace_import("__syslog_chk", (void *)checked_syslog_of_request);
    if (plain || checked) {
        replace_import("openlog", (void *)openlog_of_request);
        replace_import("closelog", (void *)closelog_of_request);
    }
}
