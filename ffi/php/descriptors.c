/*
 * Which descriptors a worker keeps. PHP's extensions open some while they start (opcache its lock file) and use
 * them in every worker; what was there before, and what the host opens later, is none of a worker's business.
 */
#define _GNU_SOURCE
#include "descriptors.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MOST_KEPT 1024
#define HIGHEST 4096

static unsigned char before[HIGHEST];
static int kept[MOST_KEPT];
static size_t kept_count;

static void for_each_open(void (*visit)(int fd))
{
    DIR *folder = opendir("/proc/self/fd");
    if (folder == NULL) {
        return;
    }
    for (const struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        const int fd = atoi(entry->d_name);
        if (fd > 2 && fd != dirfd(folder)) {
            visit(fd);
        }
    }
    closedir(folder);
}

static void (*tell_new)(int fd);

static void note_before(int fd)
{
    if (fd < HIGHEST) {
        before[fd] = 1;
    }
}

static void note_new(int fd)
{
    if (fd < HIGHEST && !before[fd] && kept_count < MOST_KEPT) {
        kept[kept_count++] = fd;
    }
}

void descriptors_before_php(void)
{
    for_each_open(note_before);
}

void descriptors_after_php(void)
{
    for_each_open(note_new);
}

static void note_new_and_tell(int fd)
{
    if (fd < HIGHEST && !before[fd]) {
        note_new(fd);
        tell_new(fd);
    }
}

void descriptors_before_boot(void)
{
    memset(before, 0, sizeof before);
    for_each_open(note_before);
}

void descriptors_after_boot(void (*tell)(int fd))
{
    tell_new = tell;
    for_each_open(note_new_and_tell);
}

static int compare(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

static int keep[MOST_KEPT + 8];
static size_t keep_count;

static void close_unless_kept(int fd)
{
    if (bsearch(&fd, keep, keep_count, sizeof keep[0], compare) == NULL) {
        close(fd);
    }
}

/* Closes what lies between the kept ones. False when the kernel cannot (before 5.9, or in a sandbox). */
static bool close_gaps(void)
{
    unsigned int first = 3;
    for (size_t i = 0; i < keep_count; i++) {
        const unsigned int fd = (unsigned int)keep[i];
        if (fd > first && close_range(first, fd - 1, 0) != 0) {
            return false;
        }
        if (fd >= first) {
            first = fd + 1;
        }
    }
    return close_range(first, ~0u, 0) == 0;
}

void descriptors_close_others(const int *also, size_t count)
{
    keep_count = 0;
    while (keep_count < kept_count) {
        keep[keep_count] = kept[keep_count];
        keep_count++;
    }
    for (size_t i = 0; i < count && keep_count < sizeof keep / sizeof keep[0]; i++) {
        keep[keep_count++] = also[i];
    }
    qsort(keep, keep_count, sizeof keep[0], compare);
    if (!close_gaps()) {
        /* Not every number up to the limit: that may be a thousand million. */
        for_each_open(close_unless_kept);
    }
}
