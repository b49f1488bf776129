/*
 * A worker that has become warm is made the template of further workers (worker.refork_after): what requests have
 * filled, caches and the like, is then shared too.
 *
 * The host stays the parent of every worker, since it is the host that signals and reaps them, and whose death ends
 * them. So the template forks twice: the one in between ends at once, and the worker falls to the nearest process that
 * takes orphans, which the host is.
 */
#define _GNU_SOURCE
#include "refork.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* [0] is the host's, [1] that of whichever worker is the template. */
static int sockets[2] = {-1, -1};
static pid_t host_pid;

bool refork_startup(void)
{
    host_pid = getpid();
    return prctl(PR_SET_CHILD_SUBREAPER, 1) == 0 &&
           socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) == 0;
}

int refork_host_socket(void)
{
    return sockets[0];
}

int refork_template_socket(void)
{
    return sockets[1];
}

static bool send_note(int socket, enum refork_note_kind kind, uint32_t worker, uint32_t argument)
{
    const struct refork_note note = {.kind = kind, .worker = worker, .argument = argument};
    ssize_t sent;
    do {
        sent = send(socket, &note, sizeof note, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent == sizeof note;
}

bool refork_ask(uint32_t worker, uint32_t generation)
{
    return send_note(sockets[0], REFORK_SPAWN, worker, generation);
}

bool refork_hear(struct refork_note *note)
{
    ssize_t got;
    do {
        got = recv(sockets[0], note, sizeof *note, MSG_DONTWAIT);
    } while (got < 0 && errno == EINTR);
    return got == sizeof *note;
}

void refork_forget_asked(void)
{
    struct refork_note note;
    while (recv(sockets[1], &note, sizeof note, MSG_DONTWAIT) > 0) {
    }
}

void refork_decline(uint32_t worker)
{
    send_note(sockets[1], REFORK_DECLINED, worker, 0);
}

/* Until the one in between has ended; then we are the host's, and go with it. */
static void become_the_hosts(pid_t between)
{
    while (getppid() == between) {
        sched_yield();
    }
    if (getppid() != host_pid) {
        _exit(0);
    }
}

/*
 * Without the handlers that libraries have set for a fork (pthread_atfork): Bun's would wait for a lock that the fork
 * before has left taken. Nothing else runs in a worker, so there is nothing for them to do. glibc has it from 2.34 on.
 */
extern pid_t _Fork(void) __attribute__((weak));

static pid_t fork_alone(void)
{
    return _Fork != NULL ? _Fork() : fork();
}

/* True in the new worker. */
static bool fork_twice(uint32_t worker)
{
    const pid_t between = fork_alone();
    if (between < 0) {
        send_note(sockets[1], REFORK_FAILED, worker, (uint32_t)errno);
        return false;
    }
    if (between > 0) {
        while (waitpid(between, NULL, 0) < 0 && errno == EINTR) {
        }
        return false;
    }
    const pid_t self = getpid();
    const pid_t pid = fork_alone();
    if (pid == 0) {
        become_the_hosts(self);
        return true;
    }
    if (pid < 0) {
        send_note(sockets[1], REFORK_FAILED, worker, (uint32_t)errno);
    } else {
        send_note(sockets[1], REFORK_SPAWNED, worker, (uint32_t)pid);
    }
    _exit(0);
}

uint32_t refork_serve(uint32_t worker, uint32_t *generation)
{
    prctl(PR_SET_NAME, "phprun/template");
    if (!send_note(sockets[1], REFORK_PROMOTED, worker, (uint32_t)getpid())) {
        _exit(0);
    }
    for (;;) {
        struct refork_note note;
        const ssize_t got = recv(sockets[1], &note, sizeof note, 0);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got != sizeof note || note.kind != REFORK_SPAWN) {
            _exit(0);
        }
        if (fork_twice(note.worker)) {
            *generation = note.argument;
            return note.worker;
        }
    }
}

pid_t refork_host(void)
{
    return host_pid;
}
