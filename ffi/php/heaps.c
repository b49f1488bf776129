/*
 * Bun's JavaScript heaps are address space reserved in one piece, hundreds of megabytes each. A worker never runs
 * JavaScript: it lets go of the pages it got with the fork, and is smaller by them. (MADV_DONTFORK in the host would
 * not even copy them, but Bun has fork handlers that run in the child and look at its heap.)
 */
#define _GNU_SOURCE
#include "shim.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

/* glibc's own arenas reserve 64 MiB; nothing but a script engine takes this much private memory at once. */
#define SMALLEST_HEAP (UINT64_C(256) << 20)
#define MOST_HEAPS 16

static struct heap {
    void *start;
    size_t bytes;
} heaps[MOST_HEAPS];
static size_t heap_count;

void heaps_note(void)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    if (maps == NULL) {
        return;
    }
    char line[512];
    while (heap_count < MOST_HEAPS && fgets(line, sizeof line, maps) != NULL) {
        unsigned long start, end, inode;
        char rights[8];
        if (sscanf(line, "%lx-%lx %7s %*s %*s %lu", &start, &end, rights, &inode) == 4 && inode == 0 &&
            rights[3] == 'p' && strchr(line, '[') == NULL && end - start >= SMALLEST_HEAP) {
            heaps[heap_count++] = (struct heap){(void *)start, end - start};
        }
    }
    fclose(maps);
}

void heaps_let_go(void)
{
    for (size_t i = 0; i < heap_count; i++) {
        madvise(heaps[i].start, heaps[i].bytes, MADV_DONTNEED);
    }
}
