#define _GNU_SOURCE
#include "system.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <poll.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Writes a text for the caller. Returns its length, cut to what fits; at least 1, as 0 means that all went well. */
__attribute__((format(printf, 3, 4))) static int32_t say(char *out, uint32_t cap, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    const int length = vsnprintf(out, cap, format, values);
    va_end(values);
    return length < 1 ? 1 : (int32_t)((uint32_t)length < cap ? (uint32_t)length : cap - 1);
}

int32_t phprun_socketpair(int32_t *out)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0) {
        return -errno;
    }
    out[0] = pair[0];
    out[1] = pair[1];
    return 0;
}

int32_t phprun_punch(int32_t fd, double offset, double bytes)
{
    return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)bytes) == 0 ? 0 : -errno;
}

double phprun_raise_open_files(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return -errno;
    }
    if (limit.rlim_cur < limit.rlim_max) {
        struct rlimit raised = {.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};
        if (setrlimit(RLIMIT_NOFILE, &raised) == 0) {
            limit = raised;
        }
    }
    return (double)limit.rlim_cur;
}

int32_t phprun_open_global(const char *path, char *error, uint32_t cap)
{
    if (dlopen(path, RTLD_NOW | RTLD_GLOBAL) != NULL) {
        return 0;
    }
    const char *message = dlerror();
    return say(error, cap, "%s", message != NULL ? message : "unknown error");
}

double phprun_limit_open_files(double files)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return -errno;
    }
    limit.rlim_cur = files < (double)limit.rlim_max ? (rlim_t)files : limit.rlim_max;
    return setrlimit(RLIMIT_NOFILE, &limit) == 0 ? (double)limit.rlim_cur : -errno;
}

/* ---- the service manager ---------------------------------------------------------------------- */

int32_t phprun_notify(const char *address, const uint8_t *message, uint32_t bytes)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    const size_t length = strlen(address);
    if (length < 2 || length >= sizeof to.sun_path) {
        return -EINVAL;
    }
    memcpy(to.sun_path, address, length);
    if (address[0] == '@') {
        to.sun_path[0] = '\0';
    }
    const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    /* A manager that does not read may cost us a message, but not the event loop. */
    const struct timeval patience = {.tv_sec = 1};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    ssize_t sent;
    do {
        sent = sendto(fd, message, bytes, MSG_NOSIGNAL, (const struct sockaddr *)&to,
                      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length));
    } while (sent < 0 && errno == EINTR);
    const int error = sent < 0 ? errno : 0;
    close(fd);
    return -error;
}

int32_t phprun_try_socket(const char *path)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    const size_t length = strlen(path);
    if (length >= sizeof to.sun_path) {
        return -ENAMETOOLONG;
    }
    memcpy(to.sun_path, path, length);
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    const int error = connect(fd, (const struct sockaddr *)&to, sizeof to) != 0 ? errno : 0;
    close(fd);
    return -error;
}

double phprun_monotonic_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)(now.tv_nsec / 1000);
}

/* ---- listening sockets that somebody else has opened ------------------------------------------ */

static int32_t say_unix_address(const struct sockaddr_un *address, socklen_t length, char *out, uint32_t cap)
{
    const size_t bytes = length - offsetof(struct sockaddr_un, sun_path);
    if (bytes == 0) {
        return -EAFNOSUPPORT; /* it has no name, so nobody can connect to it */
    }
    if (address->sun_path[0] == '\0') {
        return say(out, cap, "unix @%.*s", (int)bytes - 1, address->sun_path + 1);
    }
    return say(out, cap, "unix %.*s", (int)bytes, address->sun_path);
}

int32_t phprun_listener_address(int32_t fd, char *out, uint32_t cap)
{
    int type = 0, listening = 0;
    socklen_t size = sizeof type;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) != 0 ||
        getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) != 0) {
        return -errno;
    }
    if (type != SOCK_STREAM || !listening) {
        return -EINVAL;
    }
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_un local;
    } address;
    socklen_t length = sizeof address;
    if (getsockname(fd, &address.any, &length) != 0) {
        return -errno;
    }
    char host[INET6_ADDRSTRLEN] = "";
    switch (address.any.sa_family) {
    case AF_INET:
        inet_ntop(AF_INET, &address.v4.sin_addr, host, sizeof host);
        return say(out, cap, "tcp4 %s %u", host, ntohs(address.v4.sin_port));
    case AF_INET6:
        inet_ntop(AF_INET6, &address.v6.sin6_addr, host, sizeof host);
        return say(out, cap, "tcp6 %s %u", host, ntohs(address.v6.sin6_port));
    case AF_UNIX:
        return say_unix_address(&address.local, length, out, cap);
    default:
        return -EAFNOSUPPORT;
    }
}

