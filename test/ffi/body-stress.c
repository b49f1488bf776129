/*
 * Response bodies much larger than their buffer: every byte must arrive, in order, whether the front takes it at
 * once, late or in crumbs, and a writer that waits for room must notice both room and a client that has left.
 */
#include "check.h"

struct load {
    const char *name;
    bool processes;
    uint32_t workers, slots;
    uint32_t responses;
    uint32_t largest_body, largest_write;
    uint32_t gone_percent; /* clients that leave */
    bool slow;             /* the front takes a part of what is there, when it feels like it */
};

struct request {
    uint64_t seed;
    uint32_t bytes, largest_write;
};

static uint8_t byte_at(uint64_t seed, uint64_t position)
{
    return (uint8_t)((seed + position * 167) >> 3);
}

/* ---- worker ---------------------------------------------------------------------------------- */

static void respond(struct phprun_pool *pool, uint32_t number, uint32_t slot)
{
    struct phprun_slot *s = &pool->slots[slot];
    const struct request *request = (const struct request *)phprun_request_buffer(pool, slot);
    struct chance chance = {.state = mix(request->seed) | 1};
    uint8_t *piece = malloc(request->largest_write);
    CHECK(piece != NULL, "errno %d", errno);

    s->status = 200;
    s->body_at = below(&chance, 16) * 64;
    s->body_size = 1 + below(&chance, pool->header->response_bytes - s->body_at);
    atomic_store_explicit(&s->outcome, PHPRUN_OUTCOME_HEAD, memory_order_release);
    for (uint64_t sent = 0; sent < request->bytes;) {
        uint32_t length = below(&chance, request->largest_write) + 1;
        if (length > request->bytes - sent) {
            length = (uint32_t)(request->bytes - sent);
        }
        for (uint32_t i = 0; i < length; i++) {
            piece[i] = byte_at(request->seed, sent + i);
        }
        if (phprun_body_write(pool, slot, piece, length) != 0) {
            atomic_fetch_or(&s->outcome, PHPRUN_OUTCOME_TRUNCATED);
            break;
        }
        sent += length;
        if (below(&chance, 8) == 0) {
            phprun_post(pool, slot);
        }
    }
    free(piece);
    phprun_finish(pool, slot, number, PHPRUN_ENDED);
}

