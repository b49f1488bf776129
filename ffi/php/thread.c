/*
 * Workers that are threads of the host. Each runs the loop of worker.c on a stack of its own, with PHP's globals of
 * its own. Which worker to start, and when, is decided in the front; a Bun Worker per worker starts its thread and
 * hears of its end.
 *
 * Nothing here ends a thread from outside: that cannot be done. One that does not come back is left behind, and goes
 * with the process.
 */
#define _GNU_SOURCE
#include "shim.h"

#include <errno.h>
#include <unistd.h>

void phprun_exit_now(int32_t status)
{
    _exit(status);
}

#ifndef ZTS

int32_t phprun_threads_open(int32_t pool_fd, int32_t wake_fd, int32_t spool_fd, uint32_t options, double stack_bytes)
{
    (void)pool_fd, (void)wake_fd, (void)spool_fd, (void)options, (void)stack_bytes;
    return -ENOSYS;
}

int32_t phprun_thread_start(uint32_t worker, uint32_t generation, int32_t life_fd)
{
    (void)worker, (void)generation, (void)life_fd;
    return -ENOSYS;
}

void phprun_thread_join(uint32_t worker)
{
    (void)worker;
}

void phprun_thread_deadline(uint32_t worker)
{
    (void)worker;
}

void phprun_threads_measure(void)
{
}

#else

#include "frames.h"

#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>

/* Besides PHP's own use: what the start of a thread needs, and its thread-local variables. */
#define LEAST_STACK_BYTES (256u << 10)
/* Takes a millisecond as a rule. */
#define LONGEST_CHANGE_NS UINT64_C(5000000000)

struct thread {
    pthread_t id;
    struct worker worker;
    int life_fd;
    sem_t ready;          /* PHP is up on it */
    pthread_mutex_t lock; /* for `alive`: a thread is signalled only while it is there */
    bool alive;
    bool ended; /* it has ended by itself, and not in an extension's exit() */
    bool taken; /* started, and not joined yet */
    _Atomic uint64_t changing_ns; /* since when it starts or ends; 0: it does neither */
};

static struct phprun_pool *pool;
static struct thread *threads; /* one per worker */
static int spool;
static uint32_t host_options;
static size_t stack_size;

/* glibc's own interface to thread_local destructors (C++); exit() runs those of the thread that calls it first. */
extern int __cxa_thread_atexit_impl(void (*destructor)(void *), void *object, void *dso);
extern void *__dso_handle;

/*
 * Something on the thread has called exit(): an extension, or a library it uses. Bun's exit handlers would come next,
 * while the other threads still run; the host ends without them. A thread that ends as it should comes by here too.
 */
static void leave_at_once(void *argument)
{
    const struct thread *thread = argument;
    if (!thread->ended) {
        crash_note_place(&thread->worker);
        _exit(PHPRUN_EXIT_CALLED);
    }
}

static void set_alive(struct thread *thread, bool alive)
{
    pthread_mutex_lock(&thread->lock);
    thread->alive = alive;
    pthread_mutex_unlock(&thread->lock);
}

static void thread_startup(struct thread *thread)
{
    struct worker *worker = &thread->worker;
    char name[16];
    snprintf(name, sizeof name, "phprun/%u", worker->number);
    prctl(PR_SET_NAME, name);
    __cxa_thread_atexit_impl(leave_at_once, thread, &__dso_handle);
    /* A working directory and a umask of its own, where the system allows it (not in every container). */
    worker->has_folder = unshare(CLONE_FS) == 0;
    worker->thread = gettid();
    log_as_worker(worker);
    crash_worker_startup(worker);

    ts_resource(0);
    ZEND_TSRMLS_CACHE_UPDATE();
    replace_in_thread();
    isolate_worker_startup();
#ifdef ZEND_SIGNALS
    SIGG(reset) = 0;
#endif
    if (phprun_json_post) {
        json_post_startup();
    }
    worker->executor = frames_executor();
    if (host_options & PHPRUN_HOST_SLOW_LOG) {
        look_worker_startup(worker);
    }
    set_alive(thread, true);
}

static void thread_shutdown(struct thread *thread)
{
    struct worker *worker = &thread->worker;
    atomic_store(&thread->changing_ns, phprun_now_ns());
    set_alive(thread, false);
    look_worker_shutdown(worker);
    crash_worker_shutdown(worker);
    ts_free_thread();
    isolate_worker_shutdown();
    timer_worker_shutdown();
    TSRMLS_CACHE = NULL;
    free(worker->folder);
    worker->folder = NULL;
    thread->ended = true;
}

