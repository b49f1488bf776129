/*
 * Where a slow request is, without ptrace and without a signal: a signal would cut sleep(), poll() and their like
 * short, and a slow log must not change what a script does.
 *
 * Each worker of a pool with a slow log has a thread that sleeps on `look` of the worker's record. Asked by the
 * front, it sets PHP's interrupt, and PHP's own thread tells where it is. A thread that does not come to it is
 * blocked in C, in a query or a sleep: then the asking thread reads the stack itself. It tells only what it reads
 * twice alike with a wait between, for a stack that is just being changed may read as nonsense.
 */
#define _GNU_SOURCE
#include "shim.h"

#include "../transport/futex.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

/* How long PHP has to come to its interrupt before its stack is read from outside, and between two readings. */
#define WAIT_NS 20000000L
/* A stack that is different each time belongs to a script that runs; all in all less than the front waits. */
#define MOST_READINGS 20
/*
 * With the guard page, and with the thread-local variables of the program and its libraries: some 25 KiB, more with
 * preloaded ones. Only what is touched takes memory.
 */
#define STACK_BYTES (512u << 10)

/* Sees to it that one look is told once, and only of the request it is about. */
static void tell(struct worker *worker, uint32_t id, const char *text, size_t length)
{
    uint32_t wanted = id;
    if (atomic_compare_exchange_strong(&worker->look_wanted, &wanted, 0)) {
        log_slow(worker, id, text, length);
    }
}

void look_answer(struct request *request)
{
    struct worker *worker = request->worker;
    const uint32_t id = request->slot->id;
    /* A child that the script has forked has the flag from its parent, which answers. */
    if (atomic_load_explicit(&worker->look_wanted, memory_order_relaxed) != id || id == 0 || request->disowned) {
        return;
    }
    char text[BACKTRACE_BYTES];
    const size_t length = backtrace_text(worker->executor, text, sizeof text);
    tell(worker, id, text, length);
}

static bool is_wanted(struct worker *worker, uint32_t id)
{
    return atomic_load(&worker->look_wanted) == id && worker_is_at(worker->pool, worker->number, id);
}

static void look(struct worker *worker, uint32_t id)
{
    char texts[2][BACKTRACE_BYTES];
    const struct timespec wait = {.tv_nsec = WAIT_NS};
    atomic_store(&worker->look_wanted, id);
    zend_atomic_bool_store_ex(&worker->executor->vm_interrupt, true);
    for (int reading = 0; reading < MOST_READINGS; reading++) {
        nanosleep(&wait, NULL);
        if (!is_wanted(worker, id)) {
            return;
        }
        char *text = texts[reading % 2];
        const size_t length = backtrace_text(worker->executor, text, sizeof texts[0]);
        if (reading > 0 && strcmp(texts[0], texts[1]) == 0 && is_wanted(worker, id)) {
            tell(worker, id, text, length);
            return;
        }
    }
    /* PHP may still come to its interrupt while it is at this request. */
}

static void *look_main(void *argument)
{
    struct worker *worker = argument;
    struct phprun_worker *record = &worker->pool->workers[worker->number];
    prctl(PR_SET_NAME, "phprun/look");
    while (!atomic_load(&worker->look_ended)) {
        const uint32_t looks = atomic_load(&record->look);
        if (looks == worker->looks_seen) {
            futex_wait(&record->look, looks);
            continue;
        }
        worker->looks_seen = looks;
        const uint32_t id = atomic_load(&record->look_id);
        if (id != 0 && worker_is_at(worker->pool, worker->number, id)) {
            look(worker, id);
        }
    }
    return NULL;
}

void look_worker_startup(struct worker *worker)
{
    pthread_attr_t attributes;
    sigset_t all, before;
    worker->looks_seen = atomic_load(&worker->pool->workers[worker->number].look);
    /* The deadline and the script's own signals are for PHP's thread. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    const int error = pthread_create(&worker->look_thread, &attributes, look_main, worker);
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0) {
        log_text(LOG_LEVEL_WARN, "Cannot start the thread of the slow log: %s", strerror(error));
    }
    worker->has_look_thread = error == 0;
}

void look_worker_shutdown(struct worker *worker)
{
    struct phprun_worker *record = &worker->pool->workers[worker->number];
    if (!worker->has_look_thread) {
        return;
    }
    atomic_store(&worker->look_ended, true);
    /* The word changes before the wake-up, so a thread about to sleep on it does not. */
    atomic_fetch_add(&record->look, 1);
    futex_wake_one(&record->look);
    pthread_join(worker->look_thread, NULL);
}
