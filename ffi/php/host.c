/*
 * The fork server. Which worker to start or end, and when, is decided in the front; here it is done.
 *
 * Commands come on the control socket as three uint32: kind, worker, argument.
 * Events go back as four uint32: kind, worker, pid, argument. The kinds are those of src/pool/messages.ts.
 */
#define _GNU_SOURCE
#include "app.h"
#include "frames.h"
#include "refork.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum command_kind { COMMAND_SPAWN = 1, COMMAND_DEADLINE = 2, COMMAND_END = 3, COMMAND_KILL = 4, COMMAND_PROMOTE = 5 };
enum event_kind {
    EVENT_SPAWNED = 1,
    EVENT_SPAWN_FAILED = 2,
    EVENT_EXITED = 3,
    EVENT_BOOTED = 4,
    EVENT_PROMOTED = 5,
};

struct command {
    uint32_t kind, worker, argument;
};

static struct host {
    struct phprun_pool *pool;
    int control_fd, wake_fd, spool_fd, log_fd, children_fd;
    uint32_t options; /* PHPRUN_HOST_* */
    pid_t pids[PHPRUN_MAX_WORKERS]; /* 0: not running */
    uint32_t running;
    char pending[sizeof(struct command)]; /* part of a command that has not arrived whole */
    size_t pending_bytes;
    pid_t template; /* a worker that has been promoted, and forks in our place; 0: none */
    uint32_t asked[PHPRUN_MAX_WORKERS]; /* generation of a worker that it is to fork, plus one; 0: none */
    struct {
        pid_t pid;
        int status;
    } early[16]; /* ended before the template told of them */
} host;

static void send_event(enum event_kind kind, uint32_t worker, pid_t pid, uint32_t argument)
{
    const uint32_t event[4] = {kind, worker, (uint32_t)pid, argument};
    const char *at = (const char *)event;
    size_t left = sizeof event;
    while (left > 0) {
        const ssize_t sent = send(host.control_fd, at, left, MSG_NOSIGNAL);
        if (sent > 0) {
            at += sent;
            left -= (size_t)sent;
        } else if (sent < 0 && errno == EAGAIN) {
            struct pollfd room = {.fd = host.control_fd, .events = POLLOUT};
            poll(&room, 1, -1);
        } else if (sent < 0 && errno != EINTR) {
            return; /* the front is gone; the loop will see it */
        }
    }
}

/* ---- in the child ---------------------------------------------------------------------------- */

static void leave_to_the_front(int number)
{
    (void)number;
}

/*
 * A service manager sends its SIGTERM to every process of the service: the request must be finished all the same,
 * the front sees to the end. Handlers and not SIG_IGN, which programs started by a script would inherit.
 */
void ignore_stop_signals(void)
{
    struct sigaction deaf = {.sa_handler = leave_to_the_front, .sa_flags = SA_RESTART};
    sigemptyset(&deaf.sa_mask);
    sigaction(SIGTERM, &deaf, NULL);
    sigaction(SIGINT, &deaf, NULL);
    sigaction(SIGHUP, &deaf, NULL);
    /* An error return for the script, not its end: a peer that hangs up, a file that is too large. */
    sigaction(SIGPIPE, &deaf, NULL);
    sigaction(SIGXFSZ, &deaf, NULL);
}

static void reset_signals(void)
{
    struct sigaction standard = {.sa_handler = SIG_DFL};
    for (int number = 1; number < NSIG; number++) {
        sigaction(number, &standard, NULL);
    }
    ignore_stop_signals();
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    /* Bun's alternate stack belongs to a thread that does not exist here. */
    stack_t off = {.ss_flags = SS_DISABLE};
    sigaltstack(&off, NULL);
}

/* glibc's own interface to thread_local destructors (C++); exit() runs them first, the last one registered first. */
extern int __cxa_thread_atexit_impl(void (*destructor)(void *), void *object, void *dso);
extern void *__dso_handle;

/*
 * Something in a worker has called exit(): an extension, or a library it uses. Bun's destructors and exit handlers
 * would come next, and must not run here: their heaps are gone. With what status it was called is not known here.
 */
static void leave_at_once(void *unused)
{
    (void)unused;
    _exit(PHPRUN_EXIT_CALLED);
}

static void become_child(pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        _exit(0); /* the host died before the line above */
    }
    __cxa_thread_atexit_impl(leave_at_once, NULL, &__dso_handle);
    reset_signals();
}

