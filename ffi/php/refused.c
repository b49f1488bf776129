/*
 * Functions that are refused where workers are threads of one process, because what they do they do to all of it:
 * to the requests of the other workers, and to the host, which runs JavaScript. They throw, so that a script finds
 * out at once, and not another one later.
 *
 * What acts on the calling thread alone is let be (proc_nice(), pcntl_setcpuaffinity()): as in a process it lasts
 * until its worker is replaced. So is posix_kill(): who kills our process by its number means it.
 */
#include "shim.h"

#include <string.h>

#define IS_COPIED "the copy would have one thread of the host's and the locks of the others"
#define IS_SHARED "workers are threads of one process, and it acts on all of them"
#define IS_SIGNAL "workers are threads of one process, which has its signals in common"

static const struct {
    const char *name;
    const char *why;
} refused[] = {
    /* A copy of a process with threads may only exec() at once, which PHP does not. */
    {"pcntl_fork", IS_COPIED},
    {"pcntl_rfork", IS_COPIED},
    {"pcntl_forkx", IS_COPIED},

    /* Another program instead of all workers. */
    {"pcntl_exec", IS_SHARED},

    /* Other namespaces: the system refuses some for threads, and would leave others to the thread's later requests. */
    {"pcntl_unshare", IS_SHARED},
    {"pcntl_setns", IS_SHARED},

    /* The user, the group, the session and the limits. */
    {"posix_setuid", IS_SHARED},
    {"posix_seteuid", IS_SHARED},
    {"posix_setgid", IS_SHARED},
    {"posix_setegid", IS_SHARED},
    {"posix_initgroups", IS_SHARED},
    {"posix_setsid", IS_SHARED},
    {"posix_setpgid", IS_SHARED},
    {"posix_setrlimit", IS_SHARED},

    /*
     * A signal comes on any thread, also on those that run no PHP, where PHP's handler would fault. The handler of
     * one request would be that of all, SIGTERM is the host's, and SIGALRM without a handler ends the process.
     * A blocked signal would stay blocked: that of the deadline, for one.
     */
    {"pcntl_signal", IS_SIGNAL},
    {"pcntl_alarm", IS_SIGNAL},
    {"pcntl_sigprocmask", IS_SIGNAL},
    {"pcntl_sigwaitinfo", IS_SIGNAL},
    {"pcntl_sigtimedwait", IS_SIGNAL},

    /* Takes any child: those that other requests have from proc_open(). pcntl_waitpid() takes the one it is told. */
    {"pcntl_wait", IS_SHARED},
};

static ZEND_NAMED_FUNCTION(refuse)
{
    (void)return_value;
    const char *name = ZSTR_VAL(EX(func)->common.function_name);
    const char *why = "";
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        if (strcmp(refused[i].name, name) == 0) {
            why = refused[i].why;
        }
    }
    zend_throw_error(NULL, "%s() cannot be used here: %s. Use isolation: process for this pool", name, why);
}

void refused_thread_startup(void)
{
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        replace_function(refused[i].name, refuse, NULL);
    }
}
