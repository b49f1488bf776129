/* The front's side of a pool: one thread of one process calls these. */
#include "futex.h"
#include "points.h"
#include "transport.h"

#include <errno.h>

static uint32_t queued_claim(uint32_t index)
{
    return (index << PHPRUN_PHASE_BITS) | PHPRUN_QUEUED;
}

static void push(struct phprun_pool *pool, uint32_t slot)
{
    struct phprun_header *header = pool->header;
    const uint32_t tail = atomic_load_explicit(&header->tail, memory_order_relaxed);
    atomic_store_explicit(&pool->slots[slot].claim, queued_claim(tail), memory_order_relaxed);
    atomic_store_explicit(&header->ring[tail & (pool->ring_capacity - 1)], slot, memory_order_relaxed);
    /*
     * Release: a worker that sees the new tail must see the ring entry, the claim and the whole request.
     * Sequentially consistent, and not only release, because the look at `sleeping` that follows must not
     * move before it: a worker sets its bit and then looks at the tail once more.
     */
    atomic_store(&header->tail, tail + 1);
}

/*
 * The ring holds every slot twice, but entries of slots that were withdrawn stay on it until they are popped:
 * while every worker is busy nobody pops, so those at its head are dropped here.
 */
static int has_room(struct phprun_pool *pool)
{
    struct phprun_header *header = pool->header;
    const uint32_t tail = atomic_load_explicit(&header->tail, memory_order_relaxed);
    uint32_t head = atomic_load(&header->head);
    /* The head is never further behind than the ring is long, unless a script has written to it. */
    for (uint32_t looks = 0; tail - head >= pool->ring_capacity; looks++) {
        if (looks > 2 * pool->ring_capacity) {
            return 0;
        }
        const uint32_t slot =
            atomic_load_explicit(&header->ring[head & (pool->ring_capacity - 1)], memory_order_relaxed);
        if (slot < pool->slot_count && atomic_load(&pool->slots[slot].claim) == queued_claim(head)) {
            return 0; /* still wanted */
        }
        /* Fails when a worker has popped it: `head` is then what the worker made of it. */
        if (atomic_compare_exchange_strong(&header->head, &head, head + 1)) {
            head++;
        }
    }
    return 1;
}

int32_t phprun_submit(struct phprun_pool *pool, uint32_t slot)
{
    struct phprun_slot *s = &pool->slots[slot];
    if (slot >= pool->slot_count ||
        atomic_load_explicit(&s->claim, memory_order_relaxed) != PHPRUN_FREE) {
        return -EINVAL;
    }
    if (!has_room(pool)) {
        return -EAGAIN;
    }
    atomic_store_explicit(&s->flags, 0, memory_order_relaxed);
    atomic_store_explicit(&s->outcome, 0, memory_order_relaxed);
    atomic_store_explicit(&s->used, 0, memory_order_relaxed);
    atomic_store_explicit(&s->waiting, 0, memory_order_relaxed);
    s->status = 0;
    s->head_bytes = 0;
    s->body_at = 0;
    s->body_size = 0;
    s->write_at = 0;
    s->started_ns = 0;
    s->ended_ns = 0;
    push(pool, slot);
    return 0;
}

void phprun_begin_drain(struct phprun_pool *pool)
{
    /* Before the look at the set: a worker that sets its bit after our look finds 0 and wakes us again. */
    atomic_store(&pool->header->signaled, 0);
    pool->sweep = 0;
    pool->pending = 0;
}

