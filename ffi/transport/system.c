#define _GNU_SOURCE
#include "system.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>

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
    int length = snprintf(error, cap, "%s", message != NULL ? message : "unknown error");
    return length < 1 ? 1 : (int32_t)((uint32_t)length < cap ? (uint32_t)length : cap - 1);
}
