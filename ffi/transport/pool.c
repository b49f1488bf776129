/* Making and mapping the memory of a pool. */
#define _GNU_SOURCE
#include "transport.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static uint64_t page_align(uint64_t bytes)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    return (bytes + page - 1) & ~(page - 1);
}

static uint32_t power_of_two_from(uint32_t least)
{
    uint32_t n = 1;
    while (n < least) {
        n <<= 1;
    }
    return n;
}

uint32_t phprun_transport_abi(void)
{
    return PHPRUN_TRANSPORT_ABI;
}

/* The order is that of LAYOUT in ffi/layout.ts. */
int32_t phprun_transport_layout(uint32_t *out, uint32_t count)
{
    const uint32_t layout[] = {
        sizeof(struct phprun_slot),
        sizeof(struct phprun_worker),
        offsetof(struct phprun_slot, claim),
        offsetof(struct phprun_slot, id),
        offsetof(struct phprun_slot, block_bytes),
        offsetof(struct phprun_slot, block_values),
        offsetof(struct phprun_slot, body_inline),
        offsetof(struct phprun_slot, options),
        offsetof(struct phprun_slot, body_bytes),
        offsetof(struct phprun_slot, body_offset),
        offsetof(struct phprun_slot, status),
        offsetof(struct phprun_slot, head_bytes),
        offsetof(struct phprun_slot, body_at),
        offsetof(struct phprun_slot, body_size),
        offsetof(struct phprun_slot, started_ns),
        offsetof(struct phprun_slot, ended_ns),
        offsetof(struct phprun_slot, seen_phase),
        offsetof(struct phprun_slot, seen_outcome),
        offsetof(struct phprun_slot, seen_used),
        offsetof(struct phprun_worker, state),
        offsetof(struct phprun_worker, pid),
        offsetof(struct phprun_worker, slot),
        offsetof(struct phprun_worker, generation),
        offsetof(struct phprun_worker, requests),
        offsetof(struct phprun_worker, started_ns),
        offsetof(struct phprun_worker, memory_bytes),
        offsetof(struct phprun_worker, own_bytes),
        offsetof(struct phprun_worker, dropped_logs),
        offsetof(struct phprun_worker, leaving),
        offsetof(struct phprun_worker, booted_ns),
        offsetof(struct phprun_worker, last_function),
        offsetof(struct phprun_header, slots_at),
        offsetof(struct phprun_header, workers_at),
        offsetof(struct phprun_header, requests_at),
        offsetof(struct phprun_header, responses_at),
        offsetof(struct phprun_header, total_bytes),
        offsetof(struct phprun_header, request_bytes),
        offsetof(struct phprun_header, response_bytes),
    };
    const uint32_t known = sizeof layout / sizeof layout[0];
    if (count != known) {
        return -EPROTO; /* another version of ffi/layout.ts */
    }
    memcpy(out, layout, sizeof layout);
    return (int32_t)known;
}

static bool fill(int fd, const struct phprun_header *header)
{
    if (ftruncate(fd, (off_t)header->total_bytes) != 0 ||
        pwrite(fd, header, sizeof *header, 0) != (ssize_t)sizeof *header) {
        return false;
    }
    const uint32_t none = PHPRUN_NONE;
    for (uint32_t worker = 0; worker < header->worker_count; worker++) {
        const size_t record = header->workers_at + worker * sizeof(struct phprun_worker);
        if (pwrite(fd, &none, sizeof none, (off_t)(record + offsetof(struct phprun_worker, slot))) != sizeof none) {
            return false;
        }
    }
    /* A worker must not be able to shrink the memory under the front's feet. */
    return fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0;
}

int32_t phprun_pool_create(uint32_t slots, uint32_t workers, uint32_t request_bytes, uint32_t response_bytes)
{
    if (slots == 0 || slots > PHPRUN_MAX_SLOTS || workers == 0 || workers > PHPRUN_MAX_WORKERS ||
        request_bytes < 4096 || response_bytes < 4096 || request_bytes > 1u << 30 || response_bytes > 1u << 30) {
        return -EINVAL;
    }
    struct phprun_header header = {
        .magic = PHPRUN_MAGIC,
        .abi = PHPRUN_TRANSPORT_ABI,
        .slot_count = slots,
        .worker_count = workers,
        .ring_capacity = 2 * power_of_two_from(slots),
        .request_bytes = (uint32_t)page_align(request_bytes),
        .response_bytes = (uint32_t)page_align(response_bytes),
    };
    header.workers_at = (uint32_t)page_align(sizeof header);
    header.slots_at = header.workers_at + (uint32_t)page_align(workers * sizeof(struct phprun_worker));
    header.requests_at = header.slots_at + page_align(slots * sizeof(struct phprun_slot));
    header.responses_at = header.requests_at + (uint64_t)slots * header.request_bytes;
    header.total_bytes = header.responses_at + (uint64_t)slots * header.response_bytes;

    int fd = memfd_create("phprun-pool", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) {
        return -errno;
    }
    if (!fill(fd, &header)) {
        int error = errno;
        close(fd);
        return -error;
    }
    return fd;
}

struct phprun_pool *phprun_pool_map(int32_t fd)
{
    struct stat info;
    if (fstat(fd, &info) != 0) {
        return NULL;
    }
    if ((size_t)info.st_size < sizeof(struct phprun_header)) {
        errno = EPROTO;
        return NULL;
    }
    uint8_t *base = mmap(NULL, (size_t)info.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED) {
        return NULL;
    }
    struct phprun_header *header = (struct phprun_header *)base;
    struct phprun_pool *pool = NULL;
    if (header->magic != PHPRUN_MAGIC || header->abi != PHPRUN_TRANSPORT_ABI ||
        header->total_bytes != (uint64_t)info.st_size) {
        errno = EPROTO;
    } else {
        pool = calloc(1, sizeof *pool);
    }
    if (pool == NULL) {
        munmap(base, (size_t)info.st_size);
        return NULL;
    }
    pool->base = base;
    pool->total_bytes = header->total_bytes;
    pool->slot_count = header->slot_count;
    pool->worker_count = header->worker_count;
    pool->ring_capacity = header->ring_capacity;
    pool->header = header;
    pool->workers = (struct phprun_worker *)(base + header->workers_at);
    pool->slots = (struct phprun_slot *)(base + header->slots_at);
    pool->wake_fd = -1;
    return pool;
}

void phprun_pool_unmap(struct phprun_pool *pool)
{
    munmap(pool->base, pool->total_bytes);
    free(pool);
}

void *phprun_pool_base(struct phprun_pool *pool)
{
    return pool->base;
}

uint64_t phprun_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}