static void *thread_main(void *argument)
{
    struct thread *thread = argument;
    const int life_fd = thread->life_fd;
    thread_startup(thread);
    atomic_store(&thread->changing_ns, 0);
    sem_post(&thread->ready);
    worker_run(&thread->worker);
    thread_shutdown(thread);
    send(life_fd, "", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    close(life_fd);
    return NULL;
}

int32_t phprun_threads_open(int32_t pool_fd, int32_t wake_fd, int32_t spool_fd, uint32_t options, double stack_bytes)
{
    pool = phprun_pool_map(pool_fd);
    if (pool == NULL) {
        return -errno;
    }
    pool->wake_fd = wake_fd;
    spool = spool_fd;
    host_options = options;
    stack_size = stack_bytes < LEAST_STACK_BYTES ? LEAST_STACK_BYTES : (size_t)stack_bytes;
    threads = calloc(pool->worker_count, sizeof *threads);
    if (threads == NULL) {
        return -ENOMEM;
    }
    for (uint32_t number = 0; number < pool->worker_count; number++) {
        pthread_mutex_init(&threads[number].lock, NULL);
        sem_init(&threads[number].ready, 0, 0);
    }
    ignore_stop_signals();
    crash_startup();
    deadline_startup();
    fork_startup();
    opcache_hold();
    refused_thread_startup();
    isolate_thread_startup();
    timer_thread_startup();
    return 0;
}

int32_t phprun_thread_start(uint32_t number, uint32_t generation, int32_t life_fd)
{
    if (number >= pool->worker_count) {
        close(life_fd);
        return -EINVAL;
    }
    struct thread *thread = &threads[number];
    if (thread->taken) {
        /* Its keeper has gone and left it behind: what it has is not to be written over. */
        close(life_fd);
        return -EBUSY;
    }
    thread->worker = (struct worker){.pool = pool, .number = number, .spool_fd = spool};
    thread->life_fd = life_fd;
    thread->ended = false;
    phprun_worker_prepare(pool, number, generation);
    atomic_store(&thread->changing_ns, phprun_now_ns());

    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, stack_size);
    const int error = pthread_create(&thread->id, &attributes, thread_main, thread);
    pthread_attr_destroy(&attributes);
    if (error != 0) {
        atomic_store(&thread->changing_ns, 0);
        close(life_fd);
        return -error;
    }
    thread->taken = true;
    while (sem_wait(&thread->ready) != 0) {
    }
    return (int32_t)thread->worker.thread;
}

void phprun_thread_join(uint32_t number)
{
    if (number < pool->worker_count && threads[number].taken) {
        pthread_join(threads[number].id, NULL);
        atomic_store(&threads[number].changing_ns, 0);
        threads[number].taken = false;
    }
}

void phprun_thread_deadline(uint32_t number)
{
    if (number >= pool->worker_count) {
        return;
    }
    struct thread *thread = &threads[number];
    pthread_mutex_lock(&thread->lock);
    if (thread->alive && worker_is_overdue(pool, number)) {
        pthread_kill(thread->id, PHPRUN_DEADLINE_SIGNAL);
    }
    pthread_mutex_unlock(&thread->lock);
}

/*
 * A worker that starts or ends has no request whose deadline could pass: an extension, or a library's thread_local
 * destructor, that hangs there would cost the pool this worker for good.
 */
static void look_for_hung(struct thread *thread)
{
    const uint64_t now = phprun_now_ns();
    uint64_t since = atomic_load(&thread->changing_ns);
    if (since == 0 || now < since + LONGEST_CHANGE_NS) {
        return;
    }
    /* Told again as long as it lasts: not every generation is replaced when it asks. */
    if (atomic_compare_exchange_strong(&thread->changing_ns, &since, now)) {
        char why[96];
        snprintf(why, sizeof why, "worker %u hangs at its start or end, and a thread cannot be killed",
                 (unsigned)(thread - threads));
        log_renew(why);
    }
}

void phprun_threads_measure(void)
{
    for (uint32_t number = 0; number < pool->worker_count; number++) {
        struct thread *thread = &threads[number];
        look_for_hung(thread);
        pthread_mutex_lock(&thread->lock);
        if (thread->alive && atomic_load(&pool->workers[number].state) == PHPRUN_WORKER_BUSY) {
            zend_atomic_bool_store_ex(&thread->worker.executor->vm_interrupt, true);
        }
        pthread_mutex_unlock(&thread->lock);
    }
}

#endif
