/*
 * Workers without processes, for the model of a pool: each is a coroutine that runs the transport's own code and
 * halts wherever a worker may be killed or be late (PHPRUN_POINT), where it would sleep, and within its script. So a
 * test decides how the steps of front and workers are interleaved, and a worker dies when it is not resumed.
 *
 * Compiled together with ffi/transport, with PHPRUN_TEST_POINTS and with `syscall` renamed to the one below.
 */
#include "transport/points.h"
#include "transport/transport.h"

#include <linux/futex.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#define STACK_BYTES (32 * 1024)
/* Small, so that a response does not fit it and the script waits for its client. */
#define BODY_RING_BYTES 16
#define CHUNK_BYTES 8
#define STREAM_BYTES 40

/* What a step came to. */
enum step { STEP_ON_ITS_WAY = 0, STEP_ASLEEP = 1, STEP_ENDED = 2, STEP_SCRIPT_BEGUN = 3 };

struct model_worker {
    struct phprun_pool *pool;
    uint32_t number;
    bool ended;
    enum step step;
    _Atomic uint32_t *asleep_on; /* NULL while it is not asleep */
    uint32_t while_it_is;
    ucontext_t self, caller;
    uint8_t stack[STACK_BYTES];
};

static struct model_worker *current;

static void halt(enum step step)
{
    struct model_worker *worker = current;
    worker->step = step;
    swapcontext(&worker->self, &worker->caller);
}

void phprun_at_point(const char *name)
{
    (void)name;
    if (current != NULL) {
        halt(STEP_ON_ITS_WAY);
    }
}

/* The transport makes futex calls and no others. Whoever wakes changes the word first, so the word alone tells. */
long phprun_test_syscall(long number, ...)
{
    (void)number;
    va_list arguments;
    va_start(arguments, number);
    _Atomic uint32_t *word = va_arg(arguments, _Atomic uint32_t *);
    const int operation = va_arg(arguments, int);
    const uint32_t expected = va_arg(arguments, uint32_t);
    va_end(arguments);
    if (operation == FUTEX_WAIT && current != NULL && atomic_load(word) == expected) {
        current->asleep_on = word;
        current->while_it_is = expected;
        halt(STEP_ASLEEP);
        current->asleep_on = NULL;
    }
    return 0;
}

/*
 * The first byte of the request says what the script does: 'w'hole: a short answer; 'e'arly: the same, and the
 * script goes on after it; 's'tream: flushes a piece, then says more than the ring holds. A body is the number of
 * the request, again and again.
 */
static void serve(struct phprun_pool *pool, uint32_t number, uint32_t slot)
{
    struct phprun_slot *s = &pool->slots[slot];
    const uint8_t kind = *phprun_request_buffer(pool, slot);
    uint32_t body[STREAM_BYTES / sizeof(uint32_t)];
    for (size_t i = 0; i < sizeof body / sizeof body[0]; i++) {
        body[i] = s->id;
    }
    if (atomic_load(&s->flags) & PHPRUN_CLIENT_GONE) {
        atomic_store(&s->outcome, PHPRUN_OUTCOME_NOT_RUN);
        phprun_finish(pool, slot, number, PHPRUN_ENDED);
        return;
    }
    halt(STEP_SCRIPT_BEGUN);
    s->status = 200;
    s->body_size = BODY_RING_BYTES;
    size_t sent = 0;
    if (kind == 's') {
        atomic_store(&s->outcome, PHPRUN_OUTCOME_HEAD);
        phprun_body_write(pool, slot, (const uint8_t *)body, CHUNK_BYTES);
        phprun_post(pool, slot);
        sent = CHUNK_BYTES;
        halt(STEP_ON_ITS_WAY);
    }
    if (atomic_load(&s->flags) & PHPRUN_DEADLINE) {
        atomic_store(&s->outcome, PHPRUN_OUTCOME_HEAD | PHPRUN_OUTCOME_TIMED_OUT |
                                      (sent > 0 ? PHPRUN_OUTCOME_TRUNCATED : 0));
        phprun_finish(pool, slot, number, PHPRUN_ENDED);
        return;
    }
    phprun_body_write(pool, slot, (const uint8_t *)body + sent, (kind == 's' ? STREAM_BYTES : CHUNK_BYTES) - sent);
    atomic_store(&s->outcome, PHPRUN_OUTCOME_HEAD);
    if (kind == 'e') {
        phprun_finish(pool, slot, number, PHPRUN_RESPONDED);
        halt(STEP_ON_ITS_WAY);
    }
    phprun_finish(pool, slot, number, PHPRUN_ENDED);
}

static void live(void)
{
    struct model_worker *self = current;
    struct phprun_worker *record = &self->pool->workers[self->number];
    atomic_store(&record->state, PHPRUN_WORKER_IDLE);
    for (int32_t slot; (slot = phprun_worker_take(self->pool, self->number)) >= 0;) {
        atomic_store(&record->slot, (uint32_t)slot);
        atomic_store(&record->state, PHPRUN_WORKER_BUSY);
        serve(self->pool, self->number, (uint32_t)slot);
        atomic_fetch_add(&record->requests, 1);
        atomic_store(&record->slot, PHPRUN_NONE);
        atomic_store(&record->state, PHPRUN_WORKER_IDLE);
    }
    self->ended = true;
    halt(STEP_ENDED);
}

/* As the host starts one. To be given to phprun_model_free(), alive or dead. */
PHPRUN_API struct model_worker *phprun_model_start(struct phprun_pool *pool, uint32_t number, uint32_t pid)
{
    struct model_worker *worker = malloc(sizeof *worker);
    memset(worker, 0, offsetof(struct model_worker, stack));
    worker->pool = pool;
    worker->number = number;
    phprun_worker_prepare(pool, number, 1);
    pool->workers[number].pid = pid;
    getcontext(&worker->self);
    worker->self.uc_stack.ss_sp = worker->stack;
    worker->self.uc_stack.ss_size = STACK_BYTES;
    makecontext(&worker->self, live, 0);
    return worker;
}

/* Lets it do its next step. Returns enum step. */
PHPRUN_API int32_t phprun_model_step(struct model_worker *worker)
{
    if (worker->ended) {
        return STEP_ENDED;
    }
    if (worker->asleep_on != NULL && atomic_load(worker->asleep_on) == worker->while_it_is) {
        return STEP_ASLEEP;
    }
    current = worker;
    swapcontext(&worker->caller, &worker->self);
    current = NULL;
    return (int32_t)worker->step;
}

PHPRUN_API void phprun_model_free(struct model_worker *worker)
{
    free(worker);
}