struct worker *host_become_worker(uint32_t number, pid_t parent)
{
    static struct worker worker;
    worker = (struct worker){
        .pool = host.pool,
        .number = number,
        .spool_fd = host.spool_fd,
        .thread = gettid(),
        .executor = frames_executor(),
    };
    become_child(parent);
    fork_is_ours();
    crash_startup();
    crash_worker_startup(&worker);
    heaps_let_go();
    const int kept[] = {host.wake_fd, host.spool_fd, host.log_fd, refork_template_socket()};
    descriptors_close_others(kept, sizeof kept / sizeof kept[0] - (refork_template_socket() < 0 ? 1 : 0));
    host.pool->wake_fd = host.wake_fd;
    if (refork_template_socket() >= 0) {
        descriptors_before_boot(); /* what it opens from here on is its own */
    }
    char name[16];
    snprintf(name, sizeof name, "phprun/%u", number);
    prctl(PR_SET_NAME, name);
    log_as_worker(&worker);
    deadline_startup();
    fork_startup();
    if (host.options & PHPRUN_HOST_SLOW_LOG) {
        look_worker_startup(&worker);
    }
    return &worker;
}

/* ---- in the host ----------------------------------------------------------------------------- */

void become_host(void)
{
    /* Ctrl-C reaches every process of the terminal's group: it is the front's to answer. */
    setpgid(0, 0);
    /* The control socket tells that the front is gone, but not while PHP is still starting. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    /* What we were started with came here through an exec; it is not to go through another. */
    if (close_range(3, ~0u, CLOSE_RANGE_CLOEXEC) != 0) {
        for (int fd = 3; fd < 64; fd++) {
            fcntl(fd, F_SETFD, FD_CLOEXEC);
        }
    }
}

/* In the child it returns the worker that this process is from now on; NULL in the host. */
static struct worker *spawn(uint32_t number, uint32_t generation)
{
    if (number >= host.pool->worker_count || host.pids[number] != 0) {
        send_event(EVENT_SPAWN_FAILED, number, 0, EINVAL);
        return NULL;
    }
    if (host.template != 0 && refork_ask(number, generation)) {
        host.asked[number] = generation + 1;
        return NULL;
    }
    phprun_worker_prepare(host.pool, number, generation);
    const pid_t parent = getpid();
    const pid_t pid = fork();
    if (pid == 0) {
        return host_become_worker(number, parent);
    }
    if (pid < 0) {
        send_event(EVENT_SPAWN_FAILED, number, 0, (uint32_t)errno);
        return NULL;
    }
    host.pids[number] = pid;
    host.running++;
    send_event(EVENT_SPAWNED, number, pid, generation);
    return NULL;
}

/* The host is the parent, so a pid it has not reaped cannot have become somebody else's. */
static void signal_worker(uint32_t number, int signal_number)
{
    if (number < PHPRUN_MAX_WORKERS && host.pids[number] != 0) {
        kill(host.pids[number], signal_number);
    }
}

static bool note_exit(pid_t pid, int status)
{
    for (uint32_t number = 0; number < PHPRUN_MAX_WORKERS; number++) {
        if (host.pids[number] == pid) {
            host.pids[number] = 0;
            host.running--;
            send_event(EVENT_EXITED, number, pid, (uint32_t)status);
            return true;
        }
    }
    return false;
}

static bool awaits_template(void)
{
    for (uint32_t number = 0; number < PHPRUN_MAX_WORKERS; number++) {
        if (host.asked[number] != 0) {
            return true;
        }
    }
    return false;
}

/* The template has done it, or will not. Pids are used again: none is remembered for longer than it may be told of. */
static void settle_asked(uint32_t number)
{
    host.asked[number] = 0;
    if (!awaits_template()) {
        memset(host.early, 0, sizeof host.early);
    }
}

/* Nobody's child, as it seems: a worker that the template has forked and not told of yet, or an orphan of a script. */
static void keep_early(pid_t pid, int status)
{
    if (!awaits_template()) {
        return;
    }
    static size_t next;
    host.early[next].pid = pid;
    host.early[next].status = status;
    next = (next + 1) % (sizeof host.early / sizeof host.early[0]);
}

static void note_early(pid_t pid)
{
    for (size_t i = 0; i < sizeof host.early / sizeof host.early[0]; i++) {
        if (host.early[i].pid == pid) {
            host.early[i].pid = 0;
            note_exit(pid, host.early[i].status);
        }
    }
}

