/* The worker's side of a pool. */
#define _GNU_SOURCE
#include "futex.h"
#include "points.h"
#include "transport.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

static void wake_front(struct phprun_pool *pool)
{
    if (atomic_exchange(&pool->header->signaled, 1) != 0) {
        return; /* woken already and has not looked yet: it will find this too */
    }
    PHPRUN_POINT("signaled");
    /* A full socket holds unread wake-ups, so a lost byte is no lost wake-up. */
    send(pool->wake_fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* Takes the next ring entry; PHPRUN_NONE when the ring is empty. */
static uint32_t pop(struct phprun_header *header, uint32_t *index)
{
    uint32_t head = atomic_load(&header->head);
    for (;;) {
        /* Sequentially consistent: pairs with the front's store of the tail before its look at `sleeping`. */
        if (head == atomic_load(&header->tail)) {
            return PHPRUN_NONE;
        }
        /*
         * The entry is read before it is claimed. If the front has since reused its place, the head has
         * moved on and the exchange fails. So nothing is half taken when a worker dies here.
         */
        const uint32_t slot =
            atomic_load_explicit(&header->ring[head & (header->ring_capacity - 1)], memory_order_relaxed);
        if (atomic_compare_exchange_weak(&header->head, &head, head + 1)) {
            *index = head;
            PHPRUN_POINT("popped");
            return slot;
        }
    }
}

static uint32_t take_now(struct phprun_pool *pool, uint32_t worker)
{
    uint32_t index;
    for (;;) {
        const uint32_t slot = pop(pool->header, &index);
        if (slot == PHPRUN_NONE) {
            return slot;
        }
        uint32_t expected = (index << PHPRUN_PHASE_BITS) | PHPRUN_QUEUED;
        const uint32_t claimed = (worker << PHPRUN_PHASE_BITS) | PHPRUN_RUNNING;
        if (slot < pool->header->slot_count &&
            atomic_compare_exchange_strong(&pool->slots[slot].claim, &expected, claimed)) {
            PHPRUN_POINT("claimed");
            return slot;
        }
        /* The front took us for dead and submitted it again: the newer entry counts. */
    }
}

static void sleep_until_woken(struct phprun_pool *pool, uint32_t worker)
{
    struct phprun_header *header = pool->header;
    struct phprun_worker *w = &pool->workers[worker];
    const uint64_t bit = UINT64_C(1) << (worker % 64);

    PHPRUN_POINT("found nothing");
    atomic_store(&w->wake, 0);
    atomic_fetch_or(&header->sleeping[worker / 64], bit);
    PHPRUN_POINT("lying down");
    /* Once more, now that the front can see us: what it submitted before it could is found here. */
    while (atomic_load(&header->head) == atomic_load(&header->tail) && !atomic_load(&w->retire) &&
           atomic_load(&w->wake) == 0) {
        futex_wait(&w->wake, 0);
    }
    PHPRUN_POINT("getting up");
    atomic_fetch_and(&header->sleeping[worker / 64], ~bit);
}

/* Wakes another worker while work is left. */
static void pass_on(struct phprun_pool *pool)
{
    if (atomic_load(&pool->header->head) != atomic_load(&pool->header->tail)) {
        phprun_wake_one_worker(pool);
    }
}

int32_t phprun_worker_take(struct phprun_pool *pool, uint32_t worker)
{
    struct phprun_worker *w = &pool->workers[worker];
    int slept = 0;
    for (;;) {
        const uint32_t retire = atomic_load_explicit(&w->retire, memory_order_relaxed);
        if (retire != 0) {
            pass_on(pool); /* the wake-up that got us here may have been for a request */
            if (retire == PHPRUN_PROMOTE) {
                return PHPRUN_TAKE_PROMOTE;
            }
            atomic_store_explicit(&w->leaving, PHPRUN_LEAVING_ASKED, memory_order_relaxed);
            return PHPRUN_TAKE_END;
        }
        const uint32_t slot = take_now(pool, worker);
        if (slot != PHPRUN_NONE) {
            /* The front wakes one worker for a burst: pass it on, or the rest would wait for us. */
            if (slept) {
                pass_on(pool);
            }
            return (int32_t)slot;
        }
        sleep_until_woken(pool, worker);
        slept = 1;
    }
}

void phprun_post(struct phprun_pool *pool, uint32_t slot)
{
    /* Release (by default more): the front sees all we wrote once it sees the bit. */
    atomic_fetch_or(&pool->header->completed[slot / 64], UINT64_C(1) << (slot % 64));
    PHPRUN_POINT("reported");
    wake_front(pool);
}

void phprun_finish(struct phprun_pool *pool, uint32_t slot, uint32_t worker, enum phprun_phase phase)
{
    atomic_store_explicit(&pool->slots[slot].claim, (worker << PHPRUN_PHASE_BITS) | (uint32_t)phase,
                          memory_order_release);
    PHPRUN_POINT("ended");
    phprun_post(pool, slot);
}

/* Copies as much as there is room for, in at most two pieces. */
static size_t copy_in(struct phprun_slot *s, uint8_t *ring, const uint8_t *bytes, size_t length)
{
    const uint32_t room = s->body_size - atomic_load_explicit(&s->used, memory_order_acquire);
    const size_t total = length < room ? length : room;
    const size_t to_end = s->body_size - s->write_at;
    const size_t first = total < to_end ? total : to_end;
    memcpy(ring + s->write_at, bytes, first);
    memcpy(ring, bytes + first, total - first);
    s->write_at = (uint32_t)((s->write_at + total) % s->body_size);
    PHPRUN_POINT("copied");
    /* Release: the front that sees the count sees the bytes. */
    atomic_fetch_add(&s->used, (uint32_t)total);
    return total;
}

static int is_full(struct phprun_slot *s)
{
    return atomic_load(&s->used) == s->body_size && !(atomic_load(&s->flags) & PHPRUN_CLIENT_GONE);
}

int phprun_body_write(struct phprun_pool *pool, uint32_t slot, const uint8_t *bytes, size_t length)
{
    struct phprun_slot *s = &pool->slots[slot];
    uint8_t *ring = phprun_response_buffer(pool, slot) + s->body_at;
    for (;;) {
        if (atomic_load_explicit(&s->flags, memory_order_relaxed) & PHPRUN_CLIENT_GONE) {
            return -1;
        }
        const size_t copied = copy_in(s, ring, bytes, length);
        bytes += copied;
        length -= copied;
        if (length == 0) {
            return 0;
        }
        /* Full: let the front have it, and sleep until it has taken some. */
        phprun_post(pool, slot);
        while (atomic_exchange(&s->waiting, 1), is_full(s)) {
            PHPRUN_POINT("waiting for room");
            futex_wait(&s->waiting, 1);
        }
        atomic_store(&s->waiting, 0);
    }
}
