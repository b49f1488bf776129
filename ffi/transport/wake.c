/* Waking a worker: done by the front once per burst of submissions, and passed on by the workers. */
#include "futex.h"
#include "points.h"
#include "transport.h"

/*
 * Wakes the sleeping worker with the lowest number: the same few workers stay hot, and the ones above them
 * stay idle, untouched and cheap. Whoever clears a worker's bit owes it the wake-up.
 */
void phprun_wake_one_worker(struct phprun_pool *pool)
{
    struct phprun_header *header = pool->header;
    const uint32_t words = (pool->worker_count + 63) / 64;
    for (uint32_t word = 0; word < words; word++) {
        /* Sequentially consistent: must not move before the front's store of the tail, see push(). */
        uint64_t set = atomic_load(&header->sleeping[word]);
        while (set != 0) {
            const uint64_t lowest = set & -set;
            const uint64_t before = atomic_fetch_and(&header->sleeping[word], ~lowest);
            const uint32_t number = word * 64 + (uint32_t)__builtin_ctzll(lowest);
            if (before & lowest && number < pool->worker_count) {
                PHPRUN_POINT("owing a wake-up");
                struct phprun_worker *worker = &pool->workers[number];
                atomic_store_explicit(&worker->wake, 1, memory_order_release);
                futex_wake_one(&worker->wake);
                return;
            }
            set = before & ~lowest;
        }
    }
}
