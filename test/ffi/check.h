/*
 * What the C tests share: checks that end the whole test, memory shared with children, random numbers with a
 * seed that is printed, and a pool whose rings start where a test wants them to.
 */
#ifndef PHPRUN_CHECK_H
#define PHPRUN_CHECK_H

#include "../../ffi/transport/system.h"
#include "../../ffi/transport/transport.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* What sanitizers slow down is done less often. */
#if defined(__SANITIZE_THREAD__)
#define EFFORT(times) ((times) / 10)
#elif defined(__SANITIZE_ADDRESS__)
#define EFFORT(times) ((times) / 4)
#else
#define EFFORT(times) (times)
#endif

/* No progress for so long is a hang. */
#define PATIENCE_MS 10000

/* Shared by all processes of a test: set by the first check that fails, so that the others end too. */
static _Atomic int *test_failed;

static __attribute__((noreturn, format(printf, 4, 5))) void fail(const char *file, int line, const char *what,
                                                                 const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    fprintf(stderr, "%s:%d: not so: %s (%s)\n", file, line, what, text);
    if (test_failed != NULL) {
        atomic_store(test_failed, 1);
    }
    _exit(1);
}

#define CHECK(condition, ...) ((condition) ? (void)0 : fail(__FILE__, __LINE__, #condition, __VA_ARGS__))

static inline void *shared_memory(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED, "errno %d", errno);
    return memory;
}

/* xorshift64*: good enough to choose by, and the same on every machine. */
struct chance {
    uint64_t state;
};

static inline uint64_t next_random(struct chance *chance)
{
    uint64_t x = chance->state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    chance->state = x;
    return x * UINT64_C(2685821657736338717);
}

static inline uint32_t below(struct chance *chance, uint32_t limit)
{
    return (uint32_t)((next_random(chance) >> 32) % limit);
}

static inline uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

/* The first thing a test does. PHPRUN_SEED repeats a run; else each run differs. */
static inline struct chance begin_test(void)
{
    alarm(240); /* for hangs that no check sees */
    test_failed = shared_memory(sizeof *test_failed);
    const char *given = getenv("PHPRUN_SEED");
    const uint64_t seed = given != NULL ? strtoull(given, NULL, 0) : phprun_now_ns();
    printf("    PHPRUN_SEED=%llu\n", (unsigned long long)seed);
    fflush(stdout);
    return (struct chance){.state = mix(seed) | 1};
}

static inline double seconds_since(uint64_t started_ns)
{
    return (double)(phprun_now_ns() - started_ns) / 1e9;
}

/* A pool and the socket pair that wakes the front. */
struct stage {
    int fd, front_fd, worker_fd;
    struct phprun_pool *pool; /* the front's view; threads share it */
};

/* Empty rings whose next index is `start`. */
static inline struct stage make_stage(uint32_t slots, uint32_t workers, uint32_t bytes, uint32_t start)
{
    struct stage stage;
    int32_t pair[2];
    stage.fd = phprun_pool_create(slots, workers, bytes, bytes);
    CHECK(stage.fd >= 0, "errno %d", -stage.fd);
    CHECK(phprun_socketpair(pair) == 0, "errno %d", errno);
    stage.front_fd = pair[0];
    stage.worker_fd = pair[1];
    stage.pool = phprun_pool_map(stage.fd);
    CHECK(stage.pool != NULL, "errno %d", errno);
    stage.pool->wake_fd = stage.worker_fd;
    atomic_store(&stage.pool->header->head, start);
    atomic_store(&stage.pool->header->tail, start);
    return stage;
}

static inline void strike_stage(struct stage *stage)
{
    phprun_pool_unmap(stage->pool);
    close(stage->fd);
    close(stage->front_fd);
    close(stage->worker_fd);
}

/* In a child: its own mapping, as a worker that has nothing but descriptors would make. */
static inline struct phprun_pool *map_in_child(const struct stage *stage)
{
    struct phprun_pool *pool = phprun_pool_map(stage->fd);
    CHECK(pool != NULL, "errno %d", errno);
    pool->wake_fd = stage->worker_fd;
    return pool;
}

/* fork(); the child dies with its parent. */
static inline pid_t fork_worker(void)
{
    const pid_t parent = getpid();
    const pid_t pid = fork();
    CHECK(pid >= 0, "errno %d", errno);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) {
            _exit(0);
        }
    }
    return pid;
}

static inline void print_stage(const struct stage *stage)
{
    const struct phprun_pool *pool = stage->pool;
    fprintf(stderr, "head %u tail %u signaled %u\n", atomic_load(&pool->header->head),
            atomic_load(&pool->header->tail), atomic_load(&pool->header->signaled));
    for (uint32_t word = 0; word < (pool->header->worker_count + 63) / 64; word++) {
        fprintf(stderr, "sleeping[%u] %#llx\n", word, (unsigned long long)atomic_load(&pool->header->sleeping[word]));
    }
    for (uint32_t slot = 0; slot < pool->header->slot_count; slot++) {
        const struct phprun_slot *s = &pool->slots[slot];
        fprintf(stderr, "slot %u phase %u owner %u used %u waiting %u\n", slot, PHPRUN_PHASE(atomic_load(&s->claim)),
                PHPRUN_OWNER(atomic_load(&s->claim)), atomic_load(&s->used), atomic_load(&s->waiting));
    }
}

/* Sleeps until a worker wakes the front; returns how many wake-ups were unread. Hangs fail the test. */
static inline size_t await_wake_up(const struct stage *stage, int patience_ms)
{
    char bytes[4096];
    size_t total = 0;
    const uint64_t began = phprun_now_ns();
    for (;;) {
        struct pollfd news = {.fd = stage->front_fd, .events = POLLIN};
        const int ready = poll(&news, 1, 100);
        CHECK(test_failed == NULL || !atomic_load(test_failed), "another process said why");
        if (ready > 0) {
            break;
        }
        if (seconds_since(began) * 1000 > patience_ms) {
            print_stage(stage);
            CHECK(false, "no wake-up for %d ms", patience_ms);
        }
    }
    ssize_t got;
    while ((got = read(stage->front_fd, bytes, sizeof bytes)) > 0) {
        total += (size_t)got;
    }
    return total;
}

#endif
