/*
 * The rings under load: one front, several workers (threads or processes), indices that cross 2^32 and, in the
 * claim word, 2^29. Every item must be run once, by a worker that sees all the front wrote, in the order of
 * submission, and answered once; nobody may sleep while there is work.
 */
#include "check.h"

#include <sched.h>

struct load {
    const char *name;
    bool processes;
    uint32_t slots, workers;
    uint32_t items;
    uint32_t start; /* first ring index */
    enum {
        FLOOD,   /* every free slot is filled, then the front sleeps until it is woken */
        TRICKLE, /* a few items, then all of them awaited: workers are always about to fall asleep */
        MEETING, /* as many items as workers, each of which ends when all are being run */
        SPIN,    /* the front never sleeps */
    } front;
};

struct request {
    uint64_t item, check;
    uint64_t ends_after; /* so many items have to be taken before this one may end */
};

struct response {
    uint64_t item, check, worker;
};

#define MOST_SLOTS 1024
static bool dawdling; /* before each step that others could get in front of */
/* Shared with children. */
static _Atomic uint32_t *runs; /* per slot: how often its item was run */
static _Atomic uint64_t *taken;

/* Ends only if the wake-up of one worker is passed on to all others that are needed. */
static void meet(uint64_t expected)
{
    const uint64_t began = phprun_now_ns();
    atomic_fetch_add(taken, 1);
    while (atomic_load(taken) < expected) {
        CHECK(seconds_since(began) < PATIENCE_MS / 1000, "a worker sleeps while there is work");
        usleep(10);
    }
}

static void answer(struct phprun_pool *pool, uint32_t number, uint32_t slot, uint64_t *next_item)
{
    struct phprun_slot *s = &pool->slots[slot];
    const struct request *request = (const struct request *)phprun_request_buffer(pool, slot);
    const uint64_t item = request->item;
    CHECK(request->check == mix(item), "item %llu in slot %u", (unsigned long long)item, slot);
    CHECK(s->id == (uint32_t)item, "slot %u has id %u, item %llu", slot, s->id, (unsigned long long)item);
    CHECK(item >= *next_item, "item %llu came after %llu", (unsigned long long)item,
          (unsigned long long)*next_item - 1);
    CHECK(pool->header->worker_count > 1 || item == *next_item, "item %llu, not %llu", (unsigned long long)item,
          (unsigned long long)*next_item);
    *next_item = item + 1;
    CHECK(atomic_fetch_add_explicit(&runs[slot], 1, memory_order_relaxed) == 0, "slot %u runs twice", slot);
    if (request->ends_after > 0) {
        meet(request->ends_after);
    }

    struct response *response = (struct response *)phprun_response_buffer(pool, slot);
    *response = (struct response){.item = item, .check = ~mix(item), .worker = number};
    s->status = 200 + (uint32_t)(item % 100);
    atomic_store_explicit(&s->outcome, PHPRUN_OUTCOME_HEAD, memory_order_release);
    if (item % 16 == 0) {
        phprun_post(pool, slot);
    }
    if (item % 32 == 0) {
        phprun_finish(pool, slot, number, PHPRUN_RESPONDED);
    }
    s->ended_ns = item; /* after the front may have looked, as a script that goes on does */
    phprun_finish(pool, slot, number, PHPRUN_ENDED);
}

/*
 * Called by the transport, see ffi/transport/points.h. Now and then somebody else comes first: what is a matter of
 * nanoseconds otherwise happens thousands of times.
 */
void phprun_at_point(const char *name);
void phprun_at_point(const char *name)
{
    (void)name;
    static _Thread_local struct chance chance;
    if (dawdling) {
        if (chance.state == 0) {
            chance.state = mix((uint64_t)(uintptr_t)&chance + (uint64_t)getpid()) | 1;
        }
        const uint32_t choice = below(&chance, 64);
        if (choice == 0) {
            sched_yield();
        } else if (choice < 4) {
            for (volatile uint32_t spin = below(&chance, 1500); spin > 0; spin--) {
            }
        }
    }
}

static void work(struct phprun_pool *pool, uint32_t number)
{
    uint64_t next_item = 0;
    for (;;) {
        const int32_t slot = phprun_worker_take(pool, number);
        if (slot < 0) {
            return;
        }
        answer(pool, number, (uint32_t)slot, &next_item);
    }
}

struct thread {
    pthread_t id;
    struct phprun_pool *pool;
    uint32_t number;
};

static void *run_thread(void *argument)
{
    const struct thread *thread = argument;
    work(thread->pool, thread->number);
    return NULL;
}

