/* System calls that Bun does not offer and that have nothing to do with a pool. */
#ifndef PHPRUN_SYSTEM_H
#define PHPRUN_SYSTEM_H

#include "transport.h"

/* A connected pair of unix stream sockets (non-blocking, close-on-exec) into out[0], out[1]. */
PHPRUN_API int32_t phprun_socketpair(int32_t *out);

/* Gives the blocks of a file's range back to the file system; its size stays. */
PHPRUN_API int32_t phprun_punch(int32_t fd, double offset, double bytes);

/* Raises the limit of open files to the hard limit. Returns what it is now. */
PHPRUN_API double phprun_raise_open_files(void);

/*
 * Opens a library for the whole process (RTLD_GLOBAL), which Bun's dlopen cannot: PHP's shared extensions
 * find libphp's symbols no other way. Returns 0, or the length of a message written to `error`.
 */
PHPRUN_API int32_t phprun_open_global(const char *path, char *error, uint32_t cap);

/* Sets the soft limit of open files, at most to the hard one. Returns what it is now, or a negative errno. */
PHPRUN_API double phprun_limit_open_files(double files);

/* ---- the service manager ---------------------------------------------------------------------- */

/*
 * Sends one datagram to a service manager. `address` is a path, or "@name" for an abstract socket.
 * Waits for at most a second when the other side does not read.
 */
PHPRUN_API int32_t phprun_notify(const char *address, const uint8_t *message, uint32_t bytes);

/*
 * Connects to a unix stream socket and lets go again. Returns 0, -ECONNREFUSED when nobody listens on it, -EAGAIN when
 * its queue is full, or another negative errno. Does not wait. Bun takes the second for the first.
 */
PHPRUN_API int32_t phprun_try_socket(const char *path);

/* CLOCK_MONOTONIC in microseconds: exact as a double for 285 years. */
PHPRUN_API double phprun_monotonic_us(void);

/* ---- listening sockets that somebody else has opened ------------------------------------------ */

/*
 * Writes the address of a listening stream socket as "tcp4 <host> <port>", "tcp6 <host> <port>", "unix <path>" or
 * "unix @<name>". Returns the length, or -ENOTSOCK, -EINVAL (not listening), -EAFNOSUPPORT, -ENOBUFS.
 */
PHPRUN_API int32_t phprun_listener_address(int32_t fd, char *out, uint32_t cap);

/* Makes a descriptor non-blocking and close-on-exec. */
PHPRUN_API int32_t phprun_make_private(int32_t fd);

/*
 * Puts the file behind `given` in the place of the one behind `fd`, which `epoll` watches with these events and this
 * data; it goes on watching. `given` stays open. The old file is closed.
 */
PHPRUN_API int32_t phprun_replace_watched(int32_t epoll, int32_t fd, int32_t given, uint32_t events,
                                          uint32_t data_low, uint32_t data_high);

/* ---- processes -------------------------------------------------------------------------------- */

/* Takes note of the end of one child. Returns 1, or 0 when it still runs. */
PHPRUN_API int32_t phprun_reap(int32_t pid);

/* Nice value of the calling thread, and of what it starts later. */
PHPRUN_API int32_t phprun_set_nice(int32_t nice);

/* Processors the calling thread, and what it starts later, may run on. */
PHPRUN_API int32_t phprun_set_affinity(const int32_t *processors, uint32_t count);

/*
 * Turns the whole process into this user for good, with the user's groups. Returns 0, or the length of a message
 * written to `error`: the process is of no use then, and must end.
 */
PHPRUN_API int32_t phprun_become_user(const char *name, uint32_t uid, uint32_t gid, char *error, uint32_t cap);

/*
 * Has this process killed when the thread that started it ends. Becoming another user takes that back.
 * `socket` leads to the parent: -ESRCH when it has ended already.
 */
PHPRUN_API int32_t phprun_die_with_parent(int32_t socket);

/* Writes the home folder of a user. Returns its length, or -ENOENT when there is no such user. */
PHPRUN_API int32_t phprun_home_of(uint32_t uid, char *out, uint32_t cap);

#endif