static void work(struct phprun_pool *pool, uint32_t number)
{
    for (int32_t slot; (slot = phprun_worker_take(pool, number)) >= 0;) {
        respond(pool, number, (uint32_t)slot);
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

/* ---- front ----------------------------------------------------------------------------------- */

#define MOST_SLOTS 64

struct reading {
    bool busy, ended, gone;
    uint64_t seed;
    uint64_t leave_at;  /* the client leaves when it has so many bytes; UINT64_MAX: never */
    uint64_t expected, received;
    uint32_t position;  /* in the body ring */
    uint32_t ready;     /* bytes there, as far as the front knows */
};

struct front {
    const struct load *load;
    struct stage stage;
    struct chance chance;
    struct reading readings[MOST_SLOTS];
    uint32_t submitted, done, left_waiting;
    uint64_t bytes;
};

static void submit(struct front *front, uint32_t slot)
{
    const struct load *load = front->load;
    const uint64_t seed = next_random(&front->chance);
    const uint32_t bytes = below(&front->chance, 4) == 0 ? below(&front->chance, 64)
                                                         : below(&front->chance, load->largest_body);
    const bool leaves = below(&front->chance, 100) < load->gone_percent;
    front->readings[slot] = (struct reading){
        .busy = true,
        .seed = seed,
        .expected = bytes,
        .leave_at = leaves ? below(&front->chance, bytes + 1) : UINT64_MAX,
    };
    *(struct request *)phprun_request_buffer(front->stage.pool, slot) =
        (struct request){.seed = seed, .bytes = bytes, .largest_write = load->largest_write};
    CHECK(phprun_submit(front->stage.pool, slot) == 0, "slot %u", slot);
    front->submitted++;
}

static void note_news(struct front *front)
{
    struct phprun_pool *pool = front->stage.pool;
    phprun_begin_drain(pool);
    for (int32_t slot = phprun_next_completed(pool); slot >= 0; slot = phprun_next_completed(pool)) {
        struct reading *reading = &front->readings[slot];
        const struct phprun_slot *s = &pool->slots[slot];
        if (!reading->busy || !(s->seen_outcome & PHPRUN_OUTCOME_HEAD)) {
            continue; /* late news of the response before */
        }
        CHECK(s->seen_used >= reading->ready, "slot %d had %u bytes, now %u", slot, reading->ready, s->seen_used);
        CHECK(s->seen_used <= s->body_size, "slot %d holds %u bytes of %u", slot, s->seen_used, s->body_size);
        reading->ready = s->seen_used;
        reading->ended = reading->ended || s->seen_phase == PHPRUN_ENDED;
    }
}

static void take_bytes(struct front *front, uint32_t slot, uint32_t count)
{
    struct phprun_pool *pool = front->stage.pool;
    struct reading *reading = &front->readings[slot];
    const struct phprun_slot *s = &pool->slots[slot];
    const uint8_t *ring = phprun_response_buffer(pool, slot) + s->body_at;
    for (uint32_t i = 0; i < count; i++) {
        CHECK(ring[reading->position] == byte_at(reading->seed, reading->received), "slot %u, byte %llu of %llu", slot,
              (unsigned long long)reading->received, (unsigned long long)reading->expected);
        reading->position = reading->position + 1 == s->body_size ? 0 : reading->position + 1;
        reading->received++;
    }
    reading->ready -= count;
    front->bytes += count;
    phprun_consume(pool, slot, count);
}

static void leave(struct front *front, uint32_t slot)
{
    struct phprun_slot *s = &front->stage.pool->slots[slot];
    front->readings[slot].gone = true;
    front->left_waiting += atomic_load(&s->waiting);
    phprun_client_gone(front->stage.pool, slot);
}

static void finish(struct front *front, uint32_t slot)
{
    struct reading *reading = &front->readings[slot];
    const struct phprun_slot *s = &front->stage.pool->slots[slot];
    const bool truncated = (s->seen_outcome & PHPRUN_OUTCOME_TRUNCATED) != 0;
    CHECK(reading->gone || !truncated, "slot %u was cut short", slot);
    CHECK(reading->gone || reading->received == reading->expected, "slot %u: %llu of %llu bytes", slot,
          (unsigned long long)reading->received, (unsigned long long)reading->expected);
    reading->busy = false;
    phprun_release(front->stage.pool, slot);
    front->done++;
}

/* Returns whether there is something the front could go on with at once. */
static bool advance(struct front *front, uint32_t slot)
{
    struct reading *reading = &front->readings[slot];
    if (!reading->busy) {
        return false;
    }
    if (!reading->gone && !reading->ended && reading->received >= reading->leave_at) {
        leave(front, slot);
    }
    const bool lazy = front->load->slow && below(&front->chance, 4) != 0;
    if (!reading->gone && reading->ready > 0 && !lazy) {
        const bool part = front->load->slow && below(&front->chance, 2) == 0;
        take_bytes(front, slot, part ? 1 + below(&front->chance, reading->ready) : reading->ready);
    }
    if (reading->ended && (reading->gone || reading->ready == 0)) {
        finish(front, slot);
    }
    return reading->busy && !reading->gone && reading->ready > 0;
}

static void drive(struct front *front)
{
    const struct load *load = front->load;
    bool more = false;
    while (front->done < load->responses) {
        bool submitted = false;
        for (uint32_t slot = 0; slot < load->slots && front->submitted < load->responses; slot++) {
            if (!front->readings[slot].busy) {
                submit(front, slot);
                submitted = true;
            }
        }
        if (submitted) {
            phprun_wake_one_worker(front->stage.pool);
        }
        if (!more) {
            await_wake_up(&front->stage, PATIENCE_MS);
        }
        note_news(front);
        more = false;
        for (uint32_t slot = 0; slot < load->slots; slot++) {
            const bool was_busy = front->readings[slot].busy;
            more = advance(front, slot) || (was_busy && !front->readings[slot].busy) || more;
        }
    }
}

static void run(const struct load *load, struct chance *chance)
{
    struct front front = {.load = load, .chance = {.state = next_random(chance) | 1}};
    struct thread threads[MOST_SLOTS];
    pid_t pids[MOST_SLOTS];
    front.stage = make_stage(load->slots, load->workers, 4096, 0u - load->responses / 2);
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
    strike_stage(&front.stage);
    printf("    %-38s %6.0f MB/s, %u of %u clients left a writer that waited\n", load->name,
           (double)front.bytes / seconds / 1e6, front.left_waiting, load->responses);
    fflush(stdout);
}

int main(void)
{
    struct chance chance = begin_test();
    const struct load loads[] = {
        {"threads, eager front", false, 4, 8, EFFORT(2000u), 100000, 20000, 0, false},
        {"threads, slow front, clients that leave", false, 4, 8, EFFORT(2000u), 60000, 20000, 40, true},
        {"threads, crumbs", false, 2, 4, EFFORT(4000u), 4000, 7, 20, true},
        {"processes, eager front", true, 4, 8, EFFORT(2000u), 100000, 20000, 0, false},
        {"processes, slow front, clients that leave", true, 4, 8, EFFORT(2000u), 60000, 20000, 40, true},
    };
    for (size_t i = 0; i < sizeof loads / sizeof loads[0]; i++) {
        run(&loads[i], &chance);
    }
    return 0;
}