int32_t phprun_next_completed(struct phprun_pool *pool)
{
    struct phprun_header *header = pool->header;
    const uint32_t words = (pool->slot_count + 63) / 64;
    while (pool->pending == 0) {
        if (pool->sweep == words) {
            return -1;
        }
        const uint32_t word = pool->sweep++;
        if (atomic_load(&header->completed[word]) != 0) {
            /* Acquire: what the worker wrote before it set the bit is visible from here on. */
            pool->pending = atomic_exchange(&header->completed[word], 0);
            const uint32_t last = pool->slot_count - word * 64;
            if (last < 64) {
                pool->pending &= (UINT64_C(1) << last) - 1; /* bits without a slot are none of ours */
            }
        }
    }
    const uint32_t slot = (pool->sweep - 1) * 64 + (uint32_t)__builtin_ctzll(pool->pending);
    pool->pending &= pool->pending - 1;

    struct phprun_slot *s = &pool->slots[slot];
    /* The phase first: when it says ENDED, the other two are final. */
    s->seen_phase = PHPRUN_PHASE(atomic_load_explicit(&s->claim, memory_order_acquire));
    s->seen_outcome = atomic_load_explicit(&s->outcome, memory_order_acquire);
    s->seen_used = atomic_load_explicit(&s->used, memory_order_acquire);
    return (int32_t)slot;
}

/* The word changes before the wake-up, so a worker about to sleep on it does not. */
static void wake_writer(struct phprun_slot *s)
{
    if (atomic_exchange(&s->waiting, 0) == 1) {
        futex_wake_one(&s->waiting);
    }
}

void phprun_consume(struct phprun_pool *pool, uint32_t slot, uint32_t bytes)
{
    struct phprun_slot *s = &pool->slots[slot];
    /* Release: our reads of the bytes are done before the worker may overwrite them. */
    atomic_fetch_sub(&s->used, bytes);
    wake_writer(s);
}

void phprun_client_gone(struct phprun_pool *pool, uint32_t slot)
{
    struct phprun_slot *s = &pool->slots[slot];
    atomic_fetch_or(&s->flags, PHPRUN_CLIENT_GONE);
    wake_writer(s);
}

void phprun_deadline(struct phprun_pool *pool, uint32_t slot)
{
    atomic_fetch_or(&pool->slots[slot].flags, PHPRUN_DEADLINE);
}

int32_t phprun_withdraw(struct phprun_pool *pool, uint32_t slot)
{
    _Atomic uint32_t *word = &pool->slots[slot].claim;
    uint32_t claim = atomic_load(word);
    if (PHPRUN_PHASE(claim) != PHPRUN_QUEUED) {
        return 0;
    }
    PHPRUN_POINT("withdrawing");
    /* Against a worker that is just claiming it: whichever of us wins has it. */
    return atomic_compare_exchange_strong(word, &claim, PHPRUN_FREE);
}

void phprun_release(struct phprun_pool *pool, uint32_t slot)
{
    atomic_store_explicit(&pool->slots[slot].claim, PHPRUN_FREE, memory_order_relaxed);
}

void phprun_worker_prepare(struct phprun_pool *pool, uint32_t worker, uint32_t generation)
{
    struct phprun_worker *w = &pool->workers[worker];
    atomic_store(&w->wake, 0);
    atomic_store(&w->retire, 0);
    atomic_store(&w->slot, PHPRUN_NONE);
    atomic_store(&w->requests, 0);
    atomic_store(&w->started_ns, 0);
    atomic_store(&w->memory_bytes, 0);
    atomic_store(&w->own_bytes, 0);
    atomic_store(&w->leaving, PHPRUN_LEAVING_NOT);
    atomic_store(&w->look_id, 0);
    atomic_store(&w->overdue, 0);
    atomic_store(&w->booted_ns, 0);
    w->last_function[0] = '\0';
    w->pid = 0;
    w->generation = generation;
    atomic_store(&w->state, PHPRUN_WORKER_STARTING);
}

/* The word changes before the wake-up, so a worker about to sleep on it does not. */
static void wake_worker(struct phprun_worker *w)
{
    atomic_store(&w->wake, 1);
    futex_wake_one(&w->wake);
}

void phprun_worker_retire(struct phprun_pool *pool, uint32_t worker)
{
    /* The number may come from the claim of a slot, and a script can write there. */
    if (worker >= pool->worker_count) {
        return;
    }
    struct phprun_worker *w = &pool->workers[worker];
    atomic_store(&w->retire, PHPRUN_RETIRE);
    wake_worker(w);
}

