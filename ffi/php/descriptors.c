/*
 * Which descriptors a worker keeps. PHP's extensions open some while they start (opcache its lock file) and use
 * them in every worker; what was there before, and what the host opens later, is none of a worker's business.
 */
#define _GNU_SOURCE
#include "shim.h"

#include <dirent.h>
#include <stdlib.h>
#include <unistd.h>

#define MOST_KEPT 64
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
        if (fd > 2 && fd < HIGHEST && fd != dirfd(folder)) {
            visit(fd);
        }
    }
    closedir(folder);
}

static void note_before(int fd)
{
    before[fd] = 1;
}

static void note_new(int fd)
{
    if (!before[fd] && kept_count < MOST_KEPT) {
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

static int compare(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

static void close_from_to(unsigned int first, unsigned int last)
{
    if (first <= last && close_range(first, last, 0) != 0) {
        /* A kernel before 5.9, or a sandbox that does not know the call. */
        const unsigned int end = last < HIGHEST ? last : (unsigned int)sysconf(_SC_OPEN_MAX) - 1;
        for (unsigned int fd = first; fd <= end; fd++) {
            close((int)fd);
        }
    }
}

void descriptors_close_others(const int *also, size_t count)
{
    int keep[MOST_KEPT + 8];
    size_t total = 0;
    while (total < kept_count) {
        keep[total] = kept[total];
        total++;
    }
    for (size_t i = 0; i < count && total < sizeof keep / sizeof keep[0]; i++) {
        keep[total++] = also[i];
    }
    qsort(keep, total, sizeof keep[0], compare);
    unsigned int first = 3;
    for (size_t i = 0; i < total; i++) {
        const unsigned int fd = (unsigned int)keep[i];
        if (fd >= first) {
            if (fd > first) {
                close_from_to(first, fd - 1);
            }
            first = fd + 1;
        }
    }
    close_from_to(first, ~0u);
}
