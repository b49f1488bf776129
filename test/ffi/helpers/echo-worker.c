/*
 * A worker without PHP: answers each request with what it has read, once as name and value in the head and once in
 * the body. A request whose block begins with "die" kills it.
 *
 *   echo-worker POOL_FD WAKE_FD NUMBER
 */
#include "transport/transport.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static void answer(struct phprun_pool *pool, uint32_t number, uint32_t slot)
{
    struct phprun_slot *s = &pool->slots[slot];
    const char *request = (const char *)phprun_request_buffer(pool, slot);
    char *response = (char *)phprun_response_buffer(pool, slot);
    if (s->block_bytes >= 3 && memcmp(request, "die", 3) == 0) {
        kill(getpid(), SIGKILL);
    }
    const int head = sprintf(response, "X-Slot%c%u %u %u %u %u %llu %llu%c", 0, slot, s->id, s->block_values,
                             s->body_inline, s->options, (unsigned long long)s->body_bytes,
                             (unsigned long long)s->body_offset, 0);
    s->started_ns = phprun_now_ns();
    s->status = 201;
    s->head_bytes = (uint32_t)head;
    s->body_at = ((uint32_t)head + 63) & ~63u;
    s->body_size = pool->header->response_bytes - s->body_at;
    atomic_store(&s->outcome, PHPRUN_OUTCOME_HEAD);
    phprun_body_write(pool, slot, (const uint8_t *)request, s->block_bytes);
    if (s->body_inline) {
        phprun_body_write(pool, slot, (const uint8_t *)request + s->body_offset, s->body_bytes);
    }
    s->ended_ns = s->started_ns + 2500000;
    phprun_finish(pool, slot, number, PHPRUN_ENDED);
}

int main(int count, char **arguments)
{
    if (count != 4) {
        return 2;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    const uint32_t number = (uint32_t)atoi(arguments[3]);
    struct phprun_pool *pool = phprun_pool_map(atoi(arguments[1]));
    if (pool == NULL) {
        perror("map");
        return 1;
    }
    pool->wake_fd = atoi(arguments[2]);
    phprun_worker_prepare(pool, number, 7);
    struct phprun_worker *record = &pool->workers[number];
    record->pid = (uint32_t)getpid();
    atomic_store(&record->state, PHPRUN_WORKER_IDLE);
    for (int32_t slot; (slot = phprun_worker_take(pool, number)) >= 0;) {
        atomic_store(&record->slot, (uint32_t)slot);
        answer(pool, number, (uint32_t)slot);
        atomic_store(&record->slot, PHPRUN_NONE);
        atomic_fetch_add(&record->requests, 1);
        atomic_store(&record->memory_bytes, UINT64_C(5000000000));
    }
    return 0;
}