/* ---- the front ------------------------------------------------------------------------------- */

struct front {
    const struct load *load;
    struct stage stage;
    struct chance chance;
    uint32_t free[MOST_SLOTS];
    uint32_t free_count;
    uint64_t item_in[MOST_SLOTS]; /* + 1; 0: the slot is free */
    uint64_t submitted, answered;
    uint64_t wake_ups, drains;
};

static void submit(struct front *front, uint32_t burst)
{
    struct phprun_pool *pool = front->stage.pool;
    const uint64_t left = front->load->items - front->submitted;
    const uint64_t ends_after = front->load->front == MEETING ? front->submitted + (burst < left ? burst : left) : 0;
    uint32_t count = 0;
    while (count < burst && front->free_count > 0 && front->submitted < front->load->items) {
        const uint64_t item = front->submitted++;
        const uint32_t slot = front->free[--front->free_count];
        *(struct request *)phprun_request_buffer(pool, slot) =
            (struct request){.item = item, .check = mix(item), .ends_after = ends_after};
        pool->slots[slot].id = (uint32_t)item;
        front->item_in[slot] = item + 1;
        atomic_store_explicit(&runs[slot], 0, memory_order_relaxed);
        CHECK(phprun_submit(pool, slot) == 0, "slot %u", slot);
        count++;
    }
    if (count > 0) {
        phprun_wake_one_worker(pool);
    }
}

static void check_answer(const struct front *front, uint32_t slot)
{
    const struct phprun_slot *s = &front->stage.pool->slots[slot];
    const struct response *response = (const struct response *)phprun_response_buffer(front->stage.pool, slot);
    const uint64_t item = front->item_in[slot] - 1;
    CHECK(front->item_in[slot] != 0, "slot %u was free", slot);
    CHECK(response->item == item && response->check == ~mix(item), "slot %u answers item %llu, not %llu", slot,
          (unsigned long long)response->item, (unsigned long long)item);
    CHECK(s->status == 200 + (uint32_t)(item % 100) && s->ended_ns == item, "slot %u status %u", slot, s->status);
    CHECK(s->seen_outcome == PHPRUN_OUTCOME_HEAD, "slot %u outcome %u", slot, s->seen_outcome);
    CHECK(atomic_load_explicit(&runs[slot], memory_order_relaxed) == 1, "slot %u ran %u times", slot,
          atomic_load(&runs[slot]));
}

/* Returns how many items were answered. */
static uint32_t drain(struct front *front)
{
    struct phprun_pool *pool = front->stage.pool;
    uint32_t count = 0;
    phprun_begin_drain(pool);
    front->drains++;
    for (int32_t next = phprun_next_completed(pool); next >= 0; next = phprun_next_completed(pool)) {
        const uint32_t slot = (uint32_t)next;
        /* News of an early post may come when the slot has a new item already: only the end counts. */
        if (pool->slots[slot].seen_phase != PHPRUN_ENDED) {
            continue;
        }
        check_answer(front, slot);
        front->item_in[slot] = 0;
        phprun_release(pool, slot);
        front->free[front->free_count++] = slot;
        count++;
    }
    front->answered += count;
    return count;
}

static void await(struct front *front)
{
    if (front->load->front == SPIN) {
        const uint64_t began = phprun_now_ns();
        while (drain(front) == 0) {
            CHECK(seconds_since(began) < PATIENCE_MS / 1000, "no answer for %d ms", PATIENCE_MS);
            CHECK(!atomic_load(test_failed), "another process said why");
        }
        char bytes[256];
        ssize_t got;
        while ((got = read(front->stage.front_fd, bytes, sizeof bytes)) > 0) {
            front->wake_ups += (uint64_t)got;
        }
        return;
    }
    front->wake_ups += await_wake_up(&front->stage, PATIENCE_MS);
    drain(front);
}

static void drive(struct front *front)
{
    const struct load *load = front->load;
    while (front->answered < load->items) {
        if (load->front == FLOOD || load->front == SPIN) {
            submit(front, load->slots);
            await(front);
            continue;
        }
        submit(front, load->front == MEETING ? load->workers : 1 + below(&front->chance, load->workers + 1));
        while (front->answered < front->submitted) {
            await(front);
        }
        /* From nothing to about as long as a worker needs to fall asleep. */
        for (volatile uint32_t spin = below(&front->chance, 2000); spin > 0; spin--) {
        }
    }
}

/* ---- one run --------------------------------------------------------------------------------- */

