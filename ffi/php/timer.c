/*
 * PHP for threads limits the time of a script by a timer of the thread's own, which it makes anew for each request.
 * Here a thread keeps its timer: two system calls less per request. For workers that are threads.
 */
#define _GNU_SOURCE
#include "shim.h"

#include <signal.h>
#include <time.h>

struct kept {
    bool there;
    bool armed;
    timer_t timer;
};

static _Thread_local struct kept kept;

static int create(clockid_t clock, struct sigevent *event, timer_t *timer)
{
    if (event == NULL || event->sigev_notify != SIGEV_THREAD_ID || event->sigev_value.sival_ptr != timer) {
        return timer_create(clock, event, timer); /* none that is PHP's */
    }
    if (!kept.there) {
        if (timer_create(clock, event, &kept.timer) != 0) {
            return -1;
        }
        kept.there = true;
    }
    *timer = kept.timer;
    return 0;
}

static int set(timer_t timer, int flags, const struct itimerspec *value, struct itimerspec *before)
{
    const bool ours = kept.there && timer == kept.timer;
    const bool arms = value->it_value.tv_sec != 0 || value->it_value.tv_nsec != 0;
    if (ours && !arms && !kept.armed && before == NULL) {
        return 0;
    }
    if (timer_settime(timer, flags, value, before) != 0) {
        return -1;
    }
    if (ours) {
        kept.armed = arms;
    }
    return 0;
}

static int delete(timer_t timer)
{
    static const struct itimerspec off;
    return kept.there && timer == kept.timer ? set(timer, 0, &off, NULL) : timer_delete(timer);
}

void timer_thread_startup(void)
{
    /* Whether all three are there, or PHP goes on with its own. */
    if (replace_import("timer_settime", set) && replace_import("timer_delete", delete)) {
        replace_import("timer_create", create);
    }
}

void timer_worker_shutdown(void)
{
    if (kept.there) {
        kept.there = false;
        timer_delete(kept.timer);
    }
}