/* What it was to fork we fork ourselves, from the application as it booted. In the child: what that has become. */
static struct worker *lose_template(void)
{
    struct worker *child = NULL;
    host.template = 0;
    refork_forget_asked();
    log_text(LOG_LEVEL_WARN, "The worker that had become the template has ended: workers are forked from the application "
                             "as it booted again");
    for (uint32_t number = 0; number < PHPRUN_MAX_WORKERS && child == NULL; number++) {
        if (host.asked[number] != 0) {
            const uint32_t generation = host.asked[number] - 1;
            settle_asked(number);
            child = spawn(number, generation);
        }
    }
    return child;
}

static struct worker *reap(void)
{
    int status;
    pid_t pid;
    struct worker *child = NULL;
    while (child == NULL && (pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (note_exit(pid, status)) {
            continue;
        }
        if (pid == host.template) {
            child = lose_template();
        } else {
            keep_early(pid, status);
        }
    }
    return child;
}

static void adopt(uint32_t number, pid_t pid)
{
    if (number >= host.pool->worker_count || host.asked[number] == 0) {
        return;
    }
    host.pids[number] = pid;
    host.running++;
    send_event(EVENT_SPAWNED, number, pid, host.asked[number] - 1);
    note_early(pid);
    settle_asked(number);
}

static void promote(uint32_t number)
{
    if (number >= PHPRUN_MAX_WORKERS || host.pids[number] == 0) {
        return;
    }
    if (host.template != 0) {
        /* Its successor is here. */
        const pid_t old = host.template;
        host.template = 0;
        kill(old, SIGKILL);
    }
    host.template = host.pids[number];
    host.pids[number] = 0;
    host.running--;
    send_event(EVENT_PROMOTED, number, host.template, 0);
}

static void hear_template(void)
{
    struct refork_note note;
    while (refork_hear(&note)) {
        switch (note.kind) {
        case REFORK_SPAWNED:
            adopt(note.worker, (pid_t)note.argument);
            break;
        case REFORK_FAILED:
            if (note.worker < PHPRUN_MAX_WORKERS) {
                settle_asked(note.worker);
                send_event(EVENT_SPAWN_FAILED, note.worker, 0, note.argument);
            }
            break;
        case REFORK_PROMOTED:
            promote(note.worker);
            break;
        default:
            break;
        }
    }
}

/* False when the control socket has closed or END has come. In a forked child: `child` is what it has become. */
static bool read_commands(struct worker **child)
{
    for (;;) {
        const ssize_t got = recv(host.control_fd, host.pending + host.pending_bytes,
                                 sizeof host.pending - host.pending_bytes, MSG_DONTWAIT);
        if (got < 0) {
            return errno == EAGAIN || errno == EINTR;
        }
        if (got == 0) {
            return false;
        }
        host.pending_bytes += (size_t)got;
        if (host.pending_bytes < sizeof host.pending) {
            continue;
        }
        struct command command;
        memcpy(&command, host.pending, sizeof command);
        host.pending_bytes = 0;
        switch (command.kind) {
        case COMMAND_SPAWN:
            *child = spawn(command.worker, command.argument);
            if (*child != NULL) {
                return true;
            }
            break;
        case COMMAND_DEADLINE:
            if (worker_is_overdue(host.pool, command.worker)) {
                signal_worker(command.worker, PHPRUN_DEADLINE_SIGNAL);
            }
            break;
        case COMMAND_KILL:
            /* Whatever it does; the front has not been told of its end, so it is the one that the front means. */
            if (command.argument == PHPRUN_NONE || worker_is_at(host.pool, command.worker, command.argument)) {
                signal_worker(command.worker, SIGKILL);
            }
            break;
        case COMMAND_PROMOTE:
            if (refork_host_socket() >= 0) {
                phprun_worker_promote(host.pool, command.worker);
            }
            break;
        default:
            return false;
        }
    }
}

static void end_workers(void)
{
    if (host.template != 0) {
        kill(host.template, SIGKILL);
    }
    for (uint32_t number = 0; number < PHPRUN_MAX_WORKERS; number++) {
        if (host.pids[number] != 0) {
            kill(host.pids[number], SIGKILL);
        }
    }
    while (host.running > 0 && (waitpid(-1, NULL, 0) > 0 || errno == EINTR)) {
        host.running--;
    }
}

static int child_ended_fd = -1;

/* Runs on whichever of the process's threads the kernel chose, Bun's among them. */
static void on_child_ended(int number)
{
    (void)number;
    const int error = errno;
    /* Full means that the loop has not looked yet: it will find this child too. */
    (void)!write(child_ended_fd, "", 1);
    errno = error;
}

/*
 * A descriptor that becomes readable when a child has ended. Not a signalfd: Bun's threads do not block SIGCHLD,
 * so the kernel gives it to one of them, where the default action drops it.
 */
static int children_descriptor(void)
{
    int pipe_fds[2];
    if (pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) != 0) {
        return -1;
    }
    child_ended_fd = pipe_fds[1];
    struct sigaction action = {.sa_handler = on_child_ended, .sa_flags = SA_RESTART | SA_NOCLDSTOP};
    sigemptyset(&action.sa_mask);
    if (sigaction(SIGCHLD, &action, NULL) != 0) {
        return -1;
    }
    /* The terminal's and the service manager's signals are for the front to answer. */
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGUSR1, SIG_IGN);
    signal(SIGUSR2, SIG_IGN);
    return pipe_fds[0];
}