static void check_rest(const struct front *front)
{
    const struct phprun_header *header = front->stage.pool->header;
    CHECK(atomic_load(&header->head) == atomic_load(&header->tail), "the ring is not empty");
    CHECK(atomic_load(&header->tail) == front->load->start + front->load->items, "tail %u", atomic_load(&header->tail));
    for (uint32_t word = 0; word < PHPRUN_MAX_WORKERS / 64; word++) {
        CHECK(atomic_load(&header->sleeping[word]) == 0, "somebody left asleep");
    }
    CHECK(phprun_resubmit_orphans(front->stage.pool) == 0, "an orphan");
    /* A byte follows a drain at the earliest. */
    CHECK(front->wake_ups <= front->drains + 1, "%llu wake-ups, %llu drains", (unsigned long long)front->wake_ups,
          (unsigned long long)front->drains);
}

static void run(const struct load *load, struct chance *chance)
{
    struct front front = {.load = load, .chance = {.state = next_random(chance) | 1}};
    struct thread threads[64];
    pid_t pids[64];
    front.stage = make_stage(load->slots, load->workers, 4096, load->start);
    atomic_store(taken, 0);
    dawdling = load->front == TRICKLE || load->front == MEETING;
    for (uint32_t slot = load->slots; slot > 0; slot--) {
        front.free[front.free_count++] = slot - 1;
    }
    for (uint32_t number = 0; number < load->workers; number++) {
        phprun_worker_prepare(front.stage.pool, number, 1);
        if (!load->processes) {
            threads[number] = (struct thread){.pool = front.stage.pool, .number = number};
            CHECK(pthread_create(&threads[number].id, NULL, run_thread, &threads[number]) == 0, "errno %d", errno);
        } else if ((pids[number] = fork_worker()) == 0) {
            work(map_in_child(&front.stage), number);
            _exit(0);
        }
    }

    const uint64_t began = phprun_now_ns();
    drive(&front);
    const double seconds = seconds_since(began);

    for (uint32_t number = 0; number < load->workers; number++) {
        phprun_worker_retire(front.stage.pool, number);
    }
    for (uint32_t number = 0; number < load->workers; number++) {
        int status = 0;
        if (load->processes) {
            CHECK(waitpid(pids[number], &status, 0) == pids[number] && status == 0, "status %#x", status);
        } else {
            CHECK(pthread_join(threads[number].id, NULL) == 0, "errno %d", errno);
        }
    }
    check_rest(&front);
    strike_stage(&front.stage);
    printf("    %-38s %9.0f items/s, %.3f wake-ups of the front per item\n", load->name, load->items / seconds,
           (double)front.wake_ups / load->items);
    fflush(stdout);
}

int main(void)
{
    runs = shared_memory(MOST_SLOTS * sizeof *runs);
    taken = shared_memory(sizeof *taken);
    struct chance chance = begin_test();

    const uint32_t many = EFFORT(1500000u), some = EFFORT(60000u), few = EFFORT(15000u);
    const uint32_t wrap29 = 1u << 29;
    const struct load loads[] = {
        {"threads, flood, across 2^32", false, 24, 4, many, 0u - many / 2, FLOOD},
        {"threads, flood, across 2^29", false, 64, 3, many, wrap29 - many / 2, FLOOD},
        {"threads, full table", false, 1024, 2, many, 3 * wrap29 - many / 2, FLOOD},
        {"threads, one worker", false, 7, 1, some, 0u - some / 2, FLOOD},
        {"threads, one slot", false, 1, 4, some, 0u - some / 2, FLOOD},
        {"threads, many workers", false, 80, 64, some, 0u - some / 2, FLOOD},
        {"threads, trickle", false, 8, 4, some, 0u - some / 2, TRICKLE},
        {"threads, meeting", false, 8, 4, few, 0u - few / 2, MEETING},
        {"threads, front never sleeps", false, 24, 2, some, 0u - some / 2, SPIN},
        {"processes, flood, across 2^32", true, 24, 4, many, 0u - many / 2, FLOOD},
        {"processes, one worker", true, 18, 1, some, wrap29 - some / 2, FLOOD},
        {"processes, trickle", true, 8, 4, some, 0u - some / 2, TRICKLE},
        {"processes, meeting", true, 16, 8, few, 0u - few / 2, MEETING},
        {"processes, front never sleeps", true, 24, 2, some, 0u - some / 2, SPIN},
    };
    for (size_t i = 0; i < sizeof loads / sizeof loads[0]; i++) {
        run(&loads[i], &chance);
    }
    return 0;
}
