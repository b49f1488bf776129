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
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Much more than the registers of any processor and what the handler needs. */
#define CRASH_STACK_BYTES (64u << 10)

static const int fatal_signals[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL};

/* With one PHP thread per process there is one. */
static struct worker *crashing;

static void on_crash(int number, siginfo_t *info, void *context)
{
    (void)context;
    struct worker *worker = crashing;
    const pid_t thread = gettid();
    /* Another thread of ours, or a child that the script has forked, was not in a PHP function of this worker. */
    if (thread == worker->thread) {
        struct phprun_worker *record = &worker->pool->workers[worker->number];
        crash_place_text(worker->executor, record->last_function, sizeof record->last_function);
    }
    /*
     * Queued, since it is blocked here, and delivered on return: by default action (SA_RESETHAND), with the
     * registers of the crash and what the kernel said of it, so that a core dump shows the place.
     */
    if (syscall(SYS_rt_tgsigqueueinfo, getpid(), thread, number, info) != 0) {
        syscall(SYS_tgkill, getpid(), thread, number); /* where a filter of system calls forbids the other */
    }
}

void crash_worker_startup(struct worker *worker)
{
    void *stack = mmap(NULL, CRASH_STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const stack_t alternate = {.ss_sp = stack, .ss_size = CRASH_STACK_BYTES};
    if (stack == MAP_FAILED || sigaltstack(&alternate, NULL) != 0) {
        return; /* crashes are told without their place */
    }
    crashing = worker;
    struct sigaction action = {.sa_sigaction = on_crash, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESETHAND};
    sigfillset(&action.sa_mask);
    for (size_t i = 0; i < sizeof fatal_signals / sizeof fatal_signals[0]; i++) {
        sigaction(fatal_signals[i], &action, NULL);
    }
}