/* Until all is over; NULL then. In a forked child: the worker that it has become. */
static struct worker *run_loop(void)
{
    struct worker *child = NULL;
    for (;;) {
        struct pollfd news[] = {{.fd = host.control_fd, .events = POLLIN},
                                {.fd = host.children_fd, .events = POLLIN},
                                {.fd = refork_host_socket(), .events = POLLIN}}; /* below 0 it is not looked at */
        if (poll(news, 3, -1) < 0 && errno != EINTR) {
            break;
        }
        /* Before the dead: a worker may be told of and have ended in the same moment. */
        if (news[2].revents != 0) {
            hear_template();
        }
        if (news[1].revents != 0) {
            char bytes[64];
            while (read(host.children_fd, bytes, sizeof bytes) > 0) {
            }
            child = reap();
            if (child != NULL) {
                break;
            }
        }
        if (news[0].revents != 0 && (!read_commands(&child) || child != NULL)) {
            break;
        }
    }
    return child;
}

struct worker *host_serve_template(void)
{
    if (app_has(PHPRUN_APP_REFORK) && !refork_startup()) {
        log_text(LOG_LEVEL_WARN, "Cannot make warm workers templates (worker.refork_after): %s", strerror(errno));
    }
    send_event(EVENT_BOOTED, 0, getpid(), 0);
    struct worker *child = run_loop();
    if (child == NULL) {
        end_workers();
        _exit(0);
    }
    return child;
}

/*
 * The front has dealt with our report when its first command is there. What is logged before that is PHP's own start,
 * and what the application logs while it boots is not. False: the front is gone.
 */
static bool wait_for_front(void)
{
    struct pollfd command = {.fd = host.control_fd, .events = POLLIN};
    while (poll(&command, 1, -1) < 0 && errno == EINTR) {
    }
    return command.revents & POLLIN;
}

int32_t phprun_host_run(int32_t pool_fd, int32_t control_fd, int32_t wake_fd, int32_t spool_fd, uint32_t options)
{
    host.control_fd = control_fd;
    host.wake_fd = wake_fd;
    host.spool_fd = spool_fd;
    host.options = options;
    host.log_fd = log_descriptor();
    host.pool = phprun_pool_map(pool_fd);
    if (host.pool == NULL) {
        return -errno;
    }
    host.children_fd = children_descriptor();
    if (host.children_fd < 0) {
        return -errno;
    }
    if (app_config.script != NULL) {
        opcache_hold();
    }
    if (app_has(PHPRUN_APP_TEMPLATE) && wait_for_front()) {
        /* A worker in the end, or a boot that failed. Not back to JavaScript: in a worker there is none. */
        _exit(template_run());
    }
    struct worker *child = run_loop();
    if (child != NULL) {
        _exit(worker_run(child));
    }
    end_workers();
    return 0;
}

int32_t phprun_php_evaluate(const char *code, char *out, uint32_t cap)
{
    /* `code` is in JavaScript's memory, which is not ours to keep. */
    char *copy = strdup(code);
    int pipe_fds[2];
    if (copy == NULL || pipe2(pipe_fds, O_CLOEXEC) != 0) {
        free(copy);
        return -errno;
    }
    const pid_t parent = getpid();
    const pid_t pid = fork();
    if (pid < 0) {
        free(copy);
        return -errno;
    }
    if (pid == 0) {
        become_child(parent);
        evaluate_to(copy, pipe_fds[1]);
    }
    free(copy);
    close(pipe_fds[1]);
    uint32_t length = 0;
    char beyond[4096]; /* what does not fit is read all the same, or the child could not write it */
    for (;;) {
        const bool full = length == cap;
        const ssize_t got =
            read(pipe_fds[0], full ? beyond : out + length, full ? sizeof beyond : cap - length);
        if (got == 0 || (got < 0 && errno != EINTR)) {
            break;
        }
        length += !full && got > 0 ? (uint32_t)got : 0;
    }
    close(pipe_fds[0]);
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? (int32_t)length : -EIO;
}