void phprun_worker_promote(struct phprun_pool *pool, uint32_t worker)
{
    uint32_t none = 0;
    /* One that is to end ends. */
    if (worker < pool->worker_count &&
        atomic_compare_exchange_strong(&pool->workers[worker].retire, &none, PHPRUN_PROMOTE)) {
        wake_worker(&pool->workers[worker]);
    }
}

void phprun_set_memory_limit(struct phprun_pool *pool, double bytes)
{
    atomic_store(&pool->header->memory_limit_bytes, (uint64_t)bytes);
}

void phprun_set_memory_kill(struct phprun_pool *pool, double bytes)
{
    atomic_store(&pool->header->memory_kill_bytes, (uint64_t)bytes);
}

void phprun_worker_overdue(struct phprun_pool *pool, uint32_t worker)
{
    if (worker < pool->worker_count) {
        atomic_store(&pool->workers[worker].overdue, 1);
    }
}

void phprun_worker_look(struct phprun_pool *pool, uint32_t worker, uint32_t id)
{
    if (worker >= pool->worker_count) {
        return; /* see phprun_worker_retire() */
    }
    struct phprun_worker *w = &pool->workers[worker];
    atomic_store(&w->look_id, id);
    /* The word changes before the wake-up, so a thread about to sleep on it does not. */
    atomic_fetch_add(&w->look, 1);
    futex_wake_one(&w->look);
}

int32_t phprun_worker_bury(struct phprun_pool *pool, uint32_t worker)
{
    struct phprun_header *header = pool->header;
    struct phprun_worker *w = &pool->workers[worker];
    atomic_store(&w->state, PHPRUN_WORKER_GONE);
    atomic_store(&w->slot, PHPRUN_NONE);
    atomic_store(&w->started_ns, 0);
    atomic_fetch_and(&header->sleeping[worker / 64], ~(UINT64_C(1) << (worker % 64)));
    /*
     * A wake-up may have been spent on it, or it may have died owing one to a worker whose bit it had cleared
     * already. Nobody can tell, so all look once.
     */
    for (uint32_t other = 0; other < pool->worker_count; other++) {
        wake_worker(&pool->workers[other]);
    }
    int32_t running = -1;
    for (uint32_t slot = 0; slot < pool->slot_count; slot++) {
        const uint32_t claim = atomic_load_explicit(&pool->slots[slot].claim, memory_order_acquire);
        const uint32_t phase = PHPRUN_PHASE(claim);
        if (phase < PHPRUN_RUNNING || PHPRUN_OWNER(claim) != worker) {
            continue;
        }
        if (phase == PHPRUN_ENDED) {
            /* It may have died between ending the slot and reporting it; reporting twice does no harm. */
            atomic_fetch_or(&header->completed[slot / 64], UINT64_C(1) << (slot % 64));
        } else {
            running = (int32_t)slot;
        }
    }
    return running;
}

int32_t phprun_resubmit_orphans(struct phprun_pool *pool)
{
    struct phprun_header *header = pool->header;
    int32_t found = 0;
    for (uint32_t slot = 0; slot < pool->slot_count; slot++) {
        _Atomic uint32_t *word = &pool->slots[slot].claim;
        uint32_t claim = atomic_load(word);
        if (PHPRUN_PHASE(claim) != PHPRUN_QUEUED) {
            continue;
        }
        /* Ring indices are compared in the 29 bits that a claim holds. */
        const uint32_t behind = (atomic_load(&header->head) - PHPRUN_OWNER(claim)) << PHPRUN_PHASE_BITS;
        if (behind == 0 || behind >= 1u << 31) {
            continue; /* still ahead of the head: in the ring */
        }
        if (!has_room(pool)) {
            break; /* nobody takes anything just now: it is found again */
        }
        PHPRUN_POINT("found an orphan");
        /* A live worker may be just about to claim it; whichever of us wins this exchange has it. */
        if (atomic_compare_exchange_strong(word, &claim, PHPRUN_FREE)) {
            push(pool, slot);
            found++;
        }
    }
    if (found > 0) {
        phprun_wake_one_worker(pool);
    }
    return found;
}
