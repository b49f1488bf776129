/*
 * What a worker holds. A process looks at its resident memory after a request; PHP's heap alone would not show what
 * extensions keep. A thread can tell only PHP's heap of its own, which it also looks at while a script runs: nobody
 * can kill it, so it ends a script that takes too much itself, as PHP's memory_limit does.
 */
#define _GNU_SOURCE
#include "shim.h"

#include <Zend/zend_alloc.h>
#include <fcntl.h>
#include <unistd.h>

/* Requests quicker than this hold little; of those only every so many-th is followed by a look at the memory. */
#define QUICK_NS 200000u
#define QUICK_REQUESTS 16u

/* Resident memory less what is shared with others: opcache, code, the pool. */
static uint64_t own_memory(int statm_fd)
{
    char text[96];
    const ssize_t length = pread(statm_fd, text, sizeof text - 1, 0);
    if (length <= 0) {
        return 0;
    }
    text[length] = '\0';
    unsigned long total, resident, shared;
    if (sscanf(text, "%lu %lu %lu", &total, &resident, &shared) != 3) {
        return 0;
    }
    return (uint64_t)(resident - shared) * (uint64_t)sysconf(_SC_PAGESIZE);
}

void memory_worker_startup(struct worker *worker)
{
    worker->statm_fd = phprun_threads ? -1 : open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
}

bool memory_is_too_much(const struct worker *worker, uint64_t request_started_ns)
{
    struct phprun_worker *record = &worker->pool->workers[worker->number];
    const uint64_t limit = atomic_load_explicit(&worker->pool->header->memory_limit_bytes, memory_order_relaxed);
    uint64_t bytes;
    if (phprun_threads) {
        bytes = zend_memory_usage(1);
    } else {
        const uint64_t requests = atomic_load_explicit(&record->requests, memory_order_relaxed);
        if (limit == 0 || worker->statm_fd < 0 ||
            (requests % QUICK_REQUESTS != 0 && phprun_now_ns() - request_started_ns < QUICK_NS)) {
            return false;
        }
        bytes = own_memory(worker->statm_fd);
    }
    atomic_store_explicit(&record->own_bytes, bytes, memory_order_relaxed);
    return limit != 0 && bytes > limit;
}

void memory_enforce(struct request *request)
{
    struct phprun_pool *pool = request->worker->pool;
    const uint64_t bytes = zend_memory_usage(1);
    const uint64_t most = atomic_load_explicit(&pool->header->memory_kill_bytes, memory_order_relaxed);
    atomic_store_explicit(&pool->workers[request->worker->number].own_bytes, bytes, memory_order_relaxed);
    if (most != 0 && bytes > most && !request->too_large) {
        request->too_large = true;
        zend_error_noreturn(E_ERROR, "Memory of a request exhausted: it holds %zu MiB, pool \"%s\" allows %zu MiB",
                            (size_t)(bytes >> 20), phprun_pool_name, (size_t)(most >> 20));
    }
}