int32_t phprun_make_private(int32_t fd)
{
    const int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) {
        return -errno;
    }
    return 0;
}

int32_t phprun_replace_watched(int32_t epoll, int32_t fd, int32_t given, uint32_t events, uint32_t data_low,
                               uint32_t data_high)
{
    struct epoll_event watch = {.events = events, .data.u64 = (uint64_t)data_high << 32 | data_low};
    /* First: epoll knows a file by its number and its identity, and would keep the old one while anybody has it. */
    if (epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL) != 0) {
        return -errno;
    }
    if (dup3(given, fd, O_CLOEXEC) < 0) {
        const int error = errno;
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &watch);
        return -error;
    }
    return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &watch) == 0 ? 0 : -errno;
}

/* ---- processes -------------------------------------------------------------------------------- */

int32_t phprun_reap(int32_t pid)
{
    if (pid <= 0) {
        return -EINVAL; /* it would mean any child, Bun's own among them */
    }
    const pid_t got = waitpid(pid, NULL, WNOHANG);
    return got < 0 ? -errno : got > 0;
}

int32_t phprun_set_nice(int32_t nice)
{
    return setpriority(PRIO_PROCESS, 0, nice) == 0 ? 0 : -errno;
}

int32_t phprun_set_affinity(const int32_t *processors, uint32_t count)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    for (uint32_t i = 0; i < count; i++) {
        if (processors[i] < 0 || processors[i] >= CPU_SETSIZE) {
            return -EINVAL;
        }
        CPU_SET(processors[i], &set);
    }
    return sched_setaffinity(0, sizeof set, &set) == 0 ? 0 : -errno;
}

static bool is_user_already(uid_t uid, gid_t gid)
{
    uid_t real, effective, saved;
    gid_t real_group, effective_group, saved_group;
    return getresuid(&real, &effective, &saved) == 0 && real == uid && effective == uid && saved == uid &&
           getresgid(&real_group, &effective_group, &saved_group) == 0 && real_group == gid &&
           effective_group == gid && saved_group == gid;
}

int32_t phprun_become_user(const char *name, uint32_t uid, uint32_t gid, char *error, uint32_t cap)
{
    if (geteuid() != 0 && is_user_already(uid, gid)) {
        return 0; /* only root may set groups, and they are this user's */
    }
    /* glibc's functions, never the bare system calls: those change one thread, and Bun has several. */
    if (initgroups(name, gid) != 0) {
        return say(error, cap, "initgroups: %s", strerror(errno));
    }
    if (setresgid(gid, gid, gid) != 0) {
        return say(error, cap, "setresgid: %s", strerror(errno));
    }
    if (setresuid(uid, uid, uid) != 0) {
        return say(error, cap, "setresuid: %s", strerror(errno));
    }
    if (!is_user_already(uid, gid)) {
        return say(error, cap, "the kernel did not take the change");
    }
    /* A capability that has been kept would let any script become root again. */
    if (uid != 0 && (setresuid(0, 0, 0) == 0 || setuid(0) == 0)) {
        return say(error, cap, "root's rights could be taken back");
    }
    /* The change made /proc/self root's, where PHP, the loader and we look for our own descriptors. */
    prctl(PR_SET_DUMPABLE, 1);
    return 0;
}

int32_t phprun_die_with_parent(int32_t socket)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) {
        return -errno;
    }
    /* It may have ended before the line above: then its end of the socket is closed. */
    struct pollfd news = {.fd = socket, .events = POLLRDHUP};
    return poll(&news, 1, 0) > 0 && (news.revents & (POLLHUP | POLLRDHUP)) != 0 ? -ESRCH : 0;
}

int32_t phprun_home_of(uint32_t uid, char *out, uint32_t cap)
{
    const size_t bytes = 64 * 1024;
    char *buffer = malloc(bytes);
    if (buffer == NULL) {
        return -ENOMEM;
    }
    struct passwd entry, *found = NULL;
    const int error = getpwuid_r(uid, &entry, buffer, bytes, &found);
    int32_t result = error != 0 ? -error : -ENOENT;
    if (found != NULL && found->pw_dir[0] != '\0') {
        result = say(out, cap, "%s", found->pw_dir);
    }
    free(buffer);
    return result;
}
