/*
 * Where a crash happened. The handler notes the PHP function in the worker's record, then the process dies of the
 * same signal, as if there had been no handler.
 *
 * It runs on a stack of its own, because the usual cause is a stack that is full. All signals are blocked in it, so
 * the kernel ends the process at once if it should fault itself. It reads PHP's stack as frames.c does: damage is an
 * error return. Programs that a script starts have no handler, exec resets it.
 */
#define _GNU_SOURCE
#include "shim.h"

#include "frames.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Much more than the registers of any processor and what the handler needs. */
#define CRASH_STACK_BYTES (64u << 10)

static const int fatal_signals[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL};

#define SIGNALS (sizeof fatal_signals / sizeof fatal_signals[0])

/* By number: the one of this process, or in a host of threads all of them. */
static struct worker *_Atomic workers[PHPRUN_MAX_WORKERS];
static struct sigaction before[SIGNALS];

static struct worker *worker_of(pid_t thread)
{
    for (uint32_t number = 0; number < PHPRUN_MAX_WORKERS; number++) {
        struct worker *worker = atomic_load_explicit(&workers[number], memory_order_acquire);
        if (worker != NULL && worker->thread == thread) {
            return worker;
        }
    }
    return NULL;
}

/* A thread of Bun's own, in a host of threads: its handler is Bun's. */
static void leave_to_bun(int number)
{
    for (size_t i = 0; i < SIGNALS; i++) {
        if (fatal_signals[i] == number) {
            sigaction(number, &before[i], NULL);
        }
    }
}

void crash_note_place(const struct worker *worker)
{
    struct phprun_worker *record = &worker->pool->workers[worker->number];
    if (worker->executor != NULL) { /* PHP is up on its thread */
        crash_place_text(worker->executor, record->last_function, sizeof record->last_function);
    }
    if (phprun_threads && record->last_function[0] == '\0') {
        strcpy(record->last_function, "no PHP function"); /* tells which of them crashed */
    }
}

static void on_crash(int number, siginfo_t *info, void *context)
{
    (void)context;
    const pid_t thread = gettid();
    struct worker *worker = worker_of(thread);
    /* Another thread of ours, or a child that the script has forked, was not in a PHP function of a worker. */
    if (worker != NULL) {
        crash_note_place(worker);
        signal(number, SIG_DFL);
    } else if (info->si_code <= 0) {
        signal(number, SIG_DFL); /* somebody has sent it: no fault of Bun's, as its report would say */
    } else {
        leave_to_bun(number);
    }
    /*
     * Queued, since it is blocked here, and delivered on return: by what was set above, with the registers of the
     * crash and what the kernel said of it, so that a core dump shows the place.
     */
    if (syscall(SYS_rt_tgsigqueueinfo, getpid(), thread, number, info) != 0) {
        syscall(SYS_tgkill, getpid(), thread, number); /* where a filter of system calls forbids the other */
    }
}

void crash_startup(void)
{
    struct sigaction action = {.sa_sigaction = on_crash, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigfillset(&action.sa_mask);
    for (size_t i = 0; i < SIGNALS; i++) {
        sigaction(fatal_signals[i], &action, &before[i]);
    }
}

void crash_worker_startup(struct worker *worker)
{
    void *stack = mmap(NULL, CRASH_STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const stack_t alternate = {.ss_sp = stack, .ss_size = CRASH_STACK_BYTES};
    if (stack == MAP_FAILED || sigaltstack(&alternate, NULL) != 0) {
        return; /* crashes are told without their place */
    }
    worker->crash_stack = stack;
    atomic_store_explicit(&workers[worker->number], worker, memory_order_release);
}

void crash_worker_shutdown(struct worker *worker)
{
    atomic_store_explicit(&workers[worker->number], NULL, memory_order_release);
    if (worker->crash_stack != NULL) {
        const stack_t off = {.ss_flags = SS_DISABLE};
        sigaltstack(&off, NULL);
        munmap(worker->crash_stack, CRASH_STACK_BYTES);
        worker->crash_stack = NULL;
    }
}
