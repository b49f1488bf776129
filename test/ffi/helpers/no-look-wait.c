/*
 * Preloaded into a host: the thread of the slow log does not wait for PHP to tell where it is, so that it reads
 * PHP's stack while PHP runs on.
 */
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

__attribute__((visibility("default"))) int nanosleep(const struct timespec *wait, struct timespec *left)
{
    /* PHP's own thread is the first of its process. */
    return gettid() == getpid() ? (int)syscall(SYS_nanosleep, wait, left) : 0;
}
